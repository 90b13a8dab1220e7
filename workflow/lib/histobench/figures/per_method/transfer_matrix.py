"""Scores of models on the cohort that they were trained on and on other cohorts (train x test).

Inputs: ``own`` (the experiment's leader board), ``others`` (those of its branches to other cohorts).
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import colour_bar, require_rows
from histobench.figures.drawing.plots import heat_map
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import as_list
from histobench.figures.drawing.style import DOUBLE, colour_tick_labels, new_figure
from histobench.figures.drawing.text import count, prose, scores_note, signed
from histobench.files import read_table

COLUMNS = [
    "method",
    "trained_on",
    "tested_on",
    "pearson",
    "pearson_low",
    "pearson_high",
    "n_genes",
    "held_out",
]


def tidy_transfer(boards: Mapping[str, pd.DataFrame], cohort: str) -> pd.DataFrame:
    """Return method, trained_on, tested_on, score with interval; methods by their score at home."""
    blocks = [
        board.assign(trained_on=cohort, tested_on=name, held_out=name == cohort)
        for name, board in boards.items()
    ]
    table = pd.concat(blocks, ignore_index=True)
    order = boards[cohort].set_index("method")["pearson"] if cohort in boards else pd.Series(dtype=float)
    table = table.assign(order=table["method"].map(order)).sort_values(
        ["order", "method"], ascending=[False, True], kind="stable"
    )
    return table.reindex(columns=COLUMNS)[table["pearson"].notna().to_numpy()].reset_index(drop=True)


def plot_transfer(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw methods in rows and tested cohorts in columns, with intervals."""
    methods, cohorts = list(dict.fromkeys(table["method"])), list(dict.fromkeys(table["tested_on"]))
    figure = new_figure(min(DOUBLE, 2.4 + 1.35 * len(cohorts)), 0.95 + 0.3 * len(methods))
    axes = figure.subplots()
    values = table.pivot(index="method", columns="tested_on", values="pearson").loc[methods, cohorts]
    limit = float(table["pearson"].abs().max()) or 1.0
    cells = table.assign(text=[
        f"{signed(r)} [{signed(low)}, {signed(high)}]"
        for r, low, high in zip(table["pearson"], table["pearson_low"], table["pearson_high"], strict=True)
    ])  # fmt: skip
    own = str(table["trained_on"].iloc[0])
    image = heat_map(
        axes,
        values,
        cells.pivot(index="method", columns="tested_on", values="text").loc[methods, cohorts],
        limits=(-limit, limit),
        rows=[settings.title(method) for method in methods],
        columns=[f"{name}\n(held-out patients)" if name == own else name for name in cohorts],
    )
    colour_tick_labels(axes, methods, settings)
    axes.set_xlabel(f"tested on (trained on {own})")
    colour_bar(figure, image, axes, "Pearson r", fraction=0.04)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say who was trained on what."""
    others = [name for name in dict.fromkeys(table["tested_on"]) if name != table["trained_on"].iloc[0]]
    return prose(f"""
        Mean r on held-out patients of the training cohort {table["trained_on"].iloc[0]}
        (cross-validation) and of models trained on all its patients on {", ".join(others)} (n =
        {count(len(others), "cohort")}), with 95 % bootstrap intervals over patients; grey: not scored.
        Genes that a cohort does not measure are left out there, so that columns are means over different
        genes. Descriptive; no test.{scores_note(settings)}
    """)


@figure(
    "Transfer to other cohorts",
    "protocols",
    inputs={
        "own": "{experiment}/tables/leaderboard.tsv",
        "others": "{experiment}/external/{external}/tables/leaderboard.tsv",
    },
)
def transfer_matrix(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the leader boards and draw the matrix."""
    cohort = settings.cohort
    boards = {cohort: read_table(inputs["own"])}
    boards |= {path.parts[-3]: read_table(path) for path in as_list(inputs["others"])}
    table = require_rows(tidy_transfer(boards, cohort), "no method was scored.")
    return plot_transfer(table, settings), table, caption(table, settings)
