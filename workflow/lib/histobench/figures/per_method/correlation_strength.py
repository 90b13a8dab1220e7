"""Genes by strength of correlation, for every method (Rahaman et al. 2023, BrST-Net).

Inputs: ``genes`` (genes.tsv: method, gene, mean_pearson).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import method_rows, require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, new_figure
from histobench.figures.drawing.text import count, prose, scores_note
from histobench.files import read_table

# Lower edges with the names of the classes; the paper's classes, and one for what is not positive.
CLASSES = (
    (float("-inf"), "r ≤ 0", "#c9c9c9"),
    (0.0, "0 to 0.1", "#cfe1f2"),
    (0.1, "0.1 to 0.3", "#7fb3d8"),
    (0.3, "0.3 to 0.5", "#2f7ab8"),
    (0.5, "above 0.5", "#0b3c68"),
)


def tidy_strength(genes: pd.DataFrame) -> pd.DataFrame:
    """Return method, strength, n_genes; a gene belongs to a class if its mean r is above the lower edge."""
    rows = []
    for method, own in genes.groupby("method", sort=False):
        values = own["mean_pearson"].dropna().to_numpy(float)
        edges = np.array([edge for edge, _, _ in CLASSES[1:]])
        places = (values[:, None] > edges).sum(axis=1)
        sizes = np.bincount(places, minlength=len(CLASSES))
        rows += [(method, name, int(size)) for (_, name, _), size in zip(CLASSES, sizes, strict=True)]
    return pd.DataFrame(rows, columns=["method", "strength", "n_genes"])


def plot_strength(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw stacked bars, methods with the most strongly correlated genes first."""
    wide = table.pivot(index="method", columns="strength", values="n_genes")
    wide = wide[[name for _, name, _ in CLASSES]].fillna(0)
    positive = wide[wide.columns[1:]].sum(axis=1)
    wide = wide.loc[positive.sort_values(ascending=False, kind="stable").index]
    figure = new_figure(DOUBLE, 0.95 + 0.22 * len(wide))
    axes = figure.subplots()
    left = [0.0] * len(wide)
    # Positive classes from the left, strongest first, so that bars of positive genes start at one line.
    for _, name, colour in reversed(CLASSES):
        sizes = wide[name].tolist()
        axes.barh(
            range(len(wide)),
            sizes,
            left=left,
            color=colour,
            height=0.78,
            label=name,
            edgecolor="white",
            lw=0.5,
        )
        for row, (start, size) in enumerate(zip(left, sizes, strict=True)):
            if size >= 0.035 * wide.sum(axis=1).max():
                dark = name in ("0.3 to 0.5", "above 0.5")
                axes.text(start + size / 2, row, f"{size:.0f}", ha="center", va="center", fontsize=6.5,
                          color="white" if dark else "#222222")  # fmt: skip
        left = [start + size for start, size in zip(left, sizes, strict=True)]
    method_rows(axes, list(wide.index), settings)
    axes.set_xlim(0, float(wide.sum(axis=1).max()))
    axes.set_xlabel("genes")
    figure.legend(loc="outside lower center", ncols=len(CLASSES), title="mean r of a gene")
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what is counted."""
    genes = int(table.groupby("method")["n_genes"].sum().max())
    return prose(f"""
        Genes by their mean correlation over sections and patients, in the classes of the BrST-Net paper
        (n = {count(genes, "gene")}); methods by their number of positive genes. That paper counts genes
        of a single test patient, here every patient is tested and averaged, so its 237 positive genes
        are not comparable. Half of the genes of a method that knows nothing are positive. Descriptive;
        no test.{scores_note(settings)}
    """)


@figure("Genes by strength of correlation", "genes", tables=["genes"])
def correlation_strength(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the genes and draw the classes."""
    table = require_rows(tidy_strength(read_table(inputs["genes"])), "no gene could be scored.")
    return plot_strength(table, settings), table, caption(table, settings)
