"""Ten genes by all trained methods, in one table (BrST-Net, Table 1 and Supp. Table S1).

Inputs: ``genes`` (genes.tsv: method, gene, median_pearson). Settings: ``leader``, ``genes``.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import colour_bar, require_rows
from histobench.figures.drawing.plots import heat_map
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, colour_tick_labels, new_figure
from histobench.figures.drawing.text import count, prose, scores_note, signed
from histobench.files import read_table

NUMBER = 10
COLUMNS = ["method", "gene", "column", "median_pearson", "mean_of_genes"]


def tidy_by_method(genes: pd.DataFrame, settings: Settings, wanted: Sequence[str]) -> pd.DataFrame:
    """Return :data:`COLUMNS`: the wanted genes, then the best of the leading method, by every trained method.

    Methods are ordered by their mean over all genes of the panel, the best first.
    """
    known = genes[genes["median_pearson"].notna()]
    trained = known[known["method"].isin(settings.competitors(known["method"]))]
    if trained.empty:
        return pd.DataFrame(columns=COLUMNS)
    means = trained.groupby("method")["median_pearson"].mean().sort_values(ascending=False, kind="stable")
    leader = settings.leader if settings.leader in means.index else means.index[0]
    best = trained[trained["method"] == leader].sort_values(
        ["median_pearson", "gene"], ascending=[False, True], kind="stable"
    )["gene"]
    known_genes = set(trained["gene"])
    chosen = list(dict.fromkeys([*(gene for gene in wanted if gene in known_genes), *best]))[:NUMBER]
    place = {gene: number for number, gene in enumerate(chosen)}
    table = trained[trained["gene"].isin(place)].assign(
        column=lambda t: t["gene"].map(place), mean_of_genes=lambda t: t["method"].map(means)
    )
    order = {method: number for number, method in enumerate(means.index)}
    table = table.assign(row=table["method"].map(order)).sort_values(["row", "column"], kind="stable")
    return table[COLUMNS].reset_index(drop=True)


def plot_by_method(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a table in colour: methods in rows, genes in columns."""
    methods, genes = (
        list(dict.fromkeys(table["method"])),
        list(dict.fromkeys(table.sort_values("column")["gene"])),
    )
    values = table.pivot(index="method", columns="gene", values="median_pearson").loc[methods, genes]
    figure = new_figure(DOUBLE, 0.7 + 0.22 * len(methods))
    axes = figure.subplots()
    low = min(0.0, float(table["median_pearson"].min()))
    high = max(float(table["median_pearson"].max()), 1e-9)
    image = heat_map(
        axes,
        values,
        values.map(lambda value: signed(value) if value == value else ""),
        limits=(low, high),
        rows=[settings.title(method) for method in methods],
        columns=genes,
        colours="Blues",
        size=6.2,
        missing="–",
        **({"rotation": 25, "ha": "left"} if max(map(len, genes)) > 8 else {}),
    )
    axes.xaxis.tick_top()
    for label in axes.get_xticklabels():
        label.set_fontstyle("italic")
    colour_tick_labels(axes, methods, settings)
    colour_bar(figure, image, axes, "median r over patients")
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say how genes and methods were chosen and ordered."""
    asked = [gene for gene in settings.genes if gene in set(table["gene"])]
    first = f"the configured genes ({', '.join(asked)}), then the best" if asked else "the best"
    leader = settings.title(settings.leader) if settings.leader else "the first method"
    return prose(f"""
        Median r over patients, sections of a patient pooled, of {count(table["gene"].nunique(), "gene")} by
        {count(table["method"].nunique(), "trained method")}, best by the mean over all genes of the panel
        first. Genes: {first} of {leader}, which its own values are optimistic for. Descriptive; no
        test.{scores_note(settings)}
    """)


@figure(
    "Ten genes by every trained method",
    "genes",
    tables=["genes"],
    when=["paper"],
    settings=["leader", "genes"],
)
def genes_by_method(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the genes and draw the table."""
    table = tidy_by_method(read_table(inputs["genes"]), settings, settings.genes)
    table = require_rows(table, "no gene could be scored.")
    return plot_by_method(table, settings), table, caption(table, settings)
