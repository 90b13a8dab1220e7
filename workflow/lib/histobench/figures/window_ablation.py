"""What the window of a patch does to scores (He et al. 2020): the same methods in two experiments of one run.

Inputs: ``own`` (the experiment's leader board), ``others`` (those of the experiments that differ in this).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from histobench.figures.contrasts import plot_contrast, read_boards, tidy_contrast
from histobench.figures.parts import require_rows
from histobench.figures.style import styled
from histobench.figures.text import count, scores_note

if TYPE_CHECKING:
    import pandas as pd

FIGURE = {
    "title": "Effect of window and scale",
    "group": "protocols",
    "inputs": {
        "own": "results/{experiment}/tables/leaderboard.tsv",
        "others": "results/{other_window}/tables/leaderboard.tsv",
    },
}


@styled
def plot(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> Figure:
    """Draw both scores of every method."""
    return plot_contrast(table, settings or {})


def caption(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> str:
    """Say what differs between the experiments."""
    others = ", ".join(name for name in dict.fromkeys(table["experiment"]) if name != table["base"].iloc[0])
    patients = (settings or {}).get("n_patients")
    sample = f" (n = {count(int(patients), 'patient')})" if patients else ""
    return (
        f"Mean r of {count(table['method'].nunique(), 'method')} in this experiment (full) and in {others} "
        f"(hollow or grey), with 95 % bootstrap intervals over patients{sample}; change: the largest. They "
        "differ in the width or the scale of the patches. Descriptive; no test." + scores_note(settings)
    )


def draw(inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """Read the leader boards and draw them side by side."""
    table = require_rows(tidy_contrast(read_boards(inputs)), "the experiments share no scored method.")
    return plot(table, settings), table
