"""Per-gene correlation of two methods against each other.

Inputs: ``genes`` (genes.tsv). Settings: ``pair`` (two method names; by default the best deep network against
the best other trained method or control, by mean r), ``score`` (column, default "mean_pearson"),
``marker_genes`` (names to label).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.errors import UserError
from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import MARKER_GENES
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import REFERENCE_COLOUR, empty_figure, new_figure
from histobench.figures.drawing.text import count, prose, scores_note
from histobench.files import read_table

# Where the counts are printed, as shares of the axes: left, bottom, right, top.
_CORNERS = ((0.0, 0.9, 0.6, 1.0), (0.4, 0.0, 1.0, 0.09))


def choose_pair(genes: pd.DataFrame, settings: Settings, score: str) -> tuple[str, str]:
    """Return (x, y): the best method that is neither deep nor an oracle, and the best deep network.

    With fewer than two such methods the two best of all are taken.
    """
    declared: Sequence[str] = settings.pair
    if declared:
        missing = [method for method in declared if method not in set(genes["method"])]
        if len(declared) != 2 or missing:
            raise UserError(
                f"settings: 'pair' is {list(declared)}, expected two of {sorted(set(genes['method']))}; "
                "correct it."
            )
        return declared[0], declared[1]
    ranked = list(genes.groupby("method")[score].mean().sort_values(ascending=False, kind="stable").index)
    deep = [method for method in ranked if settings.family(method) == "deep"]
    other = [method for method in ranked if settings.family(method) in ("classical", "control")]
    if deep and other:
        return other[0], deep[0]
    best = [method for method in ranked if settings.family(method) != "oracle"] or ranked
    best = (best + [method for method in ranked if method not in best])[:2]
    return (best[1], best[0]) if len(best) == 2 else (best[0], best[0])


def tidy_scatter(genes: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return gene, method_x, method_y, x, y: one row per gene that both methods were scored on."""
    score = "mean_pearson" if "mean_pearson" in genes else "median_pearson"
    if genes.empty:
        return genes.reindex(columns=["gene", "method_x", "method_y", "x", "y"])
    first, second = choose_pair(genes, settings, score)
    wide = genes.pivot_table(index="gene", columns="method", values=score, aggfunc="first")
    table = wide.reindex(columns=[first, second]).set_axis(["x", "y"], axis=1).dropna().reset_index()
    table.columns.name = None
    table.insert(1, "method_x", first)
    table.insert(2, "method_y", second)
    return table


