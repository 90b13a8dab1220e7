"""Genes by mean -log10 p over sections, and maps of the first (Jia et al. 2023, THItoGene, Fig. 4).

Inputs: ``metrics`` (metric folder of the leading method), ``predictions`` (of the leading method, the fold
that tests the section of the maps). Settings: ``section``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from histobench.figures.parts import require_rows
from histobench.figures.sources import Predicted, read_metrics, read_predictions
from histobench.figures.style import DOUBLE, SEQUENTIAL, method_style, method_title, new_figure, styled
from histobench.figures.text import count, scores_note, signed
from histobench.figures.tissue import draw_spots, extent, size_discs, spot_pitch

if TYPE_CHECKING:
    import pandas as pd

FIGURE = {
    "title": "Genes by mean −log10 p, with maps",
    "group": "genes",
    "inputs": {
        "metrics": "results/{experiment}/metrics/{leader}",
        "predictions": "results/{experiment}/predictions/{leader}/{map_fold}",
    },
    "settings": ["section"],
}
NUMBER, MAPS = 10, 3


def tidy_p(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return method, gene, n_sections, mean_log_p, mean_r, best_r, highest mean -log10 p first.

    p is that of a two-sided Pearson test in each section by itself, with spots taken as independent, which
    they are not: it ranks genes as the paper does and claims nothing.
    """
    import numpy as np
    from scipy import stats

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
    return table.sort_values(["mean_log_p", "gene"], ascending=[False, True], kind="stable").reset_index(
        drop=True
    )


@styled
def plot_p(
    table: pd.DataFrame, predicted: Predicted | None, settings: Mapping[str, Any] | None = None
) -> Figure:
    """Draw bars of the first genes, and measurement above prediction for those of the section's panel."""
    settings = settings or {}
    top = table.head(NUMBER)
    style = method_style(table["method"].iloc[0], settings)
    genes = [gene for gene in top["gene"] if predicted is not None and gene in predicted.genes][:MAPS]
    figure = new_figure(DOUBLE, 2.9)
    parts: Any = figure.subfigures(1, 2, width_ratios=[1.1, 1.5]) if genes else (figure, None)
    left, right = parts
    axes = left.subplots()
    axes.barh(range(len(top)), top["mean_log_p"], color=style.colour, height=0.72)
    for row, (r, best) in enumerate(zip(top["mean_r"], top["best_r"], strict=True)):
        axes.annotate(
            f"{signed(r)} ({signed(best)})",
            (1.0, row),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=6.5,
            annotation_clip=False,
        )
    axes.annotate(
        "mean r (best)",
        (1.0, 1.0),
        xycoords="axes fraction",
        xytext=(3, 2),
        textcoords="offset points",
        fontsize=6.5,
        weight="bold",
        annotation_clip=False,
    )
    axes.set_yticks(range(len(top)), top["gene"], style="italic")
    axes.set_ylim(len(top) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("mean −log10 p over sections")
    axes.grid(axis="x")
    if right is not None and predicted is not None:
        _maps(figure, right, predicted, genes, settings)
    return figure


def _maps(
    figure: Figure, right: Any, predicted: Predicted, genes: list[str], settings: Mapping[str, Any]
) -> None:
    grid = right.subplots(2, len(genes), squeeze=False)
    spots = predicted.spots
    box, discs = extent(spots.assign(spot=spots.index)), []
    for place, gene in enumerate(genes):
        for row, values in enumerate((predicted.truth, predicted.prediction)):
            shown = values[:, predicted.column(gene)]
            discs.append(draw_spots(grid[row, place], spots, box, c=shown, cmap=SEQUENTIAL))
        grid[0, place].set_title(gene, style="italic", pad=2)
    grid[0, 0].set_ylabel("measured")
    grid[1, 0].set_ylabel(method_title(predicted.method, settings))
    size_discs(figure, discs, 0.92 * spot_pitch(spots[["pixel_x", "pixel_y"]].to_numpy(float)))


def caption(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> str:
    """Say how p was made and why it proves nothing."""
    method = method_title(table["method"].iloc[0], settings)
    section = (settings or {}).get("section", "")
    return (
        f"The ten genes of {method} with the highest mean −log10 p over sections (n = "
        f"{count(int(table['n_sections'].max()), 'section')}, {count(len(table), 'gene')}), with mean and "
        f"highest r over sections, and maps of the first that are in the panel of section {section}, each "
        "panel on its own colour scale. p is that of Pearson's r with spots taken as independent, as the "
        "THItoGene paper ranks genes; neighbouring spots are not independent, so p is far too small and no "
        "test: no correction." + scores_note(settings)
    )


def draw(inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """Read metric files and one section's prediction and draw both."""
    table = require_rows(tidy_p(read_metrics(inputs["metrics"], ["pearson"])), "no gene could be scored.")
    sections = read_predictions(inputs["predictions"], [settings["section"]])
    return plot_p(table, sections[0] if sections else None, settings), table
