"""Mean ranks of methods over patients with the critical difference (Demsar 2006).

Inputs: ``ranks`` (ranks.tsv: metric, method, mean_rank, critical_difference, groups, p_friedman).
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, new_figure
from histobench.figures.drawing.text import count, prose, scores_note
from histobench.files import read_table

METRIC = "pearson"
COLUMNS = ["method", "mean_rank", "n_patients", "n_methods", "p_friedman", "critical_difference", "groups"]


def tidy_critical(ranks: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of Pearson's r that have a rank, best first, groups as text ("" for none)."""
    own = ranks[(ranks["metric"] == METRIC) & ranks["mean_rank"].notna()]
    groups = own["groups"].map(lambda value: "" if value != value else str(value).removesuffix(".0"))
    return own.assign(groups=groups).sort_values("mean_rank", kind="stable")[COLUMNS].reset_index(drop=True)


def plot_critical(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw ranks on an axis, names to both sides, and a bar over methods that are not told apart."""
    number = len(table)
    half = -(-number // 2)
    bars: dict[str, list[float]] = {}
    for rank, groups in zip(table["mean_rank"], table["groups"], strict=True):
        for group in groups.split():
            bars.setdefault(group, []).append(float(rank))
    figure = new_figure(DOUBLE, 1.0 + 0.19 * half + 0.1 * len(bars))
    axes = figure.subplots()
    last = max(float(table["n_methods"].iloc[0]), 2.0)
    reach = 0.16 * (last - 1) + 0.4
    axes.set_xlim(1 - reach - 0.18 * last, last + reach + 0.18 * last)
    axes.hlines(0, 1, last, color="#444444", lw=0.9)
    every = -(-int(last) // 15)  # numbers of more methods would run into each other
    for rank in range(1, int(last) + 1):
        axes.plot([rank, rank], [0, 0.25], color="#444444", lw=0.8)
        if (rank - 1) % every == 0:
            axes.text(rank, 0.4, str(rank), ha="center", va="bottom", fontsize=7)
    axes.text(0.75, 0.4, "mean rank ", ha="right", va="bottom", fontsize=7)
    depth = 0.5 + 0.42 * len(bars)
    for place, ranks in enumerate(bars.values()):
        y = -0.45 - 0.42 * place
        axes.plot(
            [min(ranks) - 0.04, max(ranks) + 0.04], [y, y], color="#222222", lw=2.6, solid_capstyle="butt"
        )
    for place, (method, rank) in enumerate(zip(table["method"], table["mean_rank"], strict=True)):
        left = place < half
        row = place if left else number - 1 - place
        y, x = -depth - 0.2 - 0.8 * row, 1 - reach if left else last + reach
        colour = settings.look(method).colour
        axes.plot([rank, rank, x], [0, y, y], color=colour, lw=0.8)
        axes.text(
            x,
            y,
            f" {settings.title(method)} ({rank:.1f}) ",
            ha="right" if left else "left",
            va="center",
            fontsize=7,
            color=colour,
        )
    difference = float(table["critical_difference"].iloc[0])
    top = 1.7
    if difference == difference:
        axes.plot([1, 1 + difference], [top, top], color="#222222", lw=1.3, marker="|", ms=6)
        axes.text(
            1 + difference / 2,
            top + 0.2,
            f"critical difference {difference:.2f}",
            ha="center",
            va="bottom",
            fontsize=7,
        )
    axes.set_ylim(-depth - 0.6 - 0.8 * (half - 1), top + 1.0)
    axes.axis("off")
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say which tests stand behind the bars."""
    p = float(table["p_friedman"].iloc[0])
    tested = (
        f"Friedman's test with permutation p = {p:.2g}" if p == p else "too few patients for Friedman's test"
    )
    return prose(f"""
        Mean rank by r of {count(len(table), "method")} over patients (n =
        {count(int(table["n_patients"].iloc[0]), "patient")}), 1 is best; oracles do not compete.
        {tested}; bars join methods whose mean ranks differ by less than Nemenyi's critical difference at
        5 %, which corrects for all pairs. With few patients the critical difference is wide, and methods
        that are joined are not thereby equal.{scores_note(settings)}
    """)


@figure("Critical difference of mean ranks", "comparisons", tables=["ranks"], when=["pair", "patients"])
def critical_difference(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the ranks and draw them."""
    table = require_rows(
        tidy_critical(read_table(inputs["ranks"])), "fewer than two methods could be ranked."
    )
    return plot_critical(table, settings), table, caption(table, settings)
