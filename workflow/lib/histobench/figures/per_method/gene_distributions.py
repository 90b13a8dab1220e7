"""Distribution of per-gene correlations of every method (Chen et al. 2024, HE2Gene).

Inputs: ``genes`` (genes.tsv: method, gene, mean_pearson).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import method_rows, require_rows
from histobench.figures.drawing.plots import half_violins
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose, scores_note
from histobench.files import read_table


def tidy_distributions(genes: pd.DataFrame) -> pd.DataFrame:
    """Return method, gene, mean_pearson, median (of the method); methods by median, highest first."""
    table = genes[genes["mean_pearson"].notna()][["method", "gene", "mean_pearson"]].copy()
    table["median"] = table.groupby("method")["mean_pearson"].transform("median")
    table["mean"] = table.groupby("method")["mean_pearson"].transform("mean")
    order = table.sort_values(["median", "mean", "method"], ascending=[False, False, True], kind="stable")
    return order.drop(columns="mean").reset_index(drop=True)


def plot_distributions(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a half violin, the genes below it, and quartiles, one row per method."""
    methods = list(dict.fromkeys(table["method"]))
    figure = new_figure(DOUBLE, 0.8 + 0.36 * len(methods))
    axes = figure.subplots()
    values_of = {m: own["mean_pearson"].to_numpy(float) for m, own in table.groupby("method", sort=False)}
    below = half_violins(axes, table, "mean_pearson", methods, settings)
    jitter = np.random.default_rng(0)  # seaborn's own jitter is another one in every process
    for row, method in enumerate(methods):
        values, style = values_of[method], settings.look(method)
        axes.plot(
            values,
            row + below + 0.06 + 0.14 * jitter.random(len(values)),
            "o",
            ms=1.6,
            mew=0,
            color=style.colour,
            alpha=0.55,
            rasterized=len(table) > 20_000,
        )
        first, middle, third = np.quantile(values, (0.25, 0.5, 0.75))
        axes.plot([first, third], [row + below] * 2, color=style.colour, lw=3, solid_capstyle="butt")
        axes.plot(middle, row + below, "o", ms=4, mfc="white", mec=style.colour, mew=1.1, zorder=4)
    axes.axvline(0, color=REFERENCE_COLOUR, lw=0.7)
    method_rows(axes, methods, settings)
    axes.set_ylim(len(methods) - 0.45, -0.6)
    axes.grid(axis="x")
    axes.set_xlabel("Pearson r of a gene, mean over sections and patients")
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what a dot, a bar and a ring are."""
    return prose(f"""
        Pearson r per gene, averaged over sections and patients (n =
        {count(table["gene"].nunique(), "gene")}): density and one dot per gene; bar: middle half of the
        genes, ring: median, by which methods are ordered. Genes are correlated, so the width is no
        measure of certainty; intervals over patients are in the leader board. Descriptive; no
        test.{scores_note(settings)}
    """)


@figure("Distribution of per-gene correlations", "genes", tables=["genes"])
def gene_distributions(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the genes and draw their distribution."""
    table = require_rows(tidy_distributions(read_table(inputs["genes"])), "no gene could be scored.")
    return plot_distributions(table, settings), table, caption(table, settings)
