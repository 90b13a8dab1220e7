"""AUROC of all genes in every section (He et al. 2020, Supp. Fig. 2).

Inputs: ``metrics`` (metric folders of the compared methods).
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

METRIC = "auroc_quartiles"
QUANTILES = {"low": 0.05, "first": 0.25, "median": 0.5, "third": 0.75, "high": 0.95}


def tidy_auroc_sections(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return method, patient, section, n_genes, mean, n_above and quantiles of the AUROC over genes."""
    own = metrics[(metrics["metric"] == METRIC) & (metrics["section"] != "*") & metrics["value"].notna()]
    groups = own.groupby(["method", "patient", "section"], sort=True)["value"]
    table = groups.agg(
        n_genes="size", mean="mean", n_above=lambda values: int((values > 0.5).sum())
    ).reset_index()
    for name, q in QUANTILES.items():
        table[name] = groups.quantile(q).to_numpy()
    return table


def plot_auroc_sections(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a panel per method, a box per section, with the genes above chance."""

    def size(methods: int, sections: int) -> tuple[float, float]:
        return min(DOUBLE, 2.4 + 0.3 * sections), 0.7 + 1.35 * methods

    panels = SectionBoxes(table, settings, size)
    for axes, method, own, style in panels.drawn():
        axes.axhline(0.5, color=REFERENCE_COLOUR, lw=0.8, ls=(0, (4, 2)), zorder=0)
        above, every = int(own["n_above"].sum()), int(own["n_genes"].sum())
        text = (
            f"{settings.title(method)}: mean {own['mean'].mean():.2f}, {100 * above / every:.0f} % above 0.5"
        )
        axes.set_title(text, color=style.colour, loc="left", pad=2)
        axes.grid(axis="y")
    return panels.finished("AUROC of a gene", 10)


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what is positive, and what a box is."""
    return prose(f"""
        Area under the ROC curve per gene in each held-out section (n =
        {count(table["section"].nunique(), "section")} of {count(table["patient"].nunique(), "patient")}, up
        to {count(int(table["n_genes"].max()), "gene")}): positives are the quarter of the spots with the
        highest measured expression, negatives the lowest quarter, the score is the prediction; dashed:
        chance. Box, middle half of the genes; line, median; diamond, mean; whiskers, 5th to 95th percentile.
        Sections of a patient are serial cuts and no replicates. Descriptive; no test.{scores_note(settings)}
    """)


@figure("AUROC in every section", "scores", metrics="compared", when=["paper"])
def auroc_sections(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the metric files and draw the boxes."""
    table = tidy_auroc_sections(read_metrics(inputs["metrics"], [METRIC]))
    table = require_rows(table, "no gene could be scored.")
    return plot_auroc_sections(table, settings), table, caption(table, settings)
