"""What is left of every method's correlation once sequencing depth is held fixed.

Inputs: ``genes`` (genes.tsv: method, gene, mean_pearson, pearson_partial_depth).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from histobench.figures.dumbbells import plot_dumbbells, tidy_dumbbells
from histobench.figures.parts import require_rows
from histobench.figures.style import styled
from histobench.figures.text import count, scores_note
from histobench.files import read_table

if TYPE_CHECKING:
    import pandas as pd

FIGURE = {
    "title": "Correlation given sequencing depth",
    "group": "scores",
    "inputs": {"genes": "results/{experiment}/tables/genes.tsv"},
}


@styled
def plot_depth(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> Figure:
    """Draw an arrow from r to r given depth per method."""
    label = "Pearson r (marker) and partial r given the logarithm of a spot's total counts (arrow head)"
    return plot_dumbbells(table, settings or {}, label, "change")


def caption(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> str:
    """Say what the arrow is."""
    return (
        "From the correlation of prediction and measurement (marker) to their partial correlation given the "
        "logarithm of the spot's total counts (arrow head), averaged over sections, patients and genes (n = "
        f"{count(int(table['n_genes'].max()), 'gene')}). A method that only sees how deeply a spot was "
        "sequenced, such as the oracle sequencing depth, falls to zero. Descriptive; no "
        "test." + scores_note(settings)
    )


def draw(inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """Read the genes and draw the change."""
    table = tidy_dumbbells(read_table(inputs["genes"]), "mean_pearson", "pearson_partial_depth")
    return plot_depth(require_rows(table, "no gene could be scored."), settings), table
