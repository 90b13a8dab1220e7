"""Rank of every method by every metric, with the values (HE2Gene, Tables 1 and 2).

Inputs: ``leaderboard`` (leaderboard.tsv), ``genes`` (genes.tsv).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from histobench.figures.parts import bare, method_rows, require_rows, tile_text
from histobench.figures.style import DOUBLE, new_figure, styled
from histobench.figures.text import count, scores_note, signed
from histobench.files import read_table

if TYPE_CHECKING:
    import pandas as pd

FIGURE = {
    "title": "Rank of methods by metric",
    "group": "comparisons",
    "inputs": {
        "leaderboard": "results/{experiment}/tables/leaderboard.tsv",
        "genes": "results/{experiment}/tables/genes.tsv",
    },
    "when": ["pair"],
}
# Metric -> (heading, whether more is better, digits). Those of the leader board first.
METRICS: dict[str, tuple[str, bool, int]] = {
    "pearson": ("Pearson r", True, 3),
    "spearman": ("Spearman", True, 3),
    "pearson_smoothed": ("r, smoothed\ntruth", True, 3),
    "pearson_partial_depth": ("r given\ndepth", True, 3),
    "pearson_pooled": ("r pooled", True, 3),
    "auroc_quartiles": ("AUROC", True, 3),
    "n_positive": ("positive\ngenes", True, 0),
    "rmse": ("RMSE", False, 3),
    "mae": ("MAE", False, 3),
}
COLUMNS = ["method", "metric", "value", "rank"]


def tidy_ranks(leaderboard: pd.DataFrame, genes: pd.DataFrame) -> pd.DataFrame:
    """Return method, metric, value, rank (1 is best, ties share the mean rank); methods by mean rank.

    What the leader board lacks is the mean over genes of the table of genes.
    """
    import pandas as pd

    board = leaderboard.set_index("method")
    means = genes.groupby("method").mean(numeric_only=True).reindex(board.index)
    blocks = []
    for metric, (_, more, _) in METRICS.items():
        source = board if metric in board else means
        if metric not in source:
            continue
        values = source[metric].astype(float)
        ranks = values.rank(ascending=not more, method="average")
        blocks.append(pd.DataFrame({"method": board.index, "metric": metric, "value": values.to_numpy(),
                                    "rank": ranks.to_numpy()}))  # fmt: skip
    table = pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame(columns=COLUMNS)
    order = table.groupby("method")["rank"].mean()
    return (
        table.assign(mean=table["method"].map(order))
        .sort_values(["mean", "method"], kind="stable")
        .drop(columns="mean")
        .reset_index(drop=True)
    )


@styled
def plot_ranks(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> Figure:
    """Draw methods in rows and metrics in columns: colour is the rank, the number is the value."""
    settings = settings or {}
    methods = list(dict.fromkeys(table["method"]))
    metrics = [metric for metric in METRICS if metric in set(table["metric"])]
    ranks = table.pivot(index="method", columns="metric", values="rank").loc[methods, metrics]
    values = table.pivot(index="method", columns="metric", values="value").loc[methods, metrics]
    figure = new_figure(DOUBLE, 0.8 + 0.23 * len(methods))
    axes = figure.subplots()
    last = max(len(methods), 2)
    axes.set_facecolor("#eeeeee")
    image = axes.imshow(
        ranks.to_numpy(float), cmap="YlGnBu_r", vmin=1, vmax=last, aspect="auto", interpolation="nearest"
    )
    for row, method in enumerate(methods):
        for column, metric in enumerate(metrics):
            value, rank = float(values.loc[method, metric]), float(ranks.loc[method, metric])
            text = signed(value, METRICS[metric][2]) if value == value else "n/a"
            tile_text(axes, column, row, text, rank == rank and rank < 1 + 0.45 * (last - 1))
    heads = [METRICS[m][0] + (" ↑" if METRICS[m][1] else " ↓") for m in metrics]
    axes.set_xticks(range(len(metrics)), heads)
    axes.xaxis.tick_top()
    method_rows(axes, methods, settings)
    axes.set_ylim(len(methods) - 0.5, -0.5)
    bare(axes)
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02, ticks=[1, last])
    bar.ax.set_yticklabels(["best", "last"])
    bar.ax.invert_yaxis()
    bar.outline.set_visible(False)
    return figure


def caption(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> str:
    """Say what colour and number are."""
    patients = (settings or {}).get("n_patients")
    sample = f" (n = {count(int(patients), 'patient')})" if patients else ""
    return (
        f"Rank of {count(table['method'].nunique(), 'method')} by each metric{sample}: colour is the rank, "
        "the number the value, averaged over sections, patients and genes; an arrow says whether more or "
        "less is better; rows by mean rank. Controls and oracles are ranked like methods. Errors are on the "
        "scale of the targets. Ranks do not say how far apart methods are; for that see the paired "
        "comparisons. Descriptive; no test." + scores_note(settings)
    )


def draw(inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """Read leader board and genes and draw the ranks."""
    table = tidy_ranks(read_table(inputs["leaderboard"]), read_table(inputs["genes"]))
    return plot_ranks(require_rows(table, "no method has been scored."), settings), table
