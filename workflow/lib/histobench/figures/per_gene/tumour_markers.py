"""The genes that differ most between tumour and normal, with their r (Chen et al. 2024, Supp. Table S1).

Inputs: ``tumour_genes`` (tumour_genes.tsv: differences measured and predicted), ``genes`` (genes.tsv: r).
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import method_rows, require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose, scores_note, signed, transform_text
from histobench.files import read_table

NUMBER = 5
COLUMNS = ["method", "gene", "rank", "measured", "predicted", "q_measured", "r", "median_r", "n_patients"]


def tidy_markers(tumour: pd.DataFrame, genes: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return :data:`COLUMNS` of the trained methods for the five genes with the largest measured difference.

    ``r`` is the mean over patients of r per section, ``median_r`` the median over patients of pooled
    sections.
    """
    names = {"difference_truth": "measured", "difference_prediction": "predicted", "q_truth": "q_measured"}
    own = tumour.rename(columns=names).dropna(subset=["measured"])
    own = own[own["method"].isin(settings.competitors(own["method"]))]
    if own.empty:
        return pd.DataFrame(columns=COLUMNS)
    first = own[own["method"] == own["method"].iloc[0]]
    order = first["measured"].abs().sort_values(ascending=False, kind="stable").index[:NUMBER]
    ranks = {gene: place for place, gene in enumerate(first.loc[order, "gene"], start=1)}
    scores = genes[["method", "gene", "mean_pearson", "median_pearson"]].rename(
        columns={"mean_pearson": "r", "median_pearson": "median_r"}
    )
    table = own[own["gene"].isin(ranks)].merge(scores, on=["method", "gene"], how="left")
    table["rank"] = table["gene"].map(ranks)
    return table.sort_values(["method", "rank"], kind="stable")[COLUMNS].reset_index(drop=True)


def plot_markers(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a panel per gene: the measured difference as a line, each method's dot with its r beside it."""
    methods = settings.order(table["method"])
    ranked = table.drop_duplicates("gene").sort_values("rank")
    figure = new_figure(DOUBLE, 1.0 + 0.2 * len(methods))
    panels = figure.subplots(1, len(ranked), sharey=True, squeeze=False)[0]
    for axes, gene, measured in zip(panels, ranked["gene"], ranked["measured"], strict=True):
        own = table[table["gene"] == gene].set_index("method").reindex(methods)
        low = min(0.0, measured, float(own["predicted"].min()))
        high = max(0.0, measured, float(own["predicted"].max()))
        margin = 0.1 * ((high - low) or 1.0)
        axes.set_xlim(low - margin, high + 5 * margin)
        axes.axvline(0, color="#bbbbbb", lw=0.7)
        axes.axvline(measured, color=REFERENCE_COLOUR, lw=1.0, ls=(0, (4, 2)))
        for row, method in enumerate(methods):
            style, value, r = settings.look(method), own.loc[method, "predicted"], own.loc[method, "r"]
            if value == value:
                axes.plot(value, row, style.marker, ms=4, color=style.colour, mfc=style.face)
            text = signed(float(r)) if r == r else "–"
            axes.annotate(text, (1.0, row), xycoords=("axes fraction", "data"), ha="right", va="center",
                          fontsize=6)  # fmt: skip
        axes.annotate("r", (1.0, -0.9), xycoords=("axes fraction", "data"), ha="right", fontsize=6.5,
                      weight="bold", annotation_clip=False)  # fmt: skip
        axes.set_title(gene, style="italic", pad=9)
        axes.grid(axis="x")
    method_rows(panels[0], methods, settings)
    scale = transform_text(settings) or "target scale"
    figure.supxlabel(f"tumour − normal, {scale}; dashed: measured", fontsize=8)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say how genes were chosen and what r is."""
    first = table.drop_duplicates("gene")
    q = [f"{gene} {value:.2g}" for gene, value in zip(first["gene"], first["q_measured"], strict=True)]
    return prose(f"""
        The {count(len(first), "gene")} with the largest measured difference between tumour and normal spots
        (dashed; mean over n = {count(int(table["n_patients"].max()), "patient")} with both kinds), the
        difference that each trained method predicts, and beside it the gene's r over all spots of a section,
        averaged over sections, then patients. q of the measured differences (t-test over patients, two-sided,
        Benjamini-Hochberg): {", ".join(q)}.{scores_note(settings)}
    """)


@figure(
    "Genes of tumour against normal, with r",
    "tumour",
    tables=["tumour_genes", "genes"],
    when=["tumour_labels", "paper"],
)
def tumour_markers(inputs: Inputs, settings: Settings) -> Drawing:
    """Read differences and correlations and draw the leading genes."""
    table = tidy_markers(read_table(inputs["tumour_genes"]), read_table(inputs["genes"]), settings)
    table = require_rows(table, "no section has tumour and normal spots.")
    return plot_markers(table, settings), table, caption(table, settings)
