"""Genes that are learnt together against genes that have a network each (He et al. 2020, Supp. Fig. 12).

Inputs: ``genes`` (genes.tsv: method, gene, median_pearson, n_positive, n_patients). Settings: ``leader``,
which learns them together, and ``apart``, the genes that each other method learns alone.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import method_marker, require_rows, row_bands
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose, scores_note
from histobench.files import read_table

SCORES = {"n_positive": "patients with r > 0", "median_pearson": "median r over patients"}
COLUMNS = ["gene", "method", "n_positive", "n_patients", "median_pearson"]


def tidy_apart(genes: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return :data:`COLUMNS` of the genes with a network of their own: the leading method, then those apart.

    Genes are ordered by how much more often they are positive apart, the most first; a gene that the leading
    method does not predict is left out.
    """
    blocks = []
    for method, named in settings.apart.items():
        both = genes[genes["method"].isin([settings.leader, method]) & genes["gene"].isin(list(named))]
        wide = both.pivot(index="gene", columns="method", values="n_positive").dropna()
        if not {settings.leader, method} <= set(wide.columns):
            continue
        gain = wide[method] - wide[settings.leader]
        order = gain.reset_index(name="gain").sort_values(["gain", "gene"], ascending=[False, True])["gene"]
        place = {gene: number for number, gene in enumerate(order)}
        own = both[both["gene"].isin(place)]
        own = own.assign(row=own["gene"].map(place), second=own["method"] == method)
        own = own.sort_values(["row", "second"])
        blocks.append(own[COLUMNS])
    return pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame(columns=COLUMNS)


def plot_apart(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a row per gene, a marker per method, and a line between them; one panel per score."""
    genes = list(dict.fromkeys(table["gene"]))
    figure = new_figure(DOUBLE, 1.0 + 0.24 * len(genes))
    panels = figure.subplots(1, len(SCORES), sharey=True)
    for axes, (score, title) in zip(panels, SCORES.items(), strict=True):
        for row, gene in enumerate(genes):
            own = table[table["gene"] == gene]
            axes.plot(own[score], [row] * len(own), color="#bbbbbb", lw=1.4, zorder=1)
            for place, (method, value) in enumerate(zip(own["method"], own[score], strict=True)):
                # together hollow and larger, so that two equal scores are both seen
                look = {"ms": 7, "mfc": "white"} if place == 0 else {"ms": 4.5}
                method_marker(axes, value, row, method, settings, **look)
        row_bands(axes, len(genes))
        axes.set_xlabel(title)
        axes.grid(axis="x")
    panels[0].set_yticks(range(len(genes)), genes, style="italic")
    panels[0].set_ylim(len(genes) - 0.4, -0.6)
    panels[0].set_xlim(-0.4, float(table["n_patients"].max()) + 0.4)
    panels[0].xaxis.get_major_locator().set_params(integer=True)
    panels[1].axvline(0, color=REFERENCE_COLOUR, lw=0.7)
    for axes in panels:
        axes.tick_params(axis="y", length=0)
    for number, method in enumerate(dict.fromkeys(table["method"])):
        look = {"mfc": "white", "ms": 7} if number == 0 else {"ms": 4.5}
        style = settings.look(method)
        panels[1].plot([], [], style.marker, color=style.colour, label=settings.title(method), **look)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what the two methods are, and for how many genes which is better."""
    together, *others = dict.fromkeys(table["method"])
    wide = table.pivot(index="gene", columns="method", values="n_positive")
    gains = {method: wide[method] - wide[together] for method in others}
    counts = [
        f"{settings.title(method)} is positive in more patients for {int((gain > 0).sum())} and in fewer for "
        f"{int((gain < 0).sum())}"
        for method, gain in gains.items()
    ]
    return prose(f"""
        {count(table["gene"].nunique(), "gene")}, each predicted by a network that learns the whole panel
        ({settings.title(together)}, hollow) and by one that learns this gene alone
        ({settings.listed(others)}, filled): patients with r > 0, sections of a patient pooled, of
        {count(int(table["n_patients"].max()), "patient")}, and median r over them. {"; ".join(counts)}.
        Descriptive; no test.{scores_note(settings)}
    """)


@figure(
    "Genes together and apart",
    "genes",
    tables=["genes"],
    when=["apart", "leader", "paper"],
    settings=["leader", "apart"],
)
def genes_apart(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the genes and draw both."""
    table = tidy_apart(read_table(inputs["genes"]), settings)
    table = require_rows(table, "no gene with a network of its own is in the panel.")
    return plot_apart(table, settings), table, caption(table, settings)
