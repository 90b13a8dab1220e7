"""How many planted and how many null genes each method finds on a simulated cohort.

Inputs: ``planted`` (planted.tsv: rate of found genes by method, metric, kind and criterion, with intervals);
optionally ``planted_genes`` (planted_genes.tsv, one row per gene), which adds the rate by planted strength.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.plots import heat_map
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import (
    DOUBLE,
    REFERENCE_COLOUR,
    colour_tick_labels,
    empty_figure,
    new_figure,
)
from histobench.figures.drawing.text import count, prose
from histobench.files import read_table

LEVEL = 0.05
COLUMNS = ["method", "metric", "kind", "strength", "n_genes", "n_found", "rate", "rate_low", "rate_high"]
_METRICS = {"pearson": "by r", "pearson_partial_depth": "by r given depth"}
# kind -> (label, colour, marker, filled); tones that no family of methods has, after Tol (2021).
_KINDS = {
    "colour": ("colour: follows tissue that colour tells", "#222222", "o", True),
    "morphology": ("morphology: follows how nuclei stand", "#EE6677", "s", True),
    "null": ("null: follows nothing", "#AA3377", "o", False),
    "depth": ("depth: follows cellularity", "#228833", "D", False),
    "patient": ("patient: differs between patients", "#2299BB", "^", False),
}
PLANTED = ("colour", "morphology")


def tidy_detection(planted: pd.DataFrame, genes: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return rates at the nominal level of each test, by method, metric and kind, and by planted strength.

    Rows by kind carry the intervals of the table and no strength; rows by strength are counts of planted
    genes of that absolute strength, without interval.
    """
    table = planted[planted["criterion"].astype(str).str.startswith("p")].assign(strength=float("nan"))
    blocks = [table.reindex(columns=COLUMNS)]
    if genes is not None and len(genes):
        own = genes[genes["kind"].isin(PLANTED) & genes["p"].notna()]
        own = own.assign(strength=own["strength"].abs().round(3))
        groups = own.groupby(["method", "metric", "kind", "strength"], sort=False)["found_p"]
        counts = groups.agg(n_genes="size", n_found="sum").reset_index()
        blocks.append(counts.assign(rate=counts["n_found"] / counts["n_genes"]).reindex(columns=COLUMNS))
    return pd.concat([block for block in blocks if len(block)] or blocks[:1], ignore_index=True)


