"""Errors in units of the training standard deviation (BrST-Net, Table 2, Supp. Tables S2 and S3).

Inputs: ``metrics`` (metric folders of deep networks: errors per gene), ``runs`` (records of all trainings:
the standard deviation of every gene in training, and errors on training and validation spots).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import beside, beside_head, method_rows, require_rows, row_bands
from histobench.figures.drawing.settings import Settings, base_name
from histobench.figures.drawing.sources import as_list, read_metrics
from histobench.figures.drawing.style import DOUBLE, REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose, scores_note
from histobench.training.record import read_records

PARTS = {"train": "training", "valid": "validation", "test": "test"}
MARKERS = {"train": "^", "valid": "s", "test": "o"}
ERRORS = {"mae": "MAE", "rmse": "RMSE"}
COLUMNS = ["method", "part", "error", "value", "n_folds", "n_genes"]


def tidy_standardised(metrics: pd.DataFrame, runs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return :data:`COLUMNS`: means over genes, then patients, of errors divided by the training sd.

    Parameters
    ----------
    metrics
        ``mae`` and ``rmse`` per gene and patient, sections pooled ("*"), with their fold.
    runs
        Records of trainings: ``genes`` and ``target_sd``, and where a method states them ``train_mae`` and
        the like, which are in this unit already.
    """
    scale = pd.DataFrame(
        [
            (base_name(str(run["method"])), str(run["fold"]), gene, sd)
            for run in runs
            for gene, sd in zip(run["genes"], run.get("target_sd") or [], strict=False)
            if sd > 0
        ],
        columns=["method", "fold", "gene", "sd"],
    )
    own = metrics[(metrics["section"] == "*") & metrics["metric"].isin(list(ERRORS))]
    # seeds of a method are averaged in the metrics, and train on the same spots
    joined = own.merge(scale.drop_duplicates(["method", "fold", "gene"]), on=["method", "fold", "gene"])
    joined["value"] = joined["value"] / joined["sd"]
    patients = joined.groupby(["method", "metric", "fold", "patient"], sort=False)["value"].mean()
    genes = joined.groupby("method")["gene"].nunique().to_dict()
    tested = patients.reset_index().groupby(["method", "metric"], sort=False)
    rows = [
        (method, "test", error, group["value"].mean(), group["fold"].nunique(), genes[method])
        for (method, error), group in tested
    ]
    said = pd.DataFrame(
        [
            (base_name(str(run["method"])), part, error, float(run[f"{part}_{error}"]), len(run["genes"]))
            for run in runs
            for part in ("train", "valid")
            for error in ERRORS
            if f"{part}_{error}" in run
        ],
        columns=["method", "part", "error", "value", "n_genes"],
    )
    groups = said.groupby(["method", "part", "error"], sort=False)
    stated = groups.agg(value=("value", "mean"), n_folds=("value", "size"), n_genes=("n_genes", "max"))
    parts = [pd.DataFrame(rows, columns=COLUMNS), stated.reset_index()[COLUMNS]]
    filled = [part for part in parts if len(part)]
    table = pd.concat(filled, ignore_index=True) if filled else parts[0]
    return table.sort_values(["method", "error", "part"], kind="stable").reset_index(drop=True)


def plot_standardised(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a row per method, MAE to the left and RMSE to the right, with the numbers beside them."""
    tested = table[(table["part"] == "test") & (table["error"] == "rmse")].set_index("method")["value"]
    methods = list(tested.sort_values(kind="stable").index)
    parts = [part for part in PARTS if part in set(table["part"])]
    figure = new_figure(DOUBLE, 1.0 + 0.2 * len(methods))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (error, title) in zip(panels, ERRORS.items(), strict=True):
        for place, part in enumerate(parts):
            own = table[(table["error"] == error) & (table["part"] == part)].set_index("method")["value"]
            for row, method in enumerate(methods):
                value = own.get(method)
                if value is None:
                    continue
                look = {"color": settings.look(method).colour, "mfc": "none" if part != "test" else None}
                axes.plot(value, row, MARKERS[part], ms=4.5, **{k: v for k, v in look.items() if v})
                beside(axes, row, f"{value:.3f}", 16 + 30 * place, size=6, ha="center")
            beside_head(axes, PARTS[part][:5], 16 + 30 * place, size=6, ha="center")
        axes.axvline(1, color=REFERENCE_COLOUR, lw=0.8, ls=(0, (4, 2)))
        axes.set_xlabel(f"{title} (training sd of the gene)")
        axes.grid(axis="x")
        row_bands(axes, len(methods))
    method_rows(panels[0], methods, settings)
    for part in parts:
        panels[0].plot([], [], MARKERS[part], color="#444444", mfc=None if part == "test" else "none",
                       ms=4.5, label=PARTS[part])  # fmt: skip
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what the unit is, and on whom errors are measured."""
    folds = int(table["n_folds"].max())
    inner = (
        " Training and validation: the spots that weights are fitted to and those that choose the epoch, as "
        "far as a method records them."
        if set(table["part"]) - {"test"}
        else ""
    )
    return prose(f"""
        Errors divided by the standard deviation of the gene over the training spots, mean over up to
        {count(int(table["n_genes"].max()), "gene")}, then patients, of
        {count(table["method"].nunique(), "network")} (n = {count(folds, "fold")}); a prediction of the
        training mean has an RMSE of about 1 (dashed) where tested patients vary as much as training ones.
        Test: patients held out of everything.{inner} Descriptive; no test.{scores_note(settings)}
    """)


@figure(
    "Errors in standard deviations",
    "scores",
    metrics="deep_expression",
    inputs={"runs": "{experiment}/trainings.json"},
    when=["paper"],
)
def standardised_errors(inputs: Inputs, settings: Settings) -> Drawing:
    """Read errors and records of trainings and draw them on one scale."""
    shown = {folder.name for folder in as_list(inputs["metrics"])}
    runs = [run for run in read_records([inputs["runs"]]) if run["method"] in shown]
    table = tidy_standardised(read_metrics(inputs["metrics"], list(ERRORS)), runs)
    table = require_rows(table, "no training recorded the spread of its targets.")
    return plot_standardised(table, settings), table, caption(table, settings)
