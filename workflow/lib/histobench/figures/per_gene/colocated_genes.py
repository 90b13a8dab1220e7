"""Whether tumour and immune genes keep apart, measured and predicted (He et al. 2020).

Inputs: ``colocation`` (colocation.tsv: method, within, between, difference with interval, p, p_holm).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import beside, require_rows, row_bands
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose
from histobench.files import read_table

OBSERVED = "observed"


def tidy_colocation(colocation: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with both kinds of pairs."""
    known = colocation[colocation["within"].notna() & colocation["between"].notna()]
    return known.reset_index(drop=True)


def plot_colocation(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw the correlations of pairs within and between groups, and the difference with its interval."""
    methods = settings.order([method for method in table["method"] if method != OBSERVED])
    order = [method for method in (OBSERVED, *methods) if method in set(table["method"])]
    own = table.set_index("method").loc[order]
    figure = new_figure(DOUBLE, 0.95 + 0.24 * len(order))
    left, right = figure.subplots(1, 2, sharey=True)
    for row, method in enumerate(order):
        colour = "#222222" if method == OBSERVED else settings.look(method).colour
        entry = own.loc[method]
        left.plot([entry["within"], entry["between"]], [row, row], color=colour, lw=1.1)
        left.plot(entry["within"], row, "o", ms=5, color=colour)
        left.plot(entry["between"], row, "o", ms=5, color=colour, mfc="white", mew=1.2)
        right.plot([entry["difference_low"], entry["difference_high"]], [row, row], color=colour, lw=1.6)
        right.plot(entry["difference"], row, "o", ms=5, color=colour)
        text = f"p = {entry['p_holm']:.2g}" if np.isfinite(entry["p_holm"]) else "no test"
        beside(right, row, text, 4, 6.5)
    names = ["measured" if method == OBSERVED else settings.title(method) for method in order]
    left.set_yticks(range(len(order)), names)
    left.set_ylim(len(order) - 0.4, -0.6)
    left.set_xlabel("r of pairs within (full) and between groups (hollow)")
    right.set_xlabel("between minus within")
    right.axvline(0, color=REFERENCE_COLOUR, lw=0.8)
    for axes in (left, right):
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        row_bands(axes, len(order))
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say which genes, and which test."""
    return prose(f"""
        Mean correlation over the spots of a section between pairs of genes within the tumour group
        (AEBP1, BGN, P4HB) or the immune group (PABPC1, TAGLN2, HLA-B) of He et al. 2020 (of simulated
        tissue: of colour genes that rise with tumour or immune infiltrate), and between the groups, as
        far as they are in the panel; difference with 95 % bootstrap interval over patients (n =
        {count(int(table["n_patients"].max()), "patient")}). p: two-sided paired t-test over patients,
        Holm's correction over rows; with a single patient there is none. A prediction that is smoother
        than the measurement has higher correlations throughout.
    """)


@figure("Tumour and immune genes keep apart", "tumour", tables=["colocation"])
def colocated_genes(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the table and draw it."""
    table = tidy_colocation(read_table(inputs["colocation"]))
    table = require_rows(table, "the panels lack genes of the tumour or of the immune group.")
    return plot_colocation(table, settings), table, caption(table, settings)
