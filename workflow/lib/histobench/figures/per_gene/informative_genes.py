"""Genes that tell tumour from normal, in the measurement and in predictions (Chen et al. 2024, Venn sets).

Inputs: ``genes`` (informative_genes.tsv: importance of genes to a random forest, and the sets).
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import method_rows, require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, new_figure
from histobench.figures.drawing.text import count, prose, scores_note
from histobench.figures.drawing.venn import TRUTH, venn
from histobench.files import read_table

COLUMNS = ["source", "rank", "gene", "importance", "n_patients"]


def tidy_informative(genes: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return source, rank, gene, importance, n_patients: sets of the measurement and of trained methods."""
    if genes.empty:
        return pd.DataFrame(columns=COLUMNS)
    methods = settings.competitors(map(str, genes["method"]))
    sources = [(TRUTH, methods[0], "truth"), *((method, method, "prediction") for method in methods)]
    blocks = []
    for source, method, side in sources:
        own = genes[(genes["method"] == method) & (genes[f"in_{side}"] == 1)]
        names = {f"rank_{side}": "rank", f"importance_{side}": "importance"}
        blocks.append(own.rename(columns=names).assign(source=source)[COLUMNS].sort_values("rank"))
    return pd.concat(blocks, ignore_index=True)


def plot_informative(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a Venn diagram of the measurement and two methods, and the overlap of every method with it."""
    sets = {str(source): set(own["gene"]) for source, own in table.groupby("source", sort=False)}
    methods = settings.order([source for source in sets if source != TRUTH])
    deep_first = sorted(methods, key=lambda m: -len(sets[m] & sets.get(TRUTH, set())))
    shown = [TRUTH, *deep_first[:2]]
    figure = new_figure(DOUBLE, 2.8)
    left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
    venn(left, [(name, sets.get(name, set())) for name in shown], settings)
    shares = [100 * len(sets[m] & sets[TRUTH]) / max(1, len(sets[TRUTH])) for m in methods]
    colours = [settings.look(method).colour for method in methods]
    right.barh(range(len(methods)), shares, color=colours, height=0.7)
    for row, (method, share) in enumerate(zip(methods, shares, strict=True)):
        text = f"{len(sets[method] & sets[TRUTH])} of {len(sets[TRUTH])}"
        right.annotate(
            text, (share, row), xytext=(3, 0), textcoords="offset points", va="center", fontsize=6.5
        )
    method_rows(right, methods, settings)
    right.set_xlim(0, 125)
    right.set_xticks([0, 25, 50, 75, 100])
    right.set_xlabel("% of the measurement's informative genes")
    right.grid(axis="x")
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what makes a gene informative."""
    number = int(table[table["source"] == TRUTH]["rank"].max())
    return prose(f"""
        The {count(number, "gene")} that a random forest uses most to tell a section's tumour spots from
        its normal spots, on the measurement and on the predictions of trained methods (mean decrease of
        impurity, averaged over sections and patients with both, n =
        {count(int(table["n_patients"].max()), "patient")}): Venn diagram of the measurement and the two
        methods that share most with it, and the overlap of each method. Correlated genes stand in for
        each other in a forest, so small overlaps are expected even between good methods. Descriptive; no
        test.{scores_note(settings)}
    """)


@figure(
    "Genes that tell tumour from normal",
    "tumour",
    inputs={"genes": "{experiment}/tables/informative_genes.tsv"},
    when=["tumour_labels"],
)
def informative_genes(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the importances and draw the sets."""
    table = tidy_informative(read_table(inputs["genes"]), settings)
    table = require_rows(table, "no section has tumour and normal spots.")
    return plot_informative(table, settings), table, caption(table, settings)
