"""Variance of expression by the number of NMF factors (He et al. 2020, ST-Net, Supp. Fig. 7c).

Inputs: ``runs`` (records of all trainings; those of methods that factorise expression tell of it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import require_rows
from histobench.figures.drawing.settings import Settings, base_name
from histobench.figures.drawing.style import REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose
from histobench.training.record import read_records

PREFIX = "nmf_explained_"
COLUMNS = ["method", "factors", "explained", "low", "high", "n_folds", "used"]


def tidy_factors(runs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return :data:`COLUMNS`: mean, least and largest share over folds, and whether the number is used."""
    rows = [
        (base_name(str(run["method"])), int(key.removeprefix(PREFIX)), float(value), int(run["n_factors"]))
        for run in runs
        for key, value in run.items()
        if key.startswith(PREFIX)
    ]
    found = pd.DataFrame(rows, columns=["method", "factors", "value", "own"])
    groups = found.groupby(["method", "factors"], sort=True)
    table = groups.agg(
        explained=("value", "mean"), low=("value", "min"), high=("value", "max"), n_folds=("value", "size"),
        own=("own", "max"),
    ).reset_index()  # fmt: skip
    return table.assign(used=table["factors"] == table["own"])[COLUMNS]


def plot_factors(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw explained variance against the number of factors, with the range of folds."""
    figure = new_figure(4.2, 2.8)
    axes = figure.subplots()
    for method, own in table.groupby("method", sort=False):
        style = settings.look(str(method))
        axes.fill_between(
            own["factors"], 100 * own["low"], 100 * own["high"], color=style.colour, alpha=0.2, lw=0
        )
        axes.plot(
            own["factors"],
            100 * own["explained"],
            "o-",
            color=style.colour,
            ms=4,
            label=settings.title(str(method)),
        )
        for number in own.loc[own["used"], "factors"]:
            axes.axvline(number, color=REFERENCE_COLOUR, lw=0.8, ls=(0, (4, 2)))
    axes.set_xlabel("factors")
    axes.set_ylabel("% of the variance of training expression")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 102)
    axes.grid()
    axes.legend(loc="lower right")
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say of what the variance is a share."""
    used = table.loc[table["used"], "factors"]
    own = f" The dashed line is the number that the method uses, {int(used.iloc[0])}." if len(used) else ""
    return prose(f"""
        Share of the variance of training expression, over all spots and genes on a linear scale, that a
        non-negative factorisation explains, by its number of factors: mean over folds, band from the least
        to the largest (n = {count(int(table["n_folds"].max()), "fold")}).{own} Genes with high counts have
        most of the variance. Descriptive; no test.
    """)


@figure(
    "Variance by number of factors",
    "training",
    inputs={"runs": "{experiment}/trainings.json"},
    when=["factors", "paper"],
)
def factor_variance(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the records of trainings and draw what they explain."""
    table = tidy_factors(read_records([inputs["runs"]]))
    table = require_rows(table, "no training compared several numbers of factors.")
    return plot_factors(table, settings), table, caption(table, settings)
