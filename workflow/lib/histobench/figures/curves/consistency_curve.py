"""Number of genes predicted with positive correlation in at least k patients, against chance.

Inputs: ``curve`` (consistency_curve.tsv: method, k, n_genes with at least k positive patients, binomial
expectation and the envelope).
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import (
    DOUBLE,
    QUIET_COLOUR,
    REFERENCE_COLOUR,
    SINGLE,
    empty_figure,
    new_figure,
    panel_title,
)
from histobench.figures.drawing.text import count, prose, scores_note
from histobench.files import read_table

COLUMNS = ("method", "k", "n_genes", "n_expected", "envelope_low", "envelope_high")


def tidy_consistency(curve: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return the curve's columns in method order; envelope columns are empty where none was computed."""
    table = curve.reindex(columns=list(COLUMNS))
    order = {method: rank for rank, method in enumerate(settings.order(table["method"]))}
    ranks = table["method"].map(order)
    return table.assign(rank=ranks).sort_values(["rank", "k"]).drop(columns="rank").reset_index(drop=True)


def plot_consistency(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw one small panel per method, all on the same axes: observed, envelope, binomial expectation."""
    methods = list(dict.fromkeys(table["method"]))
    if not methods:
        return empty_figure("No consistency curve has been computed.")
    # Four or five panels a row, whichever leaves fewer empty places.
    columns = min(len(methods), min((4, 5), key=lambda wide: -len(methods) % wide))
    rows = math.ceil(len(methods) / columns)
    figure = new_figure(DOUBLE if columns > 3 else max(SINGLE, 1.8 * columns), 1.3 * rows + 0.9)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    largest = int(table["k"].max())
    for place, axes in enumerate(grid.flat):
        if place >= len(methods):
            axes.axis("off")
            continue
        _panel(axes, table[table["method"] == methods[place]], methods[place], settings)
        axes.set_xlim(-0.3, largest + 0.3)
        axes.set_xticks(_ticks(largest))
        # A panel with nothing below it keeps its own tick labels.
        if place + columns >= len(methods):
            axes.tick_params(labelbottom=True)
    grid[0, 0].set_ylim(0, 1.06 * float(table["n_genes"].max()) or 1)
    figure.supxlabel("k, number of patients", fontsize=8)
    figure.supylabel("genes with r > 0\nin at least k patients", fontsize=8, multialignment="center")
    handles = _handles(bool(table["envelope_high"].notna().any()))
    figure.legend(handles=handles, loc="outside upper center", ncols=3 if columns > 3 else 1)
    return figure


def _ticks(largest: int) -> list[int]:
    step = max(1, math.ceil(largest / 6))
    return list(range(0, largest + 1, step))


def _panel(axes: Any, rows: pd.DataFrame, method: str, settings: Settings) -> None:
    look = settings.look(method)
    axes.fill_between(
        rows["k"],
        rows["envelope_low"],
        rows["envelope_high"],
        color=QUIET_COLOUR,
        alpha=0.35,
        lw=0,
        step="mid",
    )
    axes.step(rows["k"], rows["n_expected"], where="mid", color=REFERENCE_COLOUR, lw=0.9, ls=(0, (4, 2)))
    axes.step(rows["k"], rows["n_genes"], where="mid", color=look.colour, lw=1.6)
    panel_title(axes, method, settings)
    axes.grid(axis="y")


def _handles(envelope: bool) -> list[Any]:
    handles: list[Any] = [
        Line2D([], [], color="#555555", lw=1.6, label="observed (colour of the method)"),
        Line2D(
            [],
            [],
            color=REFERENCE_COLOUR,
            lw=0.9,
            ls=(0, (4, 2)),
            label="binomial expectation (independent genes)",
        ),
    ]
    if envelope:
        handles.append(
            Patch(color=QUIET_COLOUR, alpha=0.35, lw=0, label="95 % envelope of sign flips per patient")
        )
    return handles


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what is counted and against what it is held."""
    genes = int(table["n_genes"].max()) if len(table) else 0
    patients = int(table["k"].max()) if len(table) else 0
    envelope = bool(len(table) and table["envelope_high"].notna().any())
    chance = (
        " Grey band: pointwise 95 % envelope of the same count when each patient's whole vector of "
        "correlations keeps or "
        "flips its sign by chance, which leaves genes as correlated as they are; only a curve above the "
        "band speaks for "
        "the method."
        if envelope
        else " No envelope was computed; genes are correlated, so the binomial alone overstates certainty."
    )
    return prose(f"""
        Genes with a positive correlation in at least k of {count(patients, "patient")} (up to
        {count(genes, "gene")}), one panel per method; per patient the spots of all sections are pooled,
        as in He et al. 2020. Dashed: expectation if every gene were positive in each patient with
        probability 1/2, independently.{chance}{scores_note(settings)}
    """)


@figure(
    "Genes positive in at least k patients",
    "genes",
    inputs={"curve": "{experiment}/tables/consistency_curve.tsv"},
)
def consistency_curve(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the curve and draw it."""
    table = tidy_consistency(read_table(inputs["curve"]), settings)
    return plot_consistency(table, settings), table, caption(table, settings)
