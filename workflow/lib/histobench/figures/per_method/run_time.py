"""Time of training and of prediction, per method and fold (BrST-Net, Table 3; HE2Gene).

Inputs: ``runs`` (records of all trainings), ``predictions`` (folders with predict.json).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import (
    beside,
    log_axis,
    method_marker,
    method_rows,
    require_rows,
    row_bands,
)
from histobench.figures.drawing.plots import dots
from histobench.figures.drawing.settings import Settings, base_name
from histobench.figures.drawing.style import DOUBLE, new_figure
from histobench.figures.drawing.text import count, prose
from histobench.files import read_json
from histobench.training.record import read_records

# Quantity -> axis; times below the first number are drawn at it.
QUANTITIES = {"train": "seconds of one training", "predict": "seconds of prediction per 1,000 spots"}
LEAST = 1e-3
COLUMNS = ["method", "fold", "quantity", "seconds", "hardware"]


def tidy_times(runs: Sequence[Mapping[str, Any]], predictions: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return method, fold, quantity, seconds, hardware from records that name their method and fold.

    Prediction is scaled to 1,000 spots; seeds of a method are further rows of it.
    """
    rows = []
    for record in runs:
        if record.get("seconds") is not None:
            rows.append((base_name(record["method"]), record["fold"], "train", float(record["seconds"])))
    for record in predictions:
        if record.get("n_spots"):
            per_thousand = 1000 * float(record["seconds"]) / float(record["n_spots"])
            rows.append((base_name(record["method"]), record["fold"], "predict", per_thousand))
    hardware = {record.get("hardware", "") for record in [*runs, *predictions]} - {""}
    table = pd.DataFrame(rows, columns=COLUMNS[:4])
    return table.assign(hardware="; ".join(sorted(hardware)))


def plot_times(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a dot per fold and a marker at the median, slowest training first; logarithmic axes."""
    medians = table.pivot_table(index="method", columns="quantity", values="seconds", aggfunc="median")
    methods = list(medians.sort_values(list(medians.columns[::-1]), ascending=False, kind="stable").index)
    quantities = [quantity for quantity in QUANTITIES if quantity in medians]
    figure = new_figure(DOUBLE, 0.75 + 0.23 * len(methods))
    panels = figure.subplots(1, len(quantities), sharey=True, squeeze=False)[0]
    for axes, quantity in zip(panels, quantities, strict=True):
        for row, method in enumerate(methods):
            own = table[(table["method"] == method) & (table["quantity"] == quantity)]
            seconds = own["seconds"].clip(lower=LEAST)
            if len(own):
                method_marker(axes, seconds.median(), row, method, settings)
                beside(axes, row, _clock(float(own["seconds"].median())), 4, 6.5)
        shown = table[table["quantity"] == quantity]
        shown = shown.assign(seconds=shown["seconds"].clip(lower=LEAST))
        dots(axes, shown, "seconds", methods, settings, size=2.4, alpha=0.5)
        axes.set_xscale("log")
        log_axis(axes.xaxis)
        axes.set_xlabel(QUANTITIES[quantity])
        axes.grid(axis="x")
        row_bands(axes, len(methods))
    method_rows(panels[0], methods, settings)
    for axes in panels[1:]:
        axes.tick_params(axis="y", length=0)
    return figure


def _clock(seconds: float) -> str:
    """Return a duration in the unit that reads best."""
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 120:
        return f"{seconds / 60:.1f} min"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms" if seconds >= 1e-3 else "< 1 ms"


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what was timed, where, and over how many folds."""
    folds = int(table["fold"].nunique())
    hardware = str(table["hardware"].iloc[0])
    return prose(f"""
        Wall time of fitting one model and of predicting 1,000 spots, without reading files, cutting
        patches or computing frozen features: dots are folds (n = {count(folds, "fold")}), large markers
        and numbers medians; logarithmic axes, on which less than 1 ms is drawn at 1 ms. Hardware:
        {hardware or "not recorded"}. Other jobs may have run at the same time. Descriptive; no test.
    """)


@figure(
    "Run time of training and prediction",
    "cost",
    inputs={"runs": "{experiment}/trainings.json"},
    predictions="run",
)
def run_time(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the records of training and prediction and draw their times."""

    def record(folder: Path) -> dict[str, Any]:
        return {**read_json(folder / "predict.json"), "fold": folder.name, "method": folder.parent.name}

    predictions = [record(Path(path)) for path in inputs["predictions"]]
    table = tidy_times(read_records([inputs["runs"]]), predictions)
    table = require_rows(table, "no run recorded its time.")
    return plot_times(table, settings), table, caption(table, settings)
