"""Distribution of correlations over sections and over genes (He et al. 2020, Supp. Fig. 3).

Inputs: ``metrics`` (metric folders of the compared methods).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.panels import method_grid
from histobench.figures.drawing.parts import DARK, LIGHT, require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import read_metrics
from histobench.figures.drawing.style import REFERENCE_COLOUR, panel_title
from histobench.figures.drawing.text import count, prose, scores_note, signed

WIDTH = 0.05
SECTIONS, GENES = "gene in a section", "gene, median over patients"
COLUMNS = ["method", "unit", "bin_low", "bin_high", "share", "n", "mean", "median", "share_positive"]


def tidy_histogram(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return :data:`COLUMNS`: shares of r in bins of equal width with an edge at 0.

    Once every pair of gene and section counts, once every gene with its median over patients, whose sections
    are pooled.
    """
    own = metrics[(metrics["metric"] == "pearson") & (metrics["gene"] != "") & metrics["value"].notna()]
    pooled = own["section"] == "*"
    medians = own[pooled].groupby(["method", "gene"], sort=False)["value"].median().reset_index()
    blocks = []
    for unit, rows in ((SECTIONS, own[~pooled]), (GENES, medians)):
        for method, values in rows.groupby("method", sort=False)["value"]:
            bins, sizes = np.unique(np.floor(values / WIDTH + 1e-9).astype(int), return_counts=True)
            facts = {
                "method": method,
                "unit": unit,
                "bin_low": np.round(bins * WIDTH, 4),
                "bin_high": np.round((bins + 1) * WIDTH, 4),
                "share": sizes / len(values),
                "n": len(values),
                "mean": values.mean(),
                "median": values.median(),
                "share_positive": float((values > 0).mean()),
            }
            blocks.append(pd.DataFrame(facts))
    return pd.concat(blocks, ignore_index=True)[COLUMNS] if blocks else pd.DataFrame(columns=COLUMNS)


def plot_histogram(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a panel per method: sections as filled bars, genes as a line of steps."""
    methods = settings.order(table["method"])
    figure, grid = method_grid(methods, 0.9, 1.6)
    for axes, method in zip(grid.flat, methods, strict=False):
        own = table[table["method"] == method]
        for unit in (SECTIONS, GENES):
            part = own[own["unit"] == unit].sort_values("bin_low")
            if part.empty:
                continue
            look = (
                {"color": LIGHT, "ec": "white", "lw": 0.3}
                if unit == SECTIONS
                else {"color": "none", "ec": DARK, "lw": 1.0}
            )
            axes.bar(part["bin_low"], 100 * part["share"], WIDTH, align="edge", label=unit, **look)
            at = 0.97 if unit == SECTIONS else 0.88
            first = part.iloc[0]
            text = f"mean {signed(first['mean'])}, {100 * first['share_positive']:.0f} % above 0"
            colour = "#5580a8" if unit == SECTIONS else DARK
            axes.text(
                0.98, at, text, transform=axes.transAxes, ha="right", va="top", fontsize=6, color=colour
            )
        axes.axvline(0, color=REFERENCE_COLOUR, lw=0.8, ls=(0, (4, 2)))
        panel_title(axes, method, settings)
        axes.grid(axis="y")
    for axes in list(grid.flat)[len(methods) :]:
        axes.axis("off")
    grid[0, 0].set_ylim(0, 130 * table["share"].max())
    figure.supxlabel("Pearson r", fontsize=8)
    figure.supylabel("% of all", fontsize=8)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what is counted."""
    pairs, genes = (int(table.loc[table["unit"] == unit, "n"].max()) for unit in (SECTIONS, GENES))
    return prose(f"""
        Distribution of Pearson r of {settings.listed(settings.order(table["method"]))} over held-out spots:
        filled, every gene in every section (n = {pairs:,} pairs); outlined, every gene by its median over
        patients, sections of a patient pooled (n = {count(genes, "gene")}). Genes and serial sections are
        correlated, so the width is no measure of certainty. Descriptive; no test.{scores_note(settings)}
    """)


@figure("Histogram of correlations", "genes", metrics="compared", when=["paper"])
def correlation_histogram(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the metric files and draw their distribution."""
    table = tidy_histogram(read_metrics(inputs["metrics"], ["pearson"]))
    table = require_rows(table, "no gene could be scored.")
    return plot_histogram(table, settings), table, caption(table, settings)
