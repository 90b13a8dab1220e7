"""Configured genes against size and density of nuclei, patient by patient (He et al. 2020, ST-Net, AEBP1).

Inputs: ``predictions`` (of the leading method, all folds, for what was measured), ``nuclei`` (of all
sections). Settings: ``genes``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.nuclei import FEATURES, correlations, read_nuclei
from histobench.figures.drawing.parts import DARK, LIGHT, MIDDLE, beside, beside_head, require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose, signed

MOST = 8
SHOWN = ("area", "density")
COLUMNS = ["gene", "feature", "patient", "r", "mean_r", "n_patients", "n_positive", "p_wilcoxon"]


def tidy_markers(found: pd.DataFrame, wanted: Sequence[str]) -> pd.DataFrame:
    """Return :data:`COLUMNS`: r per patient of the wanted genes, then of those with the largest |r|.

    ``p_wilcoxon`` is that of a two-sided signed-rank test over patients that r is 0, uncorrected.
    """
    own = found[found["feature"].isin(SHOWN)]
    patients = own.groupby(["gene", "feature", "patient"], sort=False)["r"].mean().dropna().reset_index()
    means = patients.groupby(["gene", "feature"])["r"].mean().abs().groupby("gene").max()
    ranked = list(means.sort_values(ascending=False, kind="stable").index)
    genes = list(dict.fromkeys([*(gene for gene in wanted if gene in means.index), *ranked]))[:MOST]
    rows = []
    for gene in genes:
        for feature in SHOWN:
            part = patients[(patients["gene"] == gene) & (patients["feature"] == feature)]
            r = part["r"].to_numpy()
            p = float(stats.wilcoxon(r).pvalue) if len(r) > 1 and np.any(r != 0) else np.nan
            facts = (r.mean() if len(r) else np.nan, len(r), int((r > 0).sum()), p)
            rows += [
                (gene, feature, patient, value, *facts)
                for patient, value in zip(part["patient"], r, strict=True)
            ]
    return pd.DataFrame(rows, columns=COLUMNS)


def plot_markers(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a row per gene and a panel per feature: a dot per patient, the mean as a bar, its p beside it."""
    genes = list(dict.fromkeys(table["gene"]))
    figure = new_figure(DOUBLE, 0.9 + 0.27 * len(genes))
    panels = figure.subplots(1, len(SHOWN), sharey=True)
    for axes, feature in zip(panels, SHOWN, strict=True):
        for row, gene in enumerate(genes):
            own = table[(table["gene"] == gene) & (table["feature"] == feature)]
            if own.empty:
                continue
            first = own.iloc[0]
            axes.barh(row, first["mean_r"], color=LIGHT, height=0.7)
            axes.plot(own["r"], [row] * len(own), "o", ms=3, mew=0, color=MIDDLE, alpha=0.8)
            axes.plot(first["mean_r"], row, "|", ms=11, mew=1.6, color=DARK)
            p = f"{first['p_wilcoxon']:.2g}" if np.isfinite(first["p_wilcoxon"]) else "none"
            text = f"{first['n_positive']}/{first['n_patients']}   {p}"
            beside(axes, row, text, 6, 6.5)
        beside_head(axes, "r > 0     p", 6, 6.5)
        axes.axvline(0, color=REFERENCE_COLOUR, lw=0.8)
        axes.set_xlabel(
            f"r with {FEATURES[feature]} of nuclei" if feature == "area" else f"r with {FEATURES[feature]}"
        )
        axes.grid(axis="x")
    panels[0].set_yticks(range(len(genes)), genes, style="italic")
    panels[0].set_ylim(len(genes) - 0.4, -0.6)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what a dot is and how it was tested."""
    asked = [gene for gene in settings.genes if gene in set(table["gene"])]
    said = []
    for gene in asked[-1:]:
        for feature in SHOWN:
            own = table[(table["gene"] == gene) & (table["feature"] == feature)]
            if len(own):
                said.append(f"{gene} with {FEATURES[feature]} {signed(float(own['mean_r'].iloc[0]))}")
    return prose(f"""
        Pearson r of measured expression with the mean area and the density of the nuclei in a spot's patch,
        over the spots of a section, a dot per patient (mean of its sections, n =
        {count(table["patient"].nunique(), "patient")}), the mean of patients as a bar
        {"(" + "; ".join(said) + ")" if said else ""}. Genes: as configured, then those with the largest
        mean. p: Wilcoxon signed-rank test over patients, two-sided, uncorrected: the cluster map of all genes
        corrects.
    """)


@figure(
    "Genes against size and density of nuclei",
    "genes",
    predictions="leader",
    nuclei="nuclei",
    settings=["genes"],
)
def nuclei_markers(inputs: Inputs, settings: Settings) -> Drawing:
    """Read expression and nuclei of all sections and draw some genes."""
    found = correlations(read_nuclei(inputs))
    pairs = require_rows(found, "no section has enough spots with nuclei.")
    table = require_rows(tidy_markers(pairs, settings.genes), "no gene varies.")
    return plot_markers(table, settings), table, caption(table, settings)
