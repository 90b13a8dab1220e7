"""The ten best genes of each trained method side by side (BrST-Net, Table 1; HE2Gene, Table 2).

Inputs: ``genes`` (genes.tsv: method, gene, median_pearson).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from histobench.figures.parts import bare, competitors, require_rows
from histobench.figures.style import DOUBLE, colour_tick_labels, new_figure, styled, wrapped_title
from histobench.figures.text import count, scores_note, signed
from histobench.files import read_table

if TYPE_CHECKING:
    import pandas as pd

FIGURE = {
    "title": "Ten best genes of each method",
    "group": "genes",
    "inputs": {"genes": "results/{experiment}/tables/genes.tsv"},
}
NUMBER = 10
MOST_METHODS = 8


def tidy_ten(genes: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Return method, rank, gene, median_pearson: the best genes of each trained method."""
    known = genes[genes["median_pearson"].notna()]
    trained = known[known["method"].isin(competitors(known["method"], settings or {}))]
    means = trained.groupby("method")["median_pearson"].mean().sort_values(ascending=False, kind="stable")
    order = {method: place for place, method in enumerate(means.index[:MOST_METHODS])}
    chosen = trained[trained["method"].isin(order)]
    chosen = chosen.assign(place=chosen["method"].map(order)).sort_values(
        ["place", "median_pearson", "gene"], ascending=[True, False, True], kind="stable"
    )
    chosen["rank"] = chosen.groupby("method", sort=False).cumcount() + 1
    columns = ["method", "rank", "gene", "median_pearson"]
    return chosen.loc[chosen["rank"] <= NUMBER, columns].reset_index(drop=True)


@styled
def plot_ten(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> Figure:
    """Draw a table in colour: ranks in rows, methods in columns."""
    settings = settings or {}
    methods = list(dict.fromkeys(table["method"]))
    values = table.pivot(index="rank", columns="method", values="median_pearson")[methods].to_numpy(float)
    figure = new_figure(min(DOUBLE, 1.5 + 1.15 * len(methods)), 0.7 + 0.25 * len(values))
    axes = figure.subplots()
    low = min(0.0, float(table["median_pearson"].min()))
    high = max(float(table["median_pearson"].max()), 1e-9)
    image = axes.imshow(values, cmap="Blues", vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    entry: Any
    for entry in table.itertuples():
        column, dark = methods.index(entry.method), entry.median_pearson > low + 0.62 * (high - low)
        plain = entry.gene.isascii() and entry.gene.isalnum()  # only then it means nothing in a formula
        gene = f"$\\it{{{entry.gene}}}$" if plain else entry.gene
        axes.text(
            column,
            entry.rank - 1,
            f"{gene} {signed(entry.median_pearson)}",
            parse_math=plain,
            ha="center",
            va="center",
            fontsize=6.3 if len(methods) < 7 else 5.4,
            color="white" if dark else "#222222",
        )
    letters = max(8, 84 // len(methods))
    axes.set_xticks(range(len(methods)), [wrapped_title(method, settings, letters) for method in methods])
    axes.xaxis.tick_top()
    colour_tick_labels(axes, methods, settings, axis="x")
    axes.set_yticks(range(len(values)), [str(rank) for rank in range(1, len(values) + 1)])
    axes.set_ylabel("rank of the gene")
    bare(axes)
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02)
    bar.set_label("median r over patients")
    bar.outline.set_visible(False)
    return figure


def caption(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> str:
    """Say how genes were ranked."""
    return (
        f"The ten genes with the highest median r over patients for each of "
        f"{count(table['method'].nunique(), 'trained method')}, sections of a patient pooled; methods by "
        "their mean over all genes, at most eight. Each list is chosen on the values that it prints, which "
        "are therefore optimistic. Descriptive; no test." + scores_note(settings)
    )


def draw(inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """Read the genes and draw the lists."""
    table = require_rows(tidy_ten(read_table(inputs["genes"]), settings), "no gene could be scored.")
    return plot_ten(table, settings), table
