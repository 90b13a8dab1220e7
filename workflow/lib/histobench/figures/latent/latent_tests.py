"""What the latent space of a network knows (He et al. 2020): purity of clusters, and the neighbour test.

Inputs: ``metrics`` (metric folders of the methods whose latent space is shown).
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import read_metrics
from histobench.figures.drawing.style import DOUBLE, QUIET_COLOUR, REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import count, scores_note

PURITY = ("purity_embedding", "purity_majority")
NEIGHBOURS = ("neighbour_nearest", "neighbour_farthest")
COLUMNS = ["method", "analysis", "patient", "gene", "value", "reference"]


def tidy_latent(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return method, analysis, patient, gene, value, reference.

    Rows of analysis "purity" are patients: purity of two clusters of the embedding, and that of one single
    cluster. Rows of "neighbours" are genes: r with the nearest and with the farthest neighbour in latent
    space, averaged over sections and patients.
    """
    pooled = metrics[(metrics["section"] == "*") & metrics["metric"].isin(PURITY)]
    purity = pooled.pivot_table(index=["method", "patient"], columns="metric", values="value")
    blocks = []
    if set(PURITY) <= set(purity.columns):
        own = purity.dropna().reset_index()
        blocks.append(own.assign(analysis="purity", gene="", value=own[PURITY[0]], reference=own[PURITY[1]]))
    genes = metrics[(metrics["section"] != "*") & metrics["metric"].isin(NEIGHBOURS)]
    keys = ["method", "patient", "gene"]
    wide = genes.groupby([*keys, "metric"])["value"].mean().unstack("metric")
    if set(NEIGHBOURS) <= set(wide.columns):
        means = wide.dropna().groupby(["method", "gene"]).mean().reset_index()
        blocks.append(means.assign(analysis="neighbours", patient="", value=means[NEIGHBOURS[0]],
                                   reference=means[NEIGHBOURS[1]]))  # fmt: skip
    return pd.concat(blocks, ignore_index=True)[COLUMNS] if blocks else pd.DataFrame(columns=COLUMNS)


def plot_latent(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a row per method: purity beside that of one cluster, nearest against farthest neighbours."""
    methods = settings.order(table["method"])
    parts = [name for name in ("purity", "neighbours") if name in set(table["analysis"])]
    figure = new_figure(DOUBLE if len(parts) == 2 else 3.6, 2.7 * len(methods))
    rows: Any = figure.subfigures(len(methods), 1, squeeze=False)[:, 0]
    draws = {"purity": _plot_purity, "neighbours": _plot_neighbours}
    for row, method in zip(rows, methods, strict=True):
        colour = settings.look(method).colour
        if len(methods) > 1:
            row.suptitle(settings.title(method), fontsize=8.5, color=colour)
        panels = row.subplots(1, len(parts), squeeze=False)[0]
        for axes, name in zip(panels, parts, strict=True):
            own = table[(table["method"] == method) & (table["analysis"] == name)]
            if own.empty:
                axes.axis("off")
            else:
                draws[name](axes, own, colour)
    return figure


def _plot_purity(axes: Any, own: pd.DataFrame, colour: str) -> None:
    rows = range(len(own))
    axes.bar(
        rows, own["value"], color=colour, alpha=0.55, width=0.72, label="two clusters of the latent space"
    )
    axes.plot(
        rows,
        own["reference"],
        "_",
        ms=13,
        mew=1.6,
        color=REFERENCE_COLOUR,
        label="one cluster (majority)",
    )
    axes.set_xticks(rows, own["patient"], rotation=90 if len(own) > 10 else 0)
    axes.set(ylim=(0, 1.0), xlabel="patient", ylabel="purity of tumour and normal")
    spread = f" (sd {own['value'].std():.2f})" if len(own) > 1 else ""
    axes.set_title(
        f"mean {own['value'].mean():.2f}{spread}, one cluster {own['reference'].mean():.2f}",
        loc="left",
        pad=18,
    )
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, fontsize=6, handlelength=1.2)
    axes.grid(axis="y")


def _plot_neighbours(axes: Any, own: pd.DataFrame, colour: str) -> None:
    values = own[["value", "reference"]]
    low, high = float(values.min().min()), float(values.max().max())
    margin = 0.05 * ((high - low) or 1)
    limits = (low - margin, high + margin)
    axes.plot(limits, limits, color=REFERENCE_COLOUR, lw=0.8, ls=(0, (4, 2)))
    axes.axhline(0, color=QUIET_COLOUR, lw=0.5)
    axes.axvline(0, color=QUIET_COLOUR, lw=0.5)
    axes.plot(own["reference"], own["value"], "o", ms=3.2, mfc=colour, mec="white", mew=0.3, alpha=0.8)
    above = int((own["value"] > own["reference"]).sum())
    axes.set_title(f"nearest better for {above} of {len(own)} genes", loc="left", pad=18)
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.set_xlabel("r with the farthest neighbour")
    axes.set_ylabel("r with the nearest neighbour")


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what was clustered, and what a neighbour is."""
    purity, genes = table[table["analysis"] == "purity"], table[table["analysis"] == "neighbours"]
    text = f"Latent space of {settings.listed(table['method'])} on held-out patients. "
    if len(purity):
        text += (
            "Purity: share of labelled spots with the majority label of their k-means cluster, k = 2, per "
            f"patient (n = {count(purity['patient'].nunique(), 'patient')}), "
            "beside what a single cluster would have. "
        )
    if len(genes):
        text += (
            "Neighbours: each spot's measured expression is predicted by that of the neighbour on the "
            "grid that is nearest, or farthest, in latent space; r per gene (n = "
            f"{count(genes['gene'].nunique(), 'gene')}), means over sections and patients; dashed: equality. "
        )
    return text + "Descriptive; no test." + scores_note(settings)


@figure("Purity and neighbours in latent space", "latent space", metrics="latent")
def latent_tests(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the metrics of the latent space and draw them."""
    table = tidy_latent(read_metrics(inputs["metrics"], [*PURITY, *NEIGHBOURS]))
    table = require_rows(table, "there are neither labelled spots nor enough spots with two neighbours.")
    return plot_latent(table, settings), table, caption(table, settings)
