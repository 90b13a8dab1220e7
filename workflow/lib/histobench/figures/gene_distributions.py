"""Distribution of per-gene correlations of every method (Chen et al. 2024, HE2Gene).

Inputs: ``genes`` (genes.tsv: method, gene, mean_pearson).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from histobench.figures.parts import method_rows, require_rows
from histobench.figures.style import DOUBLE, REFERENCE_COLOUR, method_style, new_figure, styled
from histobench.figures.text import count, scores_note
from histobench.files import read_table

if TYPE_CHECKING:
    import pandas as pd

FIGURE = {
    "title": "Distribution of per-gene correlations",
    "group": "genes",
    "inputs": {"genes": "results/{experiment}/tables/genes.tsv"},
}


def tidy_distributions(genes: pd.DataFrame) -> pd.DataFrame:
    """Return method, gene, mean_pearson, median (of the method); methods by median, highest first."""
    table = genes[genes["mean_pearson"].notna()][["method", "gene", "mean_pearson"]].copy()
    table["median"] = table.groupby("method")["mean_pearson"].transform("median")
    table["mean"] = table.groupby("method")["mean_pearson"].transform("mean")
    order = table.sort_values(["median", "mean", "method"], ascending=[False, False, True], kind="stable")
    return order.drop(columns="mean").reset_index(drop=True)


@styled
def plot_distributions(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> Figure:
    """Draw a half violin, the genes below it, and quartiles, one row per method."""
    import numpy as np
    from scipy.stats import gaussian_kde

    settings = settings or {}
    methods = list(dict.fromkeys(table["method"]))
    figure = new_figure(DOUBLE, 0.8 + 0.36 * len(methods))
    axes = figure.subplots()
    values_of = {m: own["mean_pearson"].to_numpy(float) for m, own in table.groupby("method", sort=False)}
    low, high = table["mean_pearson"].min(), table["mean_pearson"].max()
    grid = np.linspace(low - 0.05, high + 0.05, 160)
    jitter = np.random.default_rng(0)
    for row, method in enumerate(methods):
        values, style = values_of[method], method_style(method, settings)
        if len(values) > 2 and np.ptp(values) > 1e-9:
            density = gaussian_kde(values)(grid)
            top = row - 0.42 * density / density.max()
            axes.fill_between(
                grid, row, top, where=density > 0.002 * density.max(), color=style.colour, alpha=0.35, lw=0
            )
        axes.plot(
            values,
            row + 0.14 + 0.14 * jitter.random(len(values)),
            "o",
            ms=1.6,
            mew=0,
            color=style.colour,
            alpha=0.55,
            rasterized=len(table) > 20_000,
        )
        first, middle, third = np.quantile(values, (0.25, 0.5, 0.75))
        axes.plot([first, third], [row + 0.03] * 2, color=style.colour, lw=3, solid_capstyle="butt")
        axes.plot(middle, row + 0.03, "o", ms=4, mfc="white", mec=style.colour, mew=1.1, zorder=4)
    axes.axvline(0, color=REFERENCE_COLOUR, lw=0.7)
    method_rows(axes, methods, settings)
    axes.set_ylim(len(methods) - 0.55, -0.6)
    axes.grid(axis="x")
    axes.set_xlabel("Pearson r of a gene, mean over sections and patients")
    return figure


def caption(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> str:
    """Say what a dot, a bar and a ring are."""
    return (
        "Pearson r per gene, averaged over sections and patients (n = "
        f"{count(table['gene'].nunique(), 'gene')}): density and one dot per gene; bar: middle half of the "
        "genes, ring: median, by which methods are ordered. Genes are correlated, so the width is no "
        "measure of certainty; intervals over patients are in the leader board. Descriptive; no "
        "test." + scores_note(settings)
    )


def draw(inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """Read the genes and draw their distribution."""
    table = require_rows(tidy_distributions(read_table(inputs["genes"])), "no gene could be scored.")
    return plot_distributions(table, settings), table
