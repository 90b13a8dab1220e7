"""Consistent genes on all, on tumour and on normal spots (He et al. 2020).

Inputs: ``summary`` (consistency_summary.tsv: method, spots, n_genes, n_positive_median, n_consistent_*).
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import DARK, LIGHT, MIDDLE, method_rows, require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, new_figure
from histobench.figures.drawing.text import count, prose, scores_note
from histobench.files import read_table

KINDS = (
    ("n_positive_median", "median r above 0", LIGHT, 0.78),
    ("n_consistent_bh", "consistent, Benjamini-Hochberg 5 %", MIDDLE, 0.56),
    ("n_consistent_holm", "consistent, Holm 5 %", DARK, 0.3),
)


def tidy_compartments(summary: pd.DataFrame) -> pd.DataFrame:
    """Return method, spots, n_genes, n_patients and the counts; nothing unless some spots have labels."""
    table = summary[["method", "spots", "n_genes", "n_patients", *(name for name, *_ in KINDS)]]
    table = table[table["n_patients"] > 0]
    return table.reset_index(drop=True) if table["spots"].nunique() > 1 else table.head(0)


def plot_compartments(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw nested bars per method, one panel per kind of spots."""
    methods, kinds = settings.order(table["method"]), list(dict.fromkeys(table["spots"]))
    figure = new_figure(DOUBLE, 1.0 + 0.22 * len(methods))
    panels = figure.subplots(1, len(kinds), sharex=True, sharey=True, squeeze=False)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        own = table[table["spots"] == kind].set_index("method").reindex(methods)
        for name, label, colour, height in KINDS:
            axes.barh(range(len(methods)), own[name].fillna(0), color=colour, height=height, label=label)
        patients = int(own["n_patients"].max())
        axes.set_title(f"{kind} spots, {count(patients, 'patient')}", loc="left", pad=3, fontsize=7.5)
        axes.set_xlabel("genes")
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
    method_rows(panels[0], methods, settings)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say how patients without such spots are counted."""
    parts = [
        f"{kind}: {count(int(own['n_patients'].max()), 'patient')}"
        for kind, own in table.groupby("spots", sort=False)
    ]
    return prose(f"""
        Genes with a positive median correlation, and genes consistent over patients, with correlations
        over all spots, over tumour spots or over normal spots (n = {", ".join(parts)}); one-sided
        binomial test with Benjamini-Hochberg or Holm correction over genes. A patient without spots of a
        kind is left out of its trials. Fewer spots alone make correlations
        noisier.{scores_note(settings)}
    """)


@figure(
    "Consistent genes on tumour and on normal spots",
    "tumour",
    inputs={"summary": "{experiment}/tables/consistency_summary.tsv"},
    when=["tumour_labels"],
)
def compartments(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the summary and draw its counts."""
    table = require_rows(tidy_compartments(read_table(inputs["summary"])), "no spot has a tumour label.")
    return plot_compartments(table, settings), table, caption(table, settings)
