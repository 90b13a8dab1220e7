"""Distribution of r over target and auxiliary genes (Chen et al. 2024, HE2Gene, Supp. Fig. S3).

Inputs: ``genes`` (every_gene.parquet: method, gene, kind, mean_pearson).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import beside, beside_head, method_rows, require_rows, row_bands
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, QUIET_COLOUR, REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose, scores_note, signed
from histobench.files import read_table

KINDS = ("target", "auxiliary")
WIDTH = 0.02  # of a bin
COLUMNS = ["method", "kind", "r_low", "r_high", "n_genes", "density", "n_scored", "mean"]


def tidy_auxiliary(genes: pd.DataFrame) -> pd.DataFrame:
    """Return :data:`COLUMNS`: genes by their mean r, in bins, of each method and kind of gene.

    Methods are ordered by the mean over auxiliary genes, the highest first.
    """
    known = genes[genes["mean_pearson"].notna()]
    edges = np.round(np.arange(-1, 1 + WIDTH / 2, WIDTH), 10)
    blocks = []
    for (method, kind), own in known.groupby(["method", "kind"], sort=False):
        r = own["mean_pearson"].to_numpy(float)
        number, _ = np.histogram(r, edges)
        filled = number > 0
        blocks.append(pd.DataFrame({
            "method": method, "kind": kind, "r_low": edges[:-1][filled], "r_high": edges[1:][filled],
            "n_genes": number[filled], "density": number[filled] / len(r) / WIDTH, "n_scored": len(r),
            "mean": r.mean(),
        }))  # fmt: skip
    if not blocks:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.concat(blocks, ignore_index=True)
    further = table[table["kind"] == KINDS[1]].groupby("method")["mean"].first()
    order = table["method"].map(further)
    return table.assign(order=-order).sort_values(["order", "method", "kind", "r_low"])[COLUMNS]


def plot_auxiliary(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw two histograms of one area per method, and the means beside them."""
    methods = list(dict.fromkeys(table["method"]))
    figure = new_figure(DOUBLE, 1.0 + 0.42 * len(methods))
    axes = figure.subplots()
    edges = np.round(np.arange(-1, 1 + WIDTH / 2, WIDTH), 10)
    highest = table["density"].max()
    for row, method in enumerate(methods):
        own = table[table["method"] == method]
        base = row + 0.42
        for kind, part in own.groupby("kind"):
            heights = np.zeros(len(edges) - 1)
            heights[np.searchsorted(edges, part["r_low"] - WIDTH / 4)] = part["density"]
            target = kind == KINDS[0]
            colour = settings.look(method).colour if target else QUIET_COLOUR
            steps = base - 0.84 * heights / highest
            axes.stairs(steps, edges, baseline=base, fill=True, color=colour, alpha=0.45 if target else 0.6)
            mean = float(part["mean"].iloc[0])
            axes.plot([mean, mean], [base, base - 0.84], color=colour, lw=1.2, ls="-" if target else ":")
            beside(axes, row, signed(mean, 3), shift=6 if target else 44)
    for title, shift in (("target", 6), ("auxiliary", 44)):
        beside_head(axes, title, shift=shift)
    axes.axvline(0, color=REFERENCE_COLOUR, lw=0.7)
    row_bands(axes, len(methods))
    method_rows(axes, methods, settings)
    low, high = table["r_low"].min(), table["r_high"].max()
    axes.set_xlim(min(low, -0.1) - WIDTH, max(high, 0.1) + WIDTH)
    axes.set_ylim(len(methods) - 0.5, -0.6)
    axes.set_xlabel("Pearson r of a gene, mean over sections and patients")
    handles = [
        Patch(color=settings.look(methods[0]).colour, alpha=0.45, label="target genes (the method's colour)"),
        Patch(color=QUIET_COLOUR, alpha=0.6, label="auxiliary genes"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say which genes these are and what is left out."""
    scored = table.drop_duplicates(["method", "kind"]).groupby("kind")["n_scored"].max()
    return prose(f"""
        Pearson r per gene, averaged over sections and patients, of
        {count(int(scored.get("target", 0)), "target gene")} and of
        {count(int(scored.get("auxiliary", 0)), "auxiliary gene")}, which methods with an auxiliary head
        predict, too; histograms of one area for each kind, and its mean (line, and number at the right).
        Genes that vary in no tested section have no r; of a gene that is rarely detected, noise alone keeps r
        low. Genes are correlated, so the width is no measure of certainty.
        Descriptive; no
        test.{scores_note(settings)}
    """)


@figure(
    "Distribution of r over target and auxiliary genes",
    "genes",
    inputs={"genes": "{experiment}/tables/every_gene.parquet"},
    when=["auxiliary"],
)
def auxiliary_distributions(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the genes and draw their distributions."""
    table = require_rows(tidy_auxiliary(read_table(inputs["genes"])), "no gene beside the panel was scored.")
    return plot_auxiliary(table, settings), table, caption(table, settings)
