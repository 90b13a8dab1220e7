"""Positive and consistent genes of every method (number of positive genes of HE2Gene and BrST-Net).

Inputs: ``leaderboard`` (leaderboard.tsv: n_genes, n_positive, n_consistent_bh, n_consistent_holm).
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import DARK, LIGHT, MIDDLE, beside, method_rows, require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose, scores_note
from histobench.files import read_table

KINDS = (
    ("n_positive", "mean r above 0", LIGHT, 0.78),
    ("n_consistent_bh", "consistent over patients, Benjamini-Hochberg 5 %", MIDDLE, 0.56),
    ("n_consistent_holm", "consistent over patients, Holm 5 %", DARK, 0.3),
)


def tidy_positive(leaderboard: pd.DataFrame) -> pd.DataFrame:
    """Return method, n_genes and the counts, methods with the most positive genes first."""
    table = leaderboard[leaderboard["n_genes"] > 0]
    table = table.sort_values(["n_positive", "method"], ascending=[False, True], kind="stable")
    return table[["method", "n_genes", *(name for name, *_ in KINDS)]].reset_index(drop=True)


def plot_positive(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw nested bars with their counts, and where half of the genes lies."""
    figure = new_figure(DOUBLE, 0.95 + 0.23 * len(table))
    axes = figure.subplots()
    for name, label, colour, height in KINDS:
        axes.barh(range(len(table)), table[name], color=colour, height=height, label=label)
    genes = float(table["n_genes"].max())
    axes.axvline(genes / 2, color=REFERENCE_COLOUR, lw=0.8, ls=(0, (4, 2)), label="half of the genes")
    entry: Any
    for row, entry in enumerate(table.itertuples()):
        text = f"{entry.n_positive} / {entry.n_consistent_bh} / {entry.n_consistent_holm}"
        beside(axes, row, text)
    method_rows(axes, list(table["method"]), settings)
    axes.set_xlim(0, genes)
    axes.set_xlabel(f"genes, of {genes:.0f}")
    axes.grid(axis="x")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what is counted and by which tests."""
    genes, patients = int(table["n_genes"].max()), settings.n_patients
    sample = count(genes, "gene") + (f", {count(int(patients), 'patient')}" if patients else "")
    return prose(f"""
        Genes with a positive mean correlation, and genes that are consistent over patients (n =
        {sample}): one-sided binomial test of the number of patients with r > 0, corrected over genes by
        Benjamini-Hochberg or by Holm. Printed: positive / Benjamini-Hochberg / Holm. A method that knows
        nothing has half of its genes positive; whether the tests can reject at all with so many patients
        is in the table of power.{scores_note(settings)}
    """)


@figure("Positive and consistent genes", "genes", tables=["leaderboard"])
def positive_genes(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the leader board and draw its counts."""
    table = require_rows(tidy_positive(read_table(inputs["leaderboard"])), "no gene could be scored.")
    return plot_positive(table, settings), table, caption(table, settings)
