"""What smoothing the measurement does to every method's correlation (He et al. 2020).

Inputs: ``genes`` (genes.tsv: method, gene, mean_pearson, pearson_smoothed).
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


def plot_smoothing(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw an arrow from r to r with the smoothed measurement per method."""
    label = "Pearson r with the measurement (marker) and with its mean over neighbours (arrow head)"
    return plot_dumbbells(table, settings, label, "change")


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what the arrow is."""
    return prose(f"""
        From the correlation with the measurement of each spot (marker) to that with the measurement
        averaged over it and its neighbours (the 3 x 3 block of a square grid, the ring of six of a
        hexagonal one), raw counts first (arrow head); means over sections, patients and genes (n =
        {count(int(table["n_genes"].max()), "gene")}). Smoothing removes sampling noise and detail alike,
        so a smooth prediction gains by it. Predictions are the same in both; an oracle that averages
        neighbours is part of what it is compared with. Descriptive; no test.{scores_note(settings)}
    """)


@figure("Effect of smoothing the measurement", "scores", tables=["genes"])
def smoothing(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the genes and draw the change."""
    table = tidy_dumbbells(read_table(inputs["genes"]), "mean_pearson", "pearson_smoothed")
    return (
        plot_smoothing(require_rows(table, "no gene could be scored."), settings),
        table,
        caption(table, settings),
    )
