"""Score of every gene against the best that sampling noise allows.

Inputs: ``genes`` (genes.tsv: method, gene, mean_pearson, ceiling).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from histobench.figures.parts import competitors, require_rows
from histobench.figures.style import (
    DOUBLE,
    REFERENCE_COLOUR,
    method_order,
    method_style,
    new_figure,
    panel_title,
    styled,
)
from histobench.figures.text import count, scores_note
from histobench.files import read_table

if TYPE_CHECKING:
    import pandas as pd

FIGURE = {
    "title": "Genes against their noise ceiling",
    "group": "genes",
    "inputs": {"genes": "results/{experiment}/tables/genes.tsv"},
}
MOST = 5


def tidy_ceiling(genes: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Return method, gene, ceiling, pearson, fraction (means of the method) for the best trained methods."""
    known = genes[genes["mean_pearson"].notna() & genes["ceiling"].notna()]
    known = known[known["method"].isin(competitors(known["method"], settings or {}))]
    means = known.groupby("method")[["mean_pearson", "ceiling"]].mean()
    best = means["mean_pearson"].sort_values(ascending=False, kind="stable").index[:MOST]
    table = known.loc[known["method"].isin(best), ["method", "gene", "ceiling", "mean_pearson"]]
    table = table.rename(columns={"mean_pearson": "pearson"})
    return table.assign(fraction=table["method"].map(means["mean_pearson"] / means["ceiling"])).reset_index(
        drop=True
    )


@styled
def plot_ceiling(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> Figure:
    """Draw a panel per method: r of a gene against its ceiling; the line is a perfect prediction."""
    settings = settings or {}
    methods = method_order(table["method"], settings)
    figure = new_figure(max(3.0, DOUBLE * len(methods) / 5), 2.2)
    panels = figure.subplots(1, len(methods), sharex=True, sharey=True, squeeze=False)[0]
    for axes, method in zip(panels, methods, strict=True):
        own, style = table[table["method"] == method], method_style(method, settings)
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


def caption(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> str:
    """Say what the ceiling is."""
    return (
        f"Mean r per gene (n = {count(table['gene'].nunique(), 'gene')}) of the best trained methods against "
        "the gene's noise ceiling: the correlation that sampling noise of the counts leaves attainable, "
        "from binomial thinning with Spearman-Brown correction. Dashed: as good as the noise allows. "
        "Percentages are mean r over mean ceiling. Descriptive; no test." + scores_note(settings)
    )


def draw(inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """Read the genes and draw the best methods."""
    table = tidy_ceiling(read_table(inputs["genes"]), settings)
    return plot_ceiling(require_rows(table, "no gene has a noise ceiling."), settings), table
