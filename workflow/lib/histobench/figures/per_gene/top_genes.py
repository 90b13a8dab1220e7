"""The best predicted genes of the best method (He et al. 2020, Table 1).

Inputs: ``genes`` (genes.tsv).
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import beside, best_method, require_rows, row_bands
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose, scores_note, signed
from histobench.files import read_table

NUMBER = 12
COLUMNS = [
    "method",
    "rank",
    "gene",
    "median_pearson",
    "pearson_smoothed",
    "auroc_quartiles",
    "ceiling",
    "n_positive",
    "n_patients",
    "p_holm",
    "q_bh",
]


def tidy_top(genes: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return the genes with the highest median r of the best trained method, best first."""
    known = genes[genes["median_pearson"].notna()]
    if known.empty:
        return genes.head(0).reindex(columns=COLUMNS)
    own = known[known["method"] == best_method(known, "median_pearson", settings)]
    order = own.sort_values(["median_pearson", "gene"], ascending=[False, True], kind="stable").head(NUMBER)
    return order.assign(rank=range(1, len(order) + 1)).reindex(columns=COLUMNS).reset_index(drop=True)


def plot_top(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw r, smoothed r and ceiling per gene, and print what the paper's table prints."""
    style = settings.look(table["method"].iloc[0])
    figure = new_figure(DOUBLE, 0.95 + 0.21 * len(table))
    axes = figure.subplots()
    rows = range(len(table))
    axes.plot(table["ceiling"], rows, "|", color=REFERENCE_COLOUR, ms=9, mew=1.4, label="noise ceiling")
    axes.plot(table["pearson_smoothed"], rows, "D", color=style.colour, mfc="white", ms=4.5, mew=1.1,
              label="mean r with the smoothed measurement")  # fmt: skip
    axes.plot(
        table["median_pearson"],
        rows,
        style.marker,
        color=style.colour,
        ms=5.5,
        label="median r over patients",
    )
    axes.set_yticks(rows, table["gene"], style="italic")
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(min(0.0, float(table[["median_pearson", "pearson_smoothed"]].min().min())) - 0.02, None)
    axes.set_xlabel(f"Pearson r, {settings.title(table['method'].iloc[0])}")
    axes.grid(axis="x")
    row_bands(axes, len(table))
    heads = ("r", "smoothed", "AUROC", "patients", "Holm p", "BH q")
    entry: Any
    for place, head in enumerate(heads):
        beside(axes, -0.9, head, 22 + 39 * place, ha="center", weight="bold")
    for row, entry in enumerate(table.itertuples()):
        cells = (
            signed(entry.median_pearson), signed(entry.pearson_smoothed), f"{entry.auroc_quartiles:.2f}",
            f"{entry.n_positive} of {entry.n_patients}", f"{entry.p_holm:.2g}", f"{entry.q_bh:.2g}",
        )  # fmt: skip
        for place, text in enumerate(cells):
            beside(axes, row, text, 22 + 39 * place, ha="center")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say whose genes these are, how they were chosen and tested."""
    method = settings.title(table["method"].iloc[0])
    return prose(f"""
        The {count(len(table), "gene")} with the highest median r of {method}, the best trained method
        (as Table 1 of He et al. 2020): median over patients of r with the sections of a patient pooled;
        mean over sections and patients of r with the measured counts averaged over a spot and its
        neighbours, which is no change of the median beside it; mean AUROC of the top
        against the bottom quarter of spots; patients with r > 0 (n =
        {count(int(table["n_patients"].max()), "patient")}), one-sided binomial test over them with Holm
        (family-wise) and Benjamini-Hochberg correction over all genes. Chosen because they are the
        highest, so their values are optimistic.{scores_note(settings)}
    """)


@figure("Best predicted genes", "genes", tables=["genes"])
def top_genes(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the genes and draw the best."""
    table = require_rows(tidy_top(read_table(inputs["genes"]), settings), "no gene could be scored.")
    return plot_top(table, settings), table, caption(table, settings)
