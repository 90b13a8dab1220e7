"""Rank of every method by every metric, with the values (HE2Gene, Tables 1 and 2).

Inputs: ``leaderboard`` (leaderboard.tsv), ``genes`` (genes.tsv).
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

# Metric -> (heading, whether more is better, digits). Those of the leader board first.
METRICS: dict[str, tuple[str, bool, int]] = {
    "pearson": ("Pearson\nr", True, 3),
    "spearman": ("Spearman\nr", True, 3),
    "pearson_smoothed": ("r, smooth\ntruth", True, 3),
    "pearson_partial_depth": ("r given\ndepth", True, 3),
    "pearson_pooled": ("r pooled", True, 3),
    "pearson_centred": ("r pooled,\ncentred", True, 3),
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


def plot_ranks(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw methods in rows and metrics in columns: colour is the rank, the number is the value."""
    methods = list(dict.fromkeys(table["method"]))
    metrics = [metric for metric in METRICS if metric in set(table["metric"])]
    ranks = table.pivot(index="method", columns="metric", values="rank").loc[methods, metrics]
    values = table.pivot(index="method", columns="metric", values="value").loc[methods, metrics]
    figure = new_figure(DOUBLE, 0.8 + 0.23 * len(methods))
    axes = figure.subplots()
    last = max(len(methods), 2)
    texts = pd.DataFrame(
        {metric: [signed(value, METRICS[metric][2]) for value in values[metric]] for metric in metrics}
    )
    heads = [METRICS[m][0] + (" ↑" if METRICS[m][1] else " ↓") for m in metrics]
    titles = [settings.title(method) for method in methods]
    image = heat_map(
        axes, ranks, texts, limits=(1, last), rows=titles, columns=heads, colours="YlGnBu_r", missing="n/a"
    )
    axes.xaxis.tick_top()
    colour_tick_labels(axes, methods, settings)
    bar = colour_bar(figure, image, axes, ticks=[1, last])
    bar.ax.set_yticklabels(["best", "last"])
    bar.ax.invert_yaxis()
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what colour and number are."""
    patients = settings.n_patients
    sample = f" (n = {count(int(patients), 'patient')})" if patients else ""
    return prose(f"""
        Rank of {count(table["method"].nunique(), "method")} by each metric{sample}: colour is the rank,
        the number the value, averaged over sections, patients and genes; an arrow says whether more or
        less is better; rows by mean rank. Controls and oracles are ranked like methods. Errors are on
        the scale of the targets. Ranks do not say how far apart methods are; for that see the paired
        comparisons. Descriptive; no test.{scores_note(settings)}
    """)


@figure("Rank of methods by metric", "comparisons", tables=["leaderboard", "genes"], when=["pair"])
def rank_heatmap(inputs: Inputs, settings: Settings) -> Drawing:
    """Read leader board and genes and draw the ranks."""
    table = tidy_ranks(read_table(inputs["leaderboard"]), read_table(inputs["genes"]))
    return (
        plot_ranks(require_rows(table, "no method has been scored."), settings),
        table,
        caption(table, settings),
    )
