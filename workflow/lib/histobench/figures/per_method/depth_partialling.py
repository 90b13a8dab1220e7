"""What is left of every method's correlation once sequencing depth is held fixed.

Inputs: ``genes`` (genes.tsv: method, gene, mean_pearson, pearson_partial_depth).
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.dumbbells import plot_dumbbells, tidy_dumbbells
from histobench.figures.drawing.parts import require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.text import count, prose, scores_note
from histobench.files import read_table


def plot_depth(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw an arrow from r to r given depth per method."""
    label = "Pearson r (marker) and partial r given the logarithm of a spot's total counts (arrow head)"
    return plot_dumbbells(table, settings, label, "change")


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what the arrow is."""
    return prose(f"""
        From the correlation of prediction and measurement (marker) to their partial correlation given
        the logarithm of the spot's total counts (arrow head), averaged over sections, patients and genes
        (n = {count(int(table["n_genes"].max()), "gene")}). A method that only sees how deeply a spot was
        sequenced, such as the oracle sequencing depth, falls to zero. Descriptive; no
        test.{scores_note(settings)}
    """)


@figure("Correlation given sequencing depth", "scores", tables=["genes"])
def depth_partialling(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the genes and draw the change."""
    table = tidy_dumbbells(read_table(inputs["genes"]), "mean_pearson", "pearson_partial_depth")
    return (
        plot_depth(require_rows(table, "no gene could be scored."), settings),
        table,
        caption(table, settings),
    )
