"""Accuracy against what it costs: training time, memory and parameters.

Inputs: ``leaderboard`` (leaderboard.tsv: pearson with interval, train_seconds, peak_memory_mb, parameters).
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import (
    family_legend,
    label_points,
    log_axis,
    method_marker,
    require_rows,
)
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, new_figure
from histobench.figures.drawing.text import count, prose, scores_note
from histobench.files import read_table

# Cost -> (axis, smallest value that is told apart on the logarithmic axis).
COSTS = {
    "train_seconds": ("seconds of one training", 0.01),
    "peak_memory_mb": ("peak host memory (MiB)", 1.0),
    "parameters": ("fitted parameters", 1.0),
}

# Methods that a panel has room to name.
NAMED = 14


def tidy_cost(leaderboard: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return method, pearson with interval, cost, value; costs below what is told apart are raised to it.

    Oracles are left out: what they cost buys nothing that could be had without the test measurements.
    """
    known = [settings.family(method) != "oracle" for method in leaderboard["method"]]
    leaderboard = leaderboard[known]
    blocks = []
    for cost, (_, least) in COSTS.items():
        own = leaderboard[["method", "pearson", "pearson_low", "pearson_high"]].copy()
        values = leaderboard[cost].astype(float)
        blocks.append(own.assign(cost=cost, value=values.clip(lower=least)))
    table = pd.concat(blocks, ignore_index=True)
    return table[table["value"].notna() & table["pearson"].notna()].reset_index(drop=True)


def plot_cost(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw one panel per cost on a logarithmic axis."""
    costs = [cost for cost in COSTS if cost in set(table["cost"])]
    figure = new_figure(DOUBLE, 3.4)
    panels = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    entry: Any
    for axes, cost in zip(panels, costs, strict=True):
        own = table[table["cost"] == cost]
        for entry in own.itertuples():
            style = settings.look(entry.method)
            axes.plot(
                [entry.value] * 2,
                [entry.pearson_low, entry.pearson_high],
                color=style.colour,
                lw=0.9,
                alpha=0.6,
            )
            method_marker(axes, entry.value, entry.pearson, entry.method, settings)
        axes.set_xscale("log")
        low, high = own["value"].min(), own["value"].max()
        axes.set_xlim(low / (high / low * 10) ** 0.12, high * (high / low * 10) ** 0.18)
        log_axis(axes.xaxis)
        axes.set_xlabel(COSTS[cost][0])
        axes.grid()
    panels[0].set_ylabel("Pearson r, mean over genes and patients")
    family_legend(figure, settings.by_family(table["method"]), lines=False)
    figure.draw_without_rendering()
    for axes, cost in zip(panels, costs, strict=True):
        own = table[table["cost"] == cost]
        labelled: Any = own[own["method"].isin(_named(own))].itertuples()
        label_points(axes, [
            (e.value, e.pearson, settings.title(e.method), settings.look(e.method).colour)
            for e in labelled
        ], size=5.8)  # fmt: skip
    return figure


def _named(panel: pd.DataFrame) -> list[str]:
    """Return the methods to name: all, or if there are many the best and those that nothing cheaper beats."""
    if len(panel) <= NAMED:
        return list(panel["method"])
    unbeaten = panel["pearson"] > panel.sort_values("value", kind="stable")["pearson"].cummax().shift(
        fill_value=-2.0
    ).reindex(panel.index)
    return [*panel[unbeaten]["method"], *panel.nlargest(NAMED // 2, "pearson")["method"]]


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what the costs are and on what they were measured."""
    return prose(f"""
        Leader-board score of {count(table["method"].nunique(), "method")} with its 95 % bootstrap
        interval over patients, against the wall time of one training (mean over folds and seeds), the
        largest peak memory of the process and the number of fitted parameters; logarithmic axes, on
        which less than 0.01 s and no parameter are drawn at the lower end. Oracles are left out; of more
        than {NAMED} methods the best {NAMED // 2} are named, and those that nothing cheaper beats. Times
        hold for the hardware in the provenance and count neither patches nor frozen features.
        Descriptive; no test.{scores_note(settings)}
    """)


@figure("Accuracy against cost", "cost", tables=["leaderboard"], when=["pair"])
def cost(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the leader board and draw its costs."""
    table = require_rows(tidy_cost(read_table(inputs["leaderboard"]), settings), "no method has been scored.")
    return plot_cost(table, settings), table, caption(table, settings)
