"""How well predictions tell a gene's high spots from its low ones (He et al. 2020, external test).

Inputs: ``genes`` (genes.tsv: method, gene, auroc_quartiles).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.panels import method_grid
from histobench.figures.drawing.parts import require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import REFERENCE_COLOUR, panel_title
from histobench.figures.drawing.text import count, prose, scores_note
from histobench.files import read_table

WIDTH = 0.025
COLUMNS = ["method", "bin_low", "bin_high", "n_genes", "mean_auroc", "n_above"]


def tidy_auroc(genes: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return method, bin_low, bin_high, n_genes with each method's mean AUROC and genes above 0.5.

    Methods whose AUROC is 0.5 throughout, because they predict one value for all spots, are left out, and so
    are oracles. Bins are of equal width with an edge at 0.5, and include the lower edge.
    """
    rows = []
    for method in settings.order(genes["method"]):
        values = genes.loc[genes["method"] == method, "auroc_quartiles"].dropna().to_numpy(float)
        if settings.family(method) == "oracle" or not len(values) or np.ptp(values) < 1e-9:
            continue
        place = np.floor((values - 0.5) / WIDTH + 1e-9).astype(int)
        bins, sizes = np.unique(place, return_counts=True)
        for low, size in zip(0.5 + bins * WIDTH, sizes, strict=True):
            above = int((values > 0.5).sum())
            rows.append((method, round(low, 4), round(low + WIDTH, 4), int(size), values.mean(), above))
    return pd.DataFrame(rows, columns=COLUMNS)


def plot_auroc(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw one histogram per method on common axes."""
    methods = settings.order(table["method"])
    figure, grid = method_grid(methods, 0.5, 1.35)
    for axes, method in zip(grid.flat, methods, strict=False):
        own, style = table[table["method"] == method], settings.look(method)
        axes.bar(
            own["bin_low"], own["n_genes"], width=WIDTH, align="edge", color=style.colour, edgecolor="white",
            lw=0.4,
        )  # fmt: skip
        axes.axvline(0.5, ymax=0.84, color=REFERENCE_COLOUR, lw=0.8, ls=(0, (4, 2)))
        panel_title(axes, method, settings)
        total = int(own["n_genes"].sum())
        text = f"mean {own['mean_auroc'].iloc[0]:.2f}; {own['n_above'].iloc[0]} of {total} above 0.5"
        axes.text(0.98, 0.96, text, transform=axes.transAxes, ha="right", va="top", fontsize=6)
        axes.grid(axis="y")
    for axes in list(grid.flat)[len(methods) :]:
        axes.axis("off")
    for axes in list(grid.flat)[max(0, len(methods) - grid.shape[1]) : len(methods)]:
        axes.tick_params(labelbottom=True)  # nothing below it has them
    low, high = table["bin_low"].min(), table["bin_high"].max()
    grid[0, 0].set_xlim(min(low, 0.45) - WIDTH, min(high, 1.0) + WIDTH)
    grid[0, 0].set_ylim(0, 1.35 * table["n_genes"].max())
    figure.supxlabel("AUROC of a gene, mean over sections and patients", fontsize=8)
    figure.supylabel("genes", fontsize=8)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what is positive, what negative, and over how many genes."""
    genes = int(table.groupby("method")["n_genes"].sum().max())
    return prose(f"""
        Area under the ROC curve per gene (n = {count(genes, "gene")}): positives are the quarter of a
        section's spots with the highest measured expression, negatives the lowest quarter, the score is
        the prediction; averaged over sections and patients. 0.5 (dashed) is chance. Oracles, and methods
        that predict one value per section, are left out. Descriptive; no test.{scores_note(settings)}
    """)


@figure("AUROC of the top against the bottom quarter of spots", "genes", tables=["genes"])
def auroc_histogram(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the genes and draw them."""
    table = tidy_auroc(read_table(inputs["genes"]), settings)
    table = require_rows(table, "no method tells one spot of a section from another.")
    return plot_auroc(table, settings), table, caption(table, settings)