def plot_detection(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw rates with intervals per kind and metric, and, where known, rates by kind and planted strength."""
    if table.empty:
        return empty_figure("Nothing was planted in this cohort.")
    methods = settings.order(table["method"])
    metrics = [metric for metric in _METRICS if metric in set(table["metric"])]
    graded = table[(table["metric"] == metrics[0]) & table["strength"].notna()]
    kinds = [kind for kind in PLANTED if kind in set(graded["kind"])]
    widths = [1.0] * len(metrics) + [0.15 * graded[graded["kind"] == k]["strength"].nunique() for k in kinds]
    figure = new_figure(DOUBLE, 1.25 + 0.26 * len(methods))
    panels = figure.subplots(1, len(widths), sharey=True, width_ratios=widths, squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=False):
        _rates(axes, table[(table["metric"] == metric) & table["strength"].isna()], methods)
        axes.set_title(f"found {_METRICS[metric]}", loc="left")
    for axes, kind in zip(panels[len(metrics) :], kinds, strict=True):
        _by_strength(axes, graded[graded["kind"] == kind], methods, kind)
    # a row is as high as a tile of the heat map, from its number to the next
    panels[0].set_yticks(np.arange(len(methods)) + 0.5, [settings.title(method) for method in methods])
    panels[0].set_ylim(len(methods), 0)
    colour_tick_labels(panels[0], methods, settings)
    for axes in panels:
        axes.tick_params(axis="y", length=0)
    figure.legend(handles=_handles(set(table["kind"])), loc="outside lower center", ncols=3)
    return figure


def _rates(axes: Any, rows: pd.DataFrame, methods: list[str]) -> None:
    """Draw one dot and interval per method and kind; kinds are set apart so that none hides another."""
    kinds = [kind for kind in _KINDS if kind in set(rows["kind"])]
    axes.axvline(LEVEL, color=REFERENCE_COLOUR, lw=0.8, ls=(0, (4, 2)))
    entry: Any
    for entry in rows.itertuples():
        if entry.kind not in kinds:
            continue
        _, colour, marker, filled = _KINDS[entry.kind]
        aside = min(0.19, 0.8 / len(kinds)) * (kinds.index(entry.kind) - (len(kinds) - 1) / 2)
        y = methods.index(entry.method) + 0.5 + aside
        axes.plot([entry.rate_low, entry.rate_high], [y, y], color=colour, lw=1, solid_capstyle="butt")
        axes.plot(entry.rate, y, marker, color=colour, mfc=colour if filled else "white", ms=3.6, mew=0.9)
    for row in range(1, len(methods)):
        axes.axhline(row, color="#eeeeee", lw=0.6, zorder=0)
    axes.set_xlim(-0.03, 1.03)
    axes.set_xlabel("share of genes found")


def _by_strength(axes: Any, rows: pd.DataFrame, methods: list[str], kind: str) -> None:
    """Draw the share of genes of a kind found, methods in rows and absolute strengths in columns."""
    strengths = sorted(rows["strength"].unique())
    wide = rows.pivot_table(index="method", columns="strength", values="rate").reindex(
        index=methods, columns=strengths
    )
    texts = (100 * wide).map("{:.0f}".format)
    names = [f"{strength:g}" for strength in strengths]
    heat_map(axes, wide, texts, limits=(0, 1), rows=methods, columns=names, colours="Blues")
    axes.set_xlabel("% by strength")
    axes.set_title(kind, loc="left")


def _handles(kinds: set[str]) -> list[Any]:
    handles = [
        Line2D(
            [], [], color=colour, marker=marker, mfc=colour if filled else "white", ms=4, lw=1, label=label
        )
        for kind, (label, colour, marker, filled) in _KINDS.items()
        if kind in kinds
    ]
    level = f"nominal level, {100 * LEVEL:g} %"
    return [*handles, Line2D([], [], color=REFERENCE_COLOUR, lw=0.8, ls=(0, (4, 2)), label=level)]


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what counts as found, over how many genes, and what a working method looks like."""
    if table.empty:
        return "Nothing was planted in this cohort, so detection cannot be shown. No test."
    whole = table[table["strength"].isna()]
    sizes = whole.drop_duplicates("kind").set_index("kind")["n_genes"]
    listed = ", ".join(f"{count(int(number), f'{kind} gene')}" for kind, number in sizes.items())
    patients = settings.n_patients
    sample = f"{listed}; n = {count(int(patients), 'patient')}" if patients else listed
    return prose(f"""
        Share of genes that each method finds on simulated tissue with known truth ({sample}). A gene
        counts as found when its mean correlation over patients is above zero (one-sided t-test at
        {100 * LEVEL:g} %, allowing for the training patients that folds share; single tests, no
        correction for the number of genes). Bars: 95 % Wilson intervals. Tiles: percentage of
        genes found by r, by planted strength (ln per SD of the programme). Colour genes should be found by
        all methods that see the image, morphology genes by those that see more than colour, and null genes
        only at the nominal level (dashed line); genes that follow depth should vanish once depth is
        partialled out.
    """)


@figure("Planted and null genes found", "genes", tables=["planted", "planted_genes"], when=["truth"])
def detection(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the rates and, where given, the genes, and draw them."""
    genes = inputs.get("planted_genes")
    table = tidy_detection(read_table(inputs["planted"]), read_table(genes) if genes else None)
    return plot_detection(table, settings), table, caption(table, settings)
