"""Scores of models on the cohort that they were trained on and on other cohorts (train x test).

Inputs: ``own`` (the experiment's leader board), ``others`` (those of its branches to other cohorts).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from histobench.figures.parts import bare, method_rows, require_rows, tile_text
from histobench.figures.sources import as_list
from histobench.figures.style import DIVERGING, DOUBLE, new_figure, styled
from histobench.figures.text import count, scores_note, signed
from histobench.files import read_table

if TYPE_CHECKING:
    import pandas as pd

FIGURE = {
    "title": "Transfer to other cohorts",
    "group": "protocols",
    "inputs": {
        "own": "results/{experiment}/tables/leaderboard.tsv",
        "others": "results/{experiment}/external/{external}/tables/leaderboard.tsv",
    },
}
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
    import pandas as pd

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


@styled
def plot_transfer(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> Figure:
    """Draw methods in rows and tested cohorts in columns, with intervals."""
    settings = settings or {}
    methods, cohorts = list(dict.fromkeys(table["method"])), list(dict.fromkeys(table["tested_on"]))
    figure = new_figure(min(DOUBLE, 2.4 + 1.35 * len(cohorts)), 0.95 + 0.3 * len(methods))
    axes = figure.subplots()
    values = table.pivot(index="method", columns="tested_on", values="pearson").loc[methods, cohorts]
    limit = float(table["pearson"].abs().max()) or 1.0
    axes.set_facecolor("#eeeeee")
    image = axes.imshow(values.to_numpy(float), cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto",
                        interpolation="nearest")  # fmt: skip
    entry: Any
    for entry in table.itertuples():
        text = f"{signed(entry.pearson)} [{signed(entry.pearson_low)}, {signed(entry.pearson_high)}]"
        dark = abs(entry.pearson) > 0.62 * limit
        tile_text(axes, cohorts.index(entry.tested_on), methods.index(entry.method), text, dark)
    own = str(table["trained_on"].iloc[0])
    axes.set_xticks(
        range(len(cohorts)), [f"{name}\n(held-out patients)" if name == own else name for name in cohorts]
    )
    axes.set_xlabel(f"tested on (trained on {own})")
    method_rows(axes, methods, settings)
    axes.set_ylim(len(methods) - 0.5, -0.5)
    bare(axes)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.set_label("Pearson r")
    bar.outline.set_visible(False)
    return figure


def caption(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> str:
    """Say who was trained on what."""
    others = [name for name in dict.fromkeys(table["tested_on"]) if name != table["trained_on"].iloc[0]]
    return (
        f"Mean r on held-out patients of the training cohort {table['trained_on'].iloc[0]} "
        f"(cross-validation) and of models trained on all its patients on {', '.join(others)} (n = "
        f"{count(len(others), 'cohort')}), with 95 % bootstrap intervals over patients; grey: not scored. "
        "Genes that a cohort does not measure are left out there, so that columns are means over different "
        "genes. Descriptive; no test." + scores_note(settings)
    )


def draw(inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """Read the leader boards and draw the matrix."""
    cohort = str(settings.get("cohort", ""))
    boards = {cohort: read_table(inputs["own"])}
    boards |= {path.parts[-3]: read_table(path) for path in as_list(inputs["others"])}
    table = require_rows(tidy_transfer(boards, cohort), "no method was scored.")
    return plot_transfer(table, settings), table
