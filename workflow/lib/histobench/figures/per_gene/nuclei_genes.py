"""Genes against features of nuclei, as a cluster map (He et al. 2020, ST-Net, Supp. Tables 2 and 3).

Inputs: ``predictions`` (of the leading method, all folds, for what was measured), ``nuclei`` (of all
sections). Settings: ``genes``.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from scipy import stats

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.nuclei import FEATURES, correlations, read_nuclei
from histobench.figures.drawing.parts import require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DIVERGING, DOUBLE
from histobench.figures.drawing.text import count, prose, transform_text

SHOWN = 40
LEVEL = 0.05
COLUMNS = ["gene", "feature", "r", "n_patients", "p", "q_bh", "rank", "shown"]


def tidy_nuclei(found: pd.DataFrame, wanted: Sequence[str]) -> pd.DataFrame:
    """Return :data:`COLUMNS`: r of every gene with every feature, sections then patients averaged.

    ``p`` is that of a two-sided t-test over patients that r is 0, ``q_bh`` after Benjamini-Hochberg over all
    pairs. ``rank`` orders genes by their largest absolute r; the wanted ones and the first are ``shown``.

    Parameters
    ----------
    found
        As :func:`histobench.figures.drawing.nuclei.correlations` returns it.
    """
    patients = found.groupby(["gene", "feature", "patient"])["r"].mean().dropna()
    groups = patients.groupby(["gene", "feature"])
    table = groups.agg(r="mean", n_patients="count", sd="std").reset_index()
    several = (table["n_patients"] > 1) & (table["sd"] > 0)
    known = table[several]
    t = known["r"].abs() * known["n_patients"] ** 0.5 / known["sd"]
    table["p"] = pd.Series(2 * stats.t.sf(t, known["n_patients"] - 1), index=known.index)
    tested = table["p"].notna()
    table["q_bh"] = pd.Series(dtype=float)
    if tested.any():
        adjusted = stats.false_discovery_control(table.loc[tested, "p"])
        table["q_bh"] = pd.Series(adjusted, index=table.index[tested])
    largest = (
        table.groupby("gene")["r"].agg(lambda r: r.abs().max()).sort_values(ascending=False, kind="stable")
    )
    rank = {gene: place for place, gene in enumerate(largest.index, start=1)}
    asked = [gene for gene in wanted if gene in rank]
    shown = list(dict.fromkeys([*asked, *largest.index]))[:SHOWN]
    table = table.assign(rank=table["gene"].map(rank), shown=table["gene"].isin(shown))
    return table.sort_values(["rank", "feature"], kind="stable")[COLUMNS].reset_index(drop=True)


def plot_nuclei(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw the shown genes and all features, both ordered by clustering."""
    own = table[table["shown"]]
    values = own.pivot(index="gene", columns="feature", values="r")
    values = values.dropna(axis=1, how="all").fillna(0.0)
    stars = own.assign(star=(own["q_bh"] <= LEVEL).map({True: "·", False: ""}))
    stars = stars.pivot(index="gene", columns="feature", values="star").loc[values.index, values.columns]
    limit = max(0.05, float(values.abs().to_numpy().max()))
    several = min(values.shape) > 1
    grid = sns.clustermap(
        values.rename(columns=FEATURES), row_cluster=several and len(values) > 1,
        col_cluster=several and values.shape[1] > 1, cmap=DIVERGING, vmin=-limit, vmax=limit,
        annot=stars.to_numpy(), fmt="", annot_kws={"fontsize": 7}, figsize=(DOUBLE, 1.9 + 0.17 * len(values)),
        dendrogram_ratio=(0.1, 0.08), cbar_pos=(0.015, 0.88, 0.025, 0.085), xticklabels=True,
        yticklabels=True,
    )  # fmt: skip
    plt.close(grid.figure)  # pyplot, which seaborn draws in, would keep it
    axes = grid.ax_heatmap
    axes.set(xlabel="", ylabel="")
    axes.set_yticklabels(axes.get_yticklabels(), style="italic", fontsize=6.5, rotation=0)
    axes.set_xticklabels(axes.get_xticklabels(), fontsize=7, rotation=45, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0)
    grid.ax_cbar.tick_params(labelsize=6, length=2)
    grid.ax_cbar.set_title("r", fontsize=7)
    drawn: Figure = grid.figure
    return drawn


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what is correlated, tested and shown."""
    found, every = int((table["q_bh"] <= LEVEL).sum()), len(table)
    asked = [gene for gene in settings.genes if gene in set(table["gene"])]
    first = f"the configured genes ({', '.join(asked)}) and those" if asked else "those"
    return prose(f"""
        Pearson r of measured expression ({transform_text(settings) or "scale of the targets"}) with features
        of the nuclei in the patch of a spot, over the spots of a section, averaged over sections, then
        patients (n = {count(int(table["n_patients"].max()), "patient")}), for
        {count(int(table.loc[table["shown"], "gene"].nunique()), "gene")} of {table["gene"].nunique()}:
        {first} with the largest absolute r. Rows and columns are ordered by hierarchical clustering. Dots:
        two-sided t-test over patients, Benjamini-Hochberg 5 % over all pairs ({found} of {every:,} pairs).
        The table behind the figure has every gene. Features of one nucleus are correlated with each other.
    """)


@figure(
    "Genes against features of nuclei", "genes", predictions="leader", nuclei="nuclei", settings=["genes"]
)
def nuclei_genes(inputs: Inputs, settings: Settings) -> Drawing:
    """Read expression and nuclei of all sections and draw their correlations."""
    found = correlations(read_nuclei(inputs))
    pairs = require_rows(found, "no section has enough spots with nuclei.")
    table = require_rows(tidy_nuclei(pairs, settings.genes), "no gene varies.")
    return plot_nuclei(table, settings), table, caption(table, settings)
