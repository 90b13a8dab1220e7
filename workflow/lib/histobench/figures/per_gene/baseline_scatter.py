"""The best deep network against the baselines of its first paper, gene by gene (He et al. 2020, Fig. 2c-e).

Inputs: ``genes`` (genes.tsv: method, gene, median_pearson).
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import best_method, require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose, scores_note
from histobench.files import read_table

COLUMNS = ["method", "baseline", "gene", "median_method", "median_baseline"]


def tidy_baselines(genes: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return method, baseline, gene, median_method, median_baseline for the best deep network."""
    others = genes[~genes["method"].isin(settings.baselines)]
    baselines = [name for name in settings.baselines if name in set(genes["method"])]
    if others.empty or not baselines:
        return pd.DataFrame(columns=COLUMNS)
    method = best_method(others, "median_pearson", settings, families=("deep",))
    wide = genes.pivot_table(index="gene", columns="method", values="median_pearson", aggfunc="first")
    blocks = []
    for baseline in baselines:
        if baseline not in wide:
            continue
        pair = wide[[method, baseline]].dropna().set_axis(["median_method", "median_baseline"], axis=1)
        blocks.append(pair.reset_index().assign(method=method, baseline=baseline)[COLUMNS])
    return pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame(columns=COLUMNS)


def plot_baselines(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw one square panel per baseline, with the identity and the genes on either side."""
    method = table["method"].iloc[0]
    baselines = settings.order(table["baseline"])
    figure = new_figure(max(DOUBLE * len(baselines) / 3, 3.2), 2.75)
    panels = figure.subplots(1, len(baselines), sharey=True, squeeze=False)[0]
    values = table[["median_method", "median_baseline"]]
    low, high = float(values.min().min()), float(values.max().max())
    margin = 0.05 * ((high - low) or 1.0)
    limits = (low - margin, high + margin)
    for axes, baseline in zip(panels, baselines, strict=True):
        own = table[table["baseline"] == baseline]
        axes.plot(limits, limits, color=REFERENCE_COLOUR, lw=0.8, ls=(0, (4, 2)), zorder=1)
        for line in (axes.axhline, axes.axvline):
            line(0, color="#bbbbbb", lw=0.7, zorder=0)
        colour = settings.look(method).colour
        axes.plot(own["median_baseline"], own["median_method"], "o", ms=3.4, mfc=colour, mec="white", mew=0.3,
                  alpha=0.8)  # fmt: skip
        above = int((own["median_method"] > own["median_baseline"]).sum())
        axes.text(
            0.03, 0.97, f"higher: {above} of {len(own)}", transform=axes.transAxes, va="top", weight="bold"
        )
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        axes.set_xlabel(f"median r, {settings.title(baseline)}")
    panels[0].set_ylabel(f"median r, {settings.title(method)}")
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what the axes are and how many genes lie above the identity."""
    method = settings.title(table["method"].iloc[0])
    parts = []
    for baseline in settings.order(table["baseline"]):
        own = table[table["baseline"] == baseline]
        above = int((own["median_method"] > own["median_baseline"]).sum())
        parts.append(f"{above} of {len(own)} genes against {settings.title(baseline)}")
    return prose(f"""
        Median over patients of Pearson r per gene, sections of a patient pooled: {method}, the best deep
        network, against the baselines of He et al. 2020 (n = {count(table["gene"].nunique(), "gene")});
        the dashed line is equality. Higher: {", ".join(parts)}. The label baseline knows the
        {settings.labels} label of the test spot. Genes are correlated, so the counts are no
        test.{scores_note(settings)}
    """)


@figure(
    "Median r against tumour label, nuclei and composition",
    "comparisons",
    tables=["genes"],
    when=["baseline", "deep"],
    settings=["baselines"],
)
def baseline_scatter(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the genes and draw them."""
    table = tidy_baselines(read_table(inputs["genes"]), settings)
    table = require_rows(table, "no gene was scored with a deep network and a baseline.")
    return plot_baselines(table, settings), table, caption(table, settings)
