"""The ten best genes of each trained method side by side (BrST-Net, Table 1; HE2Gene, Table 2).

Inputs: ``genes`` (genes.tsv: method, gene, median_pearson).
"""

from __future__ import annotations

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
MOST_METHODS = 8


def tidy_ten(genes: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return method, rank, gene, median_pearson: the best genes of each trained method."""
    known = genes[genes["median_pearson"].notna()]
    trained = known[known["method"].isin(settings.competitors(known["method"]))]
    means = trained.groupby("method")["median_pearson"].mean().sort_values(ascending=False, kind="stable")
    order = {method: place for place, method in enumerate(means.index[:MOST_METHODS])}
    chosen = trained[trained["method"].isin(order)]
    chosen = chosen.assign(place=chosen["method"].map(order)).sort_values(
        ["place", "median_pearson", "gene"], ascending=[True, False, True], kind="stable"
    )
    chosen["rank"] = chosen.groupby("method", sort=False).cumcount() + 1
    columns = ["method", "rank", "gene", "median_pearson"]
    return chosen.loc[chosen["rank"] <= NUMBER, columns].reset_index(drop=True)


def plot_ten(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a table in colour: ranks in rows, methods in columns."""
    methods = list(dict.fromkeys(table["method"]))
    values = table.pivot(index="rank", columns="method", values="median_pearson")[methods]
    genes = table.pivot(index="rank", columns="method", values="gene")[methods]
    figure = new_figure(min(DOUBLE, 1.5 + 1.15 * len(methods)), 0.7 + 0.25 * len(values))
    axes = figure.subplots()
    low = min(0.0, float(table["median_pearson"].min()))
    high = max(float(table["median_pearson"].max()), 1e-9)
    letters = max(8, 84 // len(methods))
    texts = genes.map(_italic, na_action="ignore") + values.map(lambda value: f" {signed(value)}")
    image = heat_map(
        axes,
        values,
        texts,
        limits=(low, high),
        rows=[str(rank) for rank in values.index],
        columns=[settings.wrapped(method, letters) for method in methods],
        colours="Blues",
        size=6.3 if len(methods) < 7 else 5.4,
    )
    for text in axes.texts:
        text.set_parse_math(text.get_text().startswith("$\\it{"))
    axes.xaxis.tick_top()
    colour_tick_labels(axes, methods, settings, axis="x")
    axes.set_ylabel("rank of the gene")
    colour_bar(figure, image, axes, "median r over patients")
    return figure


def _italic(gene: str) -> str:
    """Write a gene in italics, as a formula, where its name means nothing in one."""
    return f"$\\it{{{gene}}}$" if gene.isascii() and gene.isalnum() else gene


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say how genes were ranked."""
    return prose(f"""
        The ten genes with the highest median r over patients for each of
        {count(table["method"].nunique(), "trained method")}, sections of a patient pooled; methods by
        their mean over all genes, at most eight. Each list is chosen on the values that it prints, which
        are therefore optimistic. Descriptive; no test.{scores_note(settings)}
    """)


@figure("Ten best genes of each method", "genes", tables=["genes"])
def top_ten(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the genes and draw the lists."""
    table = require_rows(tidy_ten(read_table(inputs["genes"]), settings), "no gene could be scored.")
    return plot_ten(table, settings), table, caption(table, settings)
