"""Genes by the number of patients in which they are predicted, against chance (He et al. 2020, Fig. 2b).

Inputs: ``genes`` (genes.tsv: method, gene, n_positive, n_patients).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import binom

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import require_rows
from histobench.figures.drawing.settings import FAMILY_TITLES, Settings
from histobench.figures.drawing.style import DOUBLE, REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose, scores_note
from histobench.files import read_table

CHANCE = "chance"


def tidy_consistent(genes: pd.DataFrame) -> pd.DataFrame:
    """Return method, rank, gene, n_positive: genes of each method by falling count, and chance.

    Chance is the quantile function of the binomial at 1/2 over the patients, at (rank - 0.5) / genes: what
    the ordered counts of genes look like that know nothing and of each other's nothing either.
    """
    known = genes[genes["n_patients"] > 0]
    ordered = known.sort_values(["n_positive", "gene"], ascending=[False, True], kind="stable")
    ordered = ordered.assign(rank=ordered.groupby("method", sort=False).cumcount() + 1)
    table = ordered[["method", "rank", "gene", "n_positive"]]
    if table.empty:
        return table
    rank = np.arange(1, table["rank"].max() + 1)
    expected = binom.isf((rank - 0.5) / len(rank), int(known["n_patients"].max()), 0.5)
    chance = pd.DataFrame({"method": CHANCE, "rank": rank, "gene": "", "n_positive": expected.astype(int)})
    return pd.concat([table, chance], ignore_index=True)


def plot_consistent(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw one panel per family of methods, each with the curve of chance."""
    groups = settings.by_family(table.loc[table["method"] != CHANCE, "method"])
    # room for the names below the panels
    figure = new_figure(DOUBLE, 2.2 + 0.2 * max(len(methods) for methods in groups.values()))
    panels = figure.subplots(1, len(groups), sharex=True, sharey=True, squeeze=False)[0]
    chance = table[table["method"] == CHANCE]
    for axes, (family, methods) in zip(panels, groups.items(), strict=True):
        (line,) = axes.step(
            chance["rank"], chance["n_positive"], where="mid", color=REFERENCE_COLOUR, lw=0.9, ls=(0, (4, 2))
        )  # fmt: skip
        lines = [line]
        for place, method in enumerate(methods):
            own, style = table[table["method"] == method], settings.look(method)
            # Counts are whole numbers: lines are set apart a little so that none hides another.
            shift = min(0.09, 0.98 / len(methods)) * (place - (len(methods) - 1) / 2)
            (line,) = axes.step(
                own["rank"],
                own["n_positive"] + shift,
                where="mid",
                color=style.colour,
                ls=style.dashes,
            )
            lines.append(line)
        axes.set_title(FAMILY_TITLES[family].split(" (")[0], loc="left")
        # told by hand: on its own a legend leaves out names that start with _
        names = ["chance", *(settings.title(method) for method in methods)]
        axes.legend(lines, names, loc="upper center", bbox_to_anchor=(0.5, -0.2), handlelength=2.2)
        axes.grid(axis="y")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("gene, by falling count")
    panels[0].set_ylabel("patients with r > 0")
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what a point of a line is and what chance means here."""
    genes = int(table["rank"].max())
    patients = settings.n_patients
    sample = count(genes, "gene") + (f", {count(int(patients), 'patient')}" if patients else "")
    return prose(f"""
        Genes of each method ordered by the number of patients in which predicted and measured expression
        correlate positively, sections of a patient pooled (n = {sample}); lines are shifted by less than
        half a patient so that all can be seen. Dashed: quantiles of the binomial at 1/2, which is chance
        for independent genes only (He et al. 2020, Fig. 2b); the test per gene with Holm and
        Benjamini-Hochberg correction is in the table of genes.{scores_note(settings)}
    """)


@figure("Genes by number of patients with a positive correlation", "genes", tables=["genes"])
def consistent_genes(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the genes and draw them."""
    table = require_rows(tidy_consistent(read_table(inputs["genes"])), "no gene could be scored.")
    return plot_consistent(table, settings), table, caption(table, settings)
