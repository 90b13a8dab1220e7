"""Learning curves: every quantity that a training wrote to its history, per method and fold.

Inputs: ``histories`` (paths ``models/{method}/{fold}/history.tsv``; method and fold are read from the path).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import log_axis
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import as_list
from histobench.figures.drawing.style import (
    DOUBLE,
    QUIET_COLOUR,
    empty_figure,
    new_figure,
    panel_title,
)
from histobench.figures.drawing.text import count, prose
from histobench.files import read_table

# Which quantities are drawn, and the label of their axis.
_AXES = (("pearson", "Pearson r"), ("loss", "loss"), ("mse", "mean squared error"))
# Column of a history -> quantity and split. Anything else is bookkeeping (seconds, rates) or another measure.
_QUANTITIES = {
    "pearson": ("pearson", "train"),
    "loss": ("loss", "train"),
    "mse": ("mse", "train"),
    "valid_pearson": ("pearson", "valid"),
    "valid_loss": ("loss", "valid"),
    "valid_mse": ("mse", "valid"),
}
_DASHES = (0, (3, 1.5))
_SPLITS = {"train": "training patients", "valid": "validation patients"}
COLUMNS = ["method", "fold", "stage", "epoch", "quantity", "split", "value"]

# Panels side by side that are wide enough to read.
_COLUMNS = 6


def tidy_history(histories: Mapping[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """Return method, fold, stage, epoch, quantity, split, value from histories keyed by (method, fold).

    Column ``loss`` becomes quantity "loss" of split "train", ``valid_pearson`` quantity "pearson" of split
    "valid"; a stage is one of several networks that a method trains, such as an inner fold. Histories
    without an ``epoch`` column (methods that do not learn step by step) contribute nothing.
    """
    blocks = []
    for (method, fold), history in histories.items():
        if "epoch" not in history or len(history) < 2:
            continue
        if "stage" in history:  # a figure of its own shows what an autoencoder learns before
            history = history[history["stage"] != "autoencoder"]
        for column, (quantity, split) in _QUANTITIES.items():
            if column not in history:
                continue
            values = pd.to_numeric(history[column], errors="coerce")
            if values.notna().sum() == 0:
                continue
            blocks.append(
                pd.DataFrame(
                    {
                        "method": method,
                        "fold": str(fold),
                        "stage": history["stage"].astype(str) if "stage" in history else "",
                        "epoch": pd.to_numeric(history["epoch"]),
                        "quantity": quantity,
                        "split": split,
                        "value": values,
                    }
                )
            )
    return pd.concat(blocks, ignore_index=True)[COLUMNS] if blocks else pd.DataFrame(columns=COLUMNS)


def plot_learning(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw methods in columns and quantities in rows; one thin line per fold, training against validation."""
    if table.empty:
        return empty_figure("No method of this experiment learns in epochs.")
    methods = settings.order(table["method"])
    quantities = [(key, label) for key, label in _AXES if key in set(table["quantity"])]
    columns = min(len(methods), _COLUMNS)
    bands = [methods[first : first + columns] for first in range(0, len(methods), columns)]
    height = (1.75 if len(bands) == 1 else 1.3) * len(quantities) * len(bands)
    figure = new_figure(max(3.5, min(DOUBLE, 0.9 + 2.1 * columns)), height + 0.7)
    grid = figure.subplots(len(quantities) * len(bands), columns, squeeze=False)
    for number, axes in np.ndenumerate(grid):
        band, row = divmod(number[0], len(quantities))
        quantity, label = quantities[row]
        if number[1] >= len(bands[band]):
            axes.axis("off")
            continue
        method = bands[band][number[1]]
        part = table[(table["method"] == method) & (table["quantity"] == quantity)]
        # before anything is drawn: later, the limits of an empty panel would win
        if row < len(quantities) - 1:
            axes.sharex(grid[number[0] + 1, number[1]])
            axes.tick_params(labelbottom=False)
        _panel(axes, part, settings.look(method).colour)
        if row == 0:
            panel_title(axes, method, settings, 11)
        if number[1] == 0:
            axes.set_ylabel(label)
    figure.supxlabel("epoch", fontsize=8)
    figure.legend(handles=_handles(set(table["split"])), loc="outside upper center", ncols=2)
    return figure


def _panel(axes: Any, part: pd.DataFrame, colour: str) -> None:
    """Draw one method's quantity; that of an error is logarithmic beyond a decade and a half."""
    for (split, _, _), line in part.groupby(["split", "fold", "stage"], sort=True):
        line = line.sort_values("epoch")
        valid = split == "valid"
        look: Any = (
            {"color": colour, "lw": 1.1} if valid else {"color": QUIET_COLOUR, "lw": 0.8, "ls": _DASHES}
        )
        axes.plot(line["epoch"], line["value"], alpha=0.85, **look)
    axes.xaxis.set_major_locator(
        MaxNLocator(integer=True, nbins=4)
    )  # panels of a column share it, empty or not
    if part.empty:  # nothing to read from its axes either
        axes.text(0.5, 0.5, "not\nrecorded", transform=axes.transAxes, ha="center", va="center",
                  fontsize=7, color=QUIET_COLOUR)  # fmt: skip
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        return
    error = part["quantity"].iloc[0] != "pearson"
    if error and part["value"].min() > 0 and part["value"].max() > 30 * part["value"].min():
        axes.set_yscale("log")
        log_axis(axes.yaxis)
    axes.grid(axis="y")


def _handles(splits: set[str]) -> list[Any]:
    handles = []
    if "train" in splits:
        handles.append(Line2D([], [], color=QUIET_COLOUR, lw=0.8, ls=_DASHES, label=_SPLITS["train"]))
    if "valid" in splits:
        handles.append(
            Line2D([], [], color="#333333", lw=1.1, label=f"{_SPLITS['valid']} (colour of the method)")
        )
    return handles


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what a line is."""
    if table.empty:
        return "No method of this experiment learns in epochs."
    folds = int(table.groupby("method")["fold"].nunique().max())
    valid = (
        " Solid: validation patients, which only choose the epoch; no test patient is in either."
        if "valid" in set(table["split"])
        else " No validation was recorded; test patients are in none."
    )
    return prose(f"""
        Learning curves of {count(table["method"].nunique(), "method")} that learn in epochs; one line
        per fold and network trained (n = {count(folds, "fold")}). Dashed grey: patients that the weights
        are fitted to.{valid} Losses are what each method optimises and cannot be compared. Descriptive;
        no test.
    """)


@figure(
    "Learning curves",
    "training",
    inputs={"histories": "{experiment}/models/{deep}/{fold}/history.tsv"},
)
def learning_curves(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the histories and draw them."""
    histories = {(path.parts[-3], path.parts[-2]): _read(path) for path in as_list(inputs["histories"])}
    table = tidy_history(histories)
    return plot_learning(table, settings), table, caption(table, settings)


def _read(path: Path) -> pd.DataFrame:
    """Read a history; the empty one of a method without epochs is an empty table."""
    return read_table(path) if path.read_text(encoding="utf-8").strip() else pd.DataFrame()
