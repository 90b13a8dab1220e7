"""Correlations of all genes in every section, for every trained method (Jia et al. 2023, THItoGene, Fig. 2).

Inputs: ``metrics`` (metric folders of the trained methods that predict expression).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from histobench.figures.parts import require_rows
from histobench.figures.sources import read_metrics
from histobench.figures.style import (
    DOUBLE,
    REFERENCE_COLOUR,
    method_order,
    method_style,
    method_title,
    new_figure,
    styled,
)
from histobench.figures.text import count, scores_note

if TYPE_CHECKING:
    import pandas as pd

FIGURE = {
    "title": "Correlations in every section",
    "group": "scores",
    "inputs": {"metrics": "results/{experiment}/metrics/{trained}"},
}
QUANTILES = {"low": 0.05, "first": 0.25, "median": 0.5, "third": 0.75, "high": 0.95}


def tidy_boxes(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return method, patient, section, n_genes and quantiles of r over genes (5, 25, 50, 75, 95 %), mean.

    ``metrics`` has Pearson r per gene and section; pooled sections ("*") are left out.
    """
    own = metrics[(metrics["metric"] == "pearson") & (metrics["section"] != "*") & metrics["value"].notna()]
    groups = own.groupby(["method", "patient", "section"], sort=True)["value"]
    table = groups.agg(n_genes="size", mean="mean").reset_index()
    for name, q in QUANTILES.items():
        table[name] = groups.quantile(q).to_numpy()
    return table


@styled
def plot_boxes(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> Figure:
    """Draw one panel per method, a box per section; sections are in the same place in all panels."""
    settings = settings or {}
    methods = method_order(table["method"], settings)
    sections = list(dict.fromkeys(table.sort_values(["patient", "section"])["section"]))
    figure = new_figure(DOUBLE, 0.55 + (0.95 if len(methods) <= 6 else 0.7) * len(methods))
    panels = figure.subplots(len(methods), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, method in zip(panels, methods, strict=True):
        own, style = table[table["method"] == method], method_style(method, settings)
        boxes: list[Any] = [
            {"med": e.median, "q1": e.first, "q3": e.third, "whislo": e.low, "whishi": e.high, "mean": e.mean,
             "fliers": []}
            for e in own.itertuples()
        ]  # fmt: skip
        line = {"color": style.colour, "lw": 1.0}
        axes.bxp(
            boxes, positions=[sections.index(name) for name in own["section"]], widths=0.62, showfliers=False,
            showmeans=True, patch_artist=True, manage_ticks=False, whiskerprops=line, capprops={"lw": 0},
            boxprops={"facecolor": style.colour, "alpha": 0.45, "edgecolor": style.colour},
            medianprops={"color": "#222222", "lw": 1.1},
            meanprops={"marker": "D", "ms": 2.6, "mfc": "white", "mec": "#222222", "mew": 0.7},
        )  # fmt: skip
        axes.axhline(0, color=REFERENCE_COLOUR, lw=0.7, zorder=0)
        axes.set_title(method_title(method, settings), color=style.colour, loc="left", pad=2)
        axes.grid(axis="y")
    panels[-1].set_xticks(range(len(sections)), sections, rotation=90 if len(sections) > 16 else 0)
    panels[-1].set_xlim(-0.6, len(sections) - 0.4)
    panels[-1].set_xlabel("section")
    figure.supylabel("Pearson r of a gene over the spots", fontsize=8)
    return figure


def caption(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> str:
    """Say what a box is."""
    sections, genes = table["section"].nunique(), int(table["n_genes"].max())
    return (
        f"Pearson r per gene in each held-out section (n = {count(sections, 'section')} of "
        f"{count(table['patient'].nunique(), 'patient')}, up to {count(genes, 'gene')}): box, middle half of "
        "the genes; line, median; diamond, mean; whiskers, 5th to 95th percentile. Sections of a patient "
        "are serial cuts and genes are correlated, so neither is a replicate; comparisons rest on patients. "
        "Descriptive; no test." + scores_note(settings)
    )


def draw(inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """Read the metric files and draw the boxes."""
    table = require_rows(tidy_boxes(read_metrics(inputs["metrics"], ["pearson"])), "no gene could be scored.")
    return plot_boxes(table, settings), table
