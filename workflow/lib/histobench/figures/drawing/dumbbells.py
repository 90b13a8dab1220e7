"""One score of every method before and after one change, as dumbbells; shared by several figures."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.parts import beside, beside_head, family_legend, method_marker, method_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import signed


def tidy_dumbbells(genes: pd.DataFrame, before: str, after: str) -> pd.DataFrame:
    """Return method, before, after, change: means over the genes that have both, highest ``before`` first."""
    both = genes[genes[before].notna() & genes[after].notna()]
    means = both.groupby("method", sort=False)[[before, after]].mean().set_axis(["before", "after"], axis=1)
    table = means.assign(change=means["after"] - means["before"], n_genes=both.groupby("method").size())
    order = table.reset_index().sort_values(["before", "method"], ascending=[False, True], kind="stable")
    return order.reset_index(drop=True)


def plot_dumbbells(table: pd.DataFrame, settings: Settings, label: str, shift: str) -> Figure:
    """Draw a line from before (the method's marker) to after (arrow head), and print the change."""
    figure = new_figure(DOUBLE, 0.95 + 0.23 * len(table))
    axes = figure.subplots()
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
    beside_head(axes, shift)
    method_rows(axes, list(table["method"]), settings)
    axes.set_xlabel(label)
    axes.grid(axis="x")
    family_legend(figure, settings.by_family(table["method"]), lines=False)
    return figure
