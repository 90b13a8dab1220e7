"""Correlations of all genes in every section, for every trained method (Jia et al. 2023, THItoGene, Fig. 2).

Inputs: ``metrics`` (metric folders of the trained methods that predict expression).
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.panels import SectionBoxes
from histobench.figures.drawing.parts import require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import read_metrics
from histobench.figures.drawing.style import DOUBLE, REFERENCE_COLOUR
from histobench.figures.drawing.text import count, prose, scores_note

QUANTILES = {"low": 0.05, "first": 0.25, "median": 0.5, "third": 0.75, "high": 0.95}


def tidy_boxes(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return method, patient, section, n_genes and quantiles of r over genes (5, 25, 50, 75, 95 %), mean.

    ``metrics`` has Pearson r per gene and section; pooled sections ("*") are left out.
    """
    own = metrics[(metrics["metric"] == "pearson") & (metrics["section"] != "*") & metrics["value"].notna()]
    groups = own.groupby(["method", "patient", "section"], sort=True)["value"]
    table = groups.agg(n_genes="size", mean="mean").reset_index()
    for name, q in QUANTILES.items():
        table[name] = groups.quantile(q).to_numpy()
    return table


def plot_boxes(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw one panel per method, a box per section; sections are in the same place in all panels."""

    def size(methods: int, sections: int) -> tuple[float, float]:
        return DOUBLE, 0.55 + (0.95 if methods <= 6 else 0.7) * methods

    panels = SectionBoxes(table, settings, size)
    for axes, method, _, style in panels.drawn():
        axes.axhline(0, color=REFERENCE_COLOUR, lw=0.7, zorder=0)
        axes.set_title(settings.title(method), color=style.colour, loc="left", pad=2)
        axes.grid(axis="y")
    return panels.finished("Pearson r of a gene over the spots", 16)


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what a box is."""
    sections, genes = table["section"].nunique(), int(table["n_genes"].max())
    return prose(f"""
        Pearson r per gene in each held-out section (n = {count(sections, "section")} of
        {count(table["patient"].nunique(), "patient")}, up to {count(genes, "gene")}): box, middle half
        of the genes; line, median; diamond, mean; whiskers, 5th to 95th percentile. Sections of a
        patient are serial cuts and genes are correlated, so neither is a replicate; comparisons rest on
        patients. Descriptive; no test.{scores_note(settings)}
    """)


@figure("Correlations in every section", "scores", metrics="trained")
def section_boxes(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the metric files and draw the boxes."""
    table = require_rows(tidy_boxes(read_metrics(inputs["metrics"], ["pearson"])), "no gene could be scored.")
    return plot_boxes(table, settings), table, caption(table, settings)