def plot_scatter(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw one point per gene with the identity line and the number of genes on either side."""
    if table.empty:
        return empty_figure("No two methods were scored on the same genes.", 4.2)
    first, second = table["method_x"].iloc[0], table["method_y"].iloc[0]
    figure = new_figure(4.2, 4.2)
    axes = figure.subplots()
    low = min(table["x"].min(), table["y"].min(), 0.0)
    high = max(table["x"].max(), table["y"].max())
    margin = 0.06 * (high - low or 1)
    limits = (low - margin, high + margin)
    axes.plot(limits, limits, color=REFERENCE_COLOUR, lw=0.8, ls=(0, (4, 2)), zorder=1)
    axes.axhline(0, color="#bbbbbb", lw=0.7, zorder=0)
    axes.axvline(0, color="#bbbbbb", lw=0.7, zorder=0)
    axes.plot(
        table["x"],
        table["y"],
        "o",
        ms=4,
        mfc=settings.look(second).colour,
        mec="white",
        mew=0.4,
        alpha=0.8,
    )
    _label_genes(axes, table, MARKER_GENES, limits)
    above, below = int((table["y"] > table["x"]).sum()), int((table["y"] < table["x"]).sum())
    axes.text(
        0.03,
        0.97,
        f"{settings.title(second)} higher: {above}",
        transform=axes.transAxes,
        va="top",
        weight="bold",
    )
    axes.text(
        0.97,
        0.03,
        f"{settings.title(first)} higher: {below}",
        transform=axes.transAxes,
        ha="right",
        weight="bold",
    )
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.set_xlabel(f"Pearson r per gene, {settings.title(first)}")
    axes.set_ylabel(f"Pearson r per gene, {settings.title(second)}")
    return figure


def _label_genes(axes: Any, table: pd.DataFrame, markers: Sequence[str], limits: tuple[float, float]) -> None:
    """Name the marker genes and the two largest differences of either side.

    A label moves away from its point until its box covers neither a point nor another label.
    """
    difference = (table["y"] - table["x"]).sort_values(kind="stable")
    extremes = [*difference.index[:2], *difference.index[-2:]]
    chosen = list(dict.fromkeys([*table.index[table["gene"].isin(markers)], *extremes]))
    span = limits[1] - limits[0]
    points = (table[["x", "y"]].to_numpy(float) - limits[0]) / span
    taken = list(_CORNERS)
    row: Any
    for row in table.loc[chosen].sort_values("y").itertuples():
        x, y = (row.x - limits[0]) / span, (row.y - limits[0]) / span
        place = _free_place(x, y, 0.021 * len(row.gene), points, taken)
        if place is None:
            continue  # no free place near the point: better unnamed than illegible
        box, right = place
        taken.append(box)
        axes.annotate(
            row.gene,
            (x, y),
            xycoords="axes fraction",
            xytext=(box[0] if right else box[2], (box[1] + box[3]) / 2),
            textcoords="axes fraction",
            fontsize=6.5,
            style="italic",
            ha="left" if right else "right",
            va="center",
            arrowprops={"arrowstyle": "-", "lw": 0.5, "color": "#666666", "shrinkA": 0, "shrinkB": 2},
        )


def _free_place(
    x: float, y: float, width: float, points: np.ndarray, taken: Sequence[tuple[float, float, float, float]]
) -> tuple[tuple[float, float, float, float], bool] | None:
    """Return the nearest box for a label that covers nothing, and whether it lies right of its point.

    All lengths are shares of the axes. The side away from the identity line is tried first.
    """
    away = 1 if y < x else -1  # rightwards and down below the line, leftwards and up above it
    for step in np.arange(0.025, 0.3, 0.01):
        for across, up in ((away, -0.6 * away), (-away, -0.6 * away), (away, 0.0), (away, 0.6 * away)):
            end, bottom = x + across * step, y + up * step - 0.018
            box = (min(end, end + across * width), bottom, max(end, end + across * width), bottom + 0.036)
            covered = ((points > np.array(box[:2])) & (points < np.array(box[2:]))).all(axis=1).any()
            outside = min(box) < 0.01 or max(box) > 0.99
            if not (covered or outside or any(_overlap(box, other) for other in taken)):
                return box, across > 0
    return None


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    """Tell whether two boxes (left, bottom, right, top) share any area."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what the axes are and how many genes lie on either side."""
    if table.empty:
        return "No two methods were scored on the same genes."
    first = settings.title(table["method_x"].iloc[0])
    second = settings.title(table["method_y"].iloc[0])
    above, below = int((table["y"] > table["x"]).sum()), int((table["y"] < table["x"]).sum())
    return prose(f"""
        Pearson r per gene, averaged over sections and patients, of {second} against {first}; one point
        per gene, n = {count(len(table), "gene")}. Higher with {second}: {above}; with {first}: {below}.
        Genes are correlated, so these counts are a description and no test; the paired comparison over
        patients is in the table of comparisons. Labels: fixed marker genes and the largest
        differences.{scores_note(settings)}
    """)


@figure("Two methods, gene by gene", "comparisons", tables=["genes"], when=["pair"], settings=["pair"])
def method_scatter(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the per-gene table and draw two of its methods."""
    table = tidy_scatter(read_table(inputs["genes"]), settings)
    return plot_scatter(table, settings), table, caption(table, settings)
