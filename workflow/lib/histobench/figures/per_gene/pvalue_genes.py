"""Genes by mean -log10 p over sections, and maps of the first (Jia et al. 2023, THItoGene, Fig. 4).

Inputs: ``metrics`` (metric folders of the compared methods, the leading one first), ``predictions`` (of the
same, the fold that tests the section of the maps). Settings: ``section``, ``genes``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import beside, beside_head, require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import Predicted, read_metrics, read_predictions
from histobench.figures.drawing.style import DOUBLE, SEQUENTIAL, new_figure
from histobench.figures.drawing.text import count, prose, scores_note, signed
from histobench.figures.drawing.tissue import SpotMaps, size_discs

NUMBER, MAPS = 10, 4


def tidy_p(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return method, gene, n_sections, mean_log_p, mean_r, best_r; highest mean -log10 p of a method first.

    p is that of a two-sided Pearson test in each section by itself, with spots taken as independent, which
    they are not: it ranks genes as the paper does and claims nothing.
    """
    own = metrics[(metrics["metric"] == "pearson") & (metrics["section"] != "*") & (metrics["gene"] != "")]
    own = own[own["value"].notna() & (own["n_spots"] > 2)]
    r = own["value"].clip(-0.999999, 0.999999)
    degrees = own["n_spots"] - 2
    log_p = -(np.log(2) + stats.t.logsf(np.abs(r) * np.sqrt(degrees / (1 - r**2)), degrees)) / np.log(10)
    own = own.assign(log_p=np.maximum(log_p, 0.0))
    groups = own.groupby(["method", "gene"], sort=False)
    table = groups.agg(
        n_sections=("section", "nunique"),
        mean_log_p=("log_p", "mean"),
        mean_r=("value", "mean"),
        best_r=("value", "max"),
    ).reset_index()
    place = {method: number for number, method in enumerate(dict.fromkeys(own["method"]))}
    order = table.assign(place=table["method"].map(place)).sort_values(
        ["place", "mean_log_p", "gene"], ascending=[True, False, True], kind="stable"
    )
    return order[table.columns].reset_index(drop=True)


def plot_p(table: pd.DataFrame, predicted: Sequence[Predicted], settings: Settings) -> Figure:
    """Draw bars of the first genes, and measurement above the predictions of some of them.

    Bars are of the leading method, with a mark for what each other one reaches; ``predicted`` is one section
    by each method. Maps show the configured genes that are in the panel, then the first of the bars.
    """
    methods = list(dict.fromkeys(table["method"]))
    own = table[table["method"] == methods[0]]
    top = own.head(NUMBER)
    panel = set(predicted[0].genes) if predicted else set()
    wanted = [gene for gene in settings.genes if gene in panel]
    genes = list(dict.fromkeys([*wanted, *(gene for gene in top["gene"] if gene in panel)]))[:MAPS]
    figure = new_figure(DOUBLE, 2.9 if len(predicted) < 2 else 1.5 + 0.95 * (1 + len(predicted)))
    parts: Any = figure.subfigures(1, 2, width_ratios=[1.1, 1.5]) if genes else (figure, None)
    left, right = parts
    axes = left.subplots()
    axes.barh(
        range(len(top)), top["mean_log_p"], color=settings.look(methods[0]).colour, height=0.72,
        label=settings.title(methods[0]),
    )  # fmt: skip
    for method in methods[1:]:
        other = table[table["method"] == method].set_index("gene")["mean_log_p"].reindex(top["gene"])
        style = settings.look(method)
        axes.plot(other, range(len(top)), style.marker, ms=4, color=style.colour, mfc=style.face, mew=1.0,
                  ls="none", label=settings.title(method))  # fmt: skip
    if len(methods) > 1:
        left.legend(loc="outside lower center", ncols=2, fontsize=6)
    for row, (r, best) in enumerate(zip(top["mean_r"], top["best_r"], strict=True)):
        beside(axes, row, f"{signed(r)} ({signed(best)})", 3, 6.5)
    beside_head(axes, "mean r (best)", 3, 6.5)
    axes.set_yticks(range(len(top)), top["gene"], style="italic")
    axes.set_ylim(len(top) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("mean −log10 p over sections")
    axes.grid(axis="x")
    if right is not None:
        _maps(figure, right, predicted, genes, settings)
    return figure


def _maps(
    figure: Figure, right: Any, predicted: Sequence[Predicted], genes: list[str], settings: Settings
) -> None:
    grid = right.subplots(1 + len(predicted), len(genes), squeeze=False)
    spots = predicted[0].spots
    maps = SpotMaps(spots.assign(spot=spots.index))
    for place, gene in enumerate(genes):
        shown = [predicted[0].truth[:, predicted[0].column(gene)]]
        shown += [each.prediction[:, each.column(gene)] for each in predicted]
        for row, values in enumerate(shown):
            maps.draw(grid[row, place], spots, c=values, cmap=SEQUENTIAL)
        grid[0, place].set_title(gene, style="italic", pad=2)
    grid[0, 0].set_ylabel("measured")
    for row, each in enumerate(predicted, start=1):
        grid[row, 0].set_ylabel(settings.wrapped(each.method, 12), fontsize=7)
    size_discs(figure, [maps])


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say how p was made and why it proves nothing."""
    method = settings.title(table["method"].iloc[0])
    section = settings.section
    rest = [name for name in dict.fromkeys(table["method"]) if name != table["method"].iloc[0]]
    others = f"; marks: the same genes by {settings.listed(rest)}" if rest else ""
    chosen = "the configured genes, then the first," if settings.genes else "the first"
    return prose(f"""
        The ten genes of {method} with the highest mean −log10 p over sections (n =
        {count(int(table["n_sections"].max()), "section")}, {count(table["gene"].nunique(), "gene")}),
        with mean and highest r over sections{others}, and maps of {chosen} that are in the panel of
        section {section}, each panel on its own colour scale. p is that of Pearson's r with spots taken
        as independent, as the THItoGene paper ranks genes; neighbouring spots are not independent, so p
        is far too small and no test: no correction.{scores_note(settings)}
    """)


@figure(
    "Genes by mean −log10 p, with maps",
    "genes",
    metrics="compared",
    inputs={"predictions": "{experiment}/predictions/{compared}/{map_fold}"},
    settings=["section", "genes"],
)
def pvalue_genes(inputs: Inputs, settings: Settings) -> Drawing:
    """Read metric files and one section's prediction and draw both."""
    table = require_rows(tidy_p(read_metrics(inputs["metrics"], ["pearson"])), "no gene could be scored.")
    sections = read_predictions(inputs["predictions"], [settings.section])
    return plot_p(table, sections, settings), table, caption(table, settings)
