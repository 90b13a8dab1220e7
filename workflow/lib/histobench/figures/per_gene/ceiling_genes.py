"""Score of every gene against the best that sampling noise allows.

Inputs: ``genes`` (genes.tsv: method, gene, mean_pearson, ceiling).
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, REFERENCE_COLOUR, new_figure, panel_title
from histobench.figures.drawing.text import count, prose, scores_note
from histobench.files import read_table

MOST = 5


def tidy_ceiling(genes: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return method, gene, ceiling, pearson, fraction (means of the method) for the best trained methods."""
    known = genes[genes["mean_pearson"].notna() & genes["ceiling"].notna()]
    known = known[known["method"].isin(settings.competitors(known["method"]))]
    means = known.groupby("method")[["mean_pearson", "ceiling"]].mean()
    best = means["mean_pearson"].sort_values(ascending=False, kind="stable").index[:MOST]
    table = known.loc[known["method"].isin(best), ["method", "gene", "ceiling", "mean_pearson"]]
    table = table.rename(columns={"mean_pearson": "pearson"})
    return table.assign(fraction=table["method"].map(means["mean_pearson"] / means["ceiling"])).reset_index(
        drop=True
    )


def plot_ceiling(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a panel per method: r of a gene against its ceiling; the line is a perfect prediction."""
    methods = settings.order(table["method"])
    figure = new_figure(max(3.0, DOUBLE * len(methods) / 5), 2.2)
    panels = figure.subplots(1, len(methods), sharex=True, sharey=True, squeeze=False)[0]
    for axes, method in zip(panels, methods, strict=True):
        own, style = table[table["method"] == method], settings.look(method)
        axes.plot([0, 1], [0, 1], color=REFERENCE_COLOUR, lw=0.8, ls=(0, (4, 2)))
        axes.axhline(0, color="#bbbbbb", lw=0.7)
        axes.plot(
            own["ceiling"], own["pearson"], "o", ms=2.8, mfc=style.colour, mec="white", mew=0.2, alpha=0.8
        )
        panel_title(axes, method, settings)
        axes.set_xlabel(f"{100 * own['fraction'].iloc[0]:.0f} % of the ceiling", fontsize=7)
    low = min(float(table["ceiling"].min()), 1.0) - 0.03
    panels[0].set_xlim(max(0.0, low), min(1.02, float(table["ceiling"].max()) + 0.03))
    panels[0].set_ylim(min(0.0, float(table["pearson"].min())) - 0.04, 1.02)
    panels[0].set_ylabel("mean r of a gene")
    figure.supxlabel("noise ceiling of the gene", fontsize=8)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what the ceiling is."""
    return prose(f"""
        Mean r per gene (n = {count(table["gene"].nunique(), "gene")}) of the best trained methods
        against the gene's noise ceiling: the correlation that sampling noise of the counts leaves
        attainable, from binomial thinning with Spearman-Brown correction. Dashed: as good as the noise
        allows. Percentages are mean r over mean ceiling. Descriptive; no test.{scores_note(settings)}
    """)


@figure("Genes against their noise ceiling", "genes", tables=["genes"])
def ceiling_genes(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the genes and draw the best methods."""
    table = tidy_ceiling(read_table(inputs["genes"]), settings)
    return (
        plot_ceiling(require_rows(table, "no gene has a noise ceiling."), settings),
        table,
        caption(table, settings),
    )
