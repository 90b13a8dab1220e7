"""Every method's correlation before and after one change, as dumbbells.

The change is to hold sequencing depth fixed, or to smooth the measurement (He et al. 2020). Inputs: ``genes``
(genes.tsv: method, gene, mean_pearson, pearson_partial_depth, pearson_smoothed).
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import (
    beside,
    beside_head,
    family_legend,
    method_marker,
    method_rows,
    require_rows,
)
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose, scores_note, signed
from histobench.files import read_table

# How r before and after is called on the axis, and what the caption says of the two; a place for n.
DEPTH = (
    "Pearson r (marker) and partial r given the logarithm of a spot's total counts (arrow head)",
    """From the correlation of prediction and measurement (marker) to their partial correlation given
    the logarithm of the spot's total counts (arrow head), averaged over sections, patients and genes
    (n = {n}). A method that only sees how deeply a spot was sequenced, such as the oracle sequencing depth,
    falls to zero.""",
)
SMOOTHED = (
    "Pearson r with the measurement (marker) and with its mean over neighbours (arrow head)",
    """From the correlation with the measurement of each spot (marker) to that with the measurement
    averaged over it and its neighbours (the 3 x 3 block of a square grid, the ring of six of a
    hexagonal one), raw counts first (arrow head); means over sections, patients and genes (n = {n}).
    Smoothing removes sampling noise and detail alike, so a smooth prediction gains by it. Predictions are
    the same in both; an oracle that averages neighbours is part of what it is compared with.""",
)


def tidy_dumbbells(genes: pd.DataFrame, before: str, after: str) -> pd.DataFrame:
    """Return method, before, after, change: means over the genes that have both, highest ``before`` first."""
    both = genes[genes[before].notna() & genes[after].notna()]
    means = both.groupby("method", sort=False)[[before, after]].mean().set_axis(["before", "after"], axis=1)
    table = means.assign(change=means["after"] - means["before"], n_genes=both.groupby("method").size())
    order = table.reset_index().sort_values(["before", "method"], ascending=[False, True], kind="stable")
    return order.reset_index(drop=True)


def plot_dumbbells(table: pd.DataFrame, settings: Settings, label: str) -> Figure:
    """Draw a line from before (the method's marker) to after (arrow head), and print the change."""
    drawn = new_figure(DOUBLE, 0.95 + 0.23 * len(table))
    axes = drawn.subplots()
    entry: Any
    for row, entry in enumerate(table.itertuples()):
        style = settings.look(entry.method)
        # A marker as head: an arrow shorter than its head would be drawn backwards. A change that is smaller
        # than the method's marker stays behind it.
        axes.plot([entry.before, entry.after], [row, row], color=style.colour, lw=1.1)
        method_marker(axes, entry.before, row, entry.method, settings)
        head = ">" if entry.after > entry.before else "<"
        axes.plot(entry.after, row, head, color=style.colour, ms=4, zorder=2)
        beside(axes, row, signed(entry.change, 3))
    values = table[["before", "after"]].to_numpy(float)
    margin = 0.06 * (float(values.max() - values.min()) or 0.1)
    axes.set_xlim(min(0.0, values.min()) - margin, values.max() + margin)
    axes.axvline(0, color=REFERENCE_COLOUR, lw=0.7)
    beside_head(axes, "change")
    method_rows(axes, list(table["method"]), settings)
    axes.set_xlabel(label)
    axes.grid(axis="x")
    family_legend(drawn, settings.by_family(table["method"]), lines=False)
    return drawn


def caption(table: pd.DataFrame, settings: Settings, change: str) -> str:
    """Say what the arrow is, and over how many genes."""
    text = change.format(n=count(int(table["n_genes"].max()), "gene"))
    return prose(f"{text} Descriptive; no test.{scores_note(settings)}")


def _drawing(inputs: Inputs, settings: Settings, after: str, label: str, change: str) -> Drawing:
    table = tidy_dumbbells(read_table(inputs["genes"]), "mean_pearson", after)
    table = require_rows(table, "no gene could be scored.")
    return plot_dumbbells(table, settings, label), table, caption(table, settings, change)


@figure("Correlation given sequencing depth", "scores", tables=["genes"])
def depth_partialling(inputs: Inputs, settings: Settings) -> Drawing:
    """Draw an arrow from r to r given depth per method."""
    return _drawing(inputs, settings, "pearson_partial_depth", *DEPTH)


@figure("Effect of smoothing the measurement", "scores", tables=["genes"])
def smoothing(inputs: Inputs, settings: Settings) -> Drawing:
    """Draw an arrow from r to r with the smoothed measurement per method."""
    return _drawing(inputs, settings, "pearson_smoothed", *SMOOTHED)
