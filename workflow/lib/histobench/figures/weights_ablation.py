"""What pretrained weights do to scores (He et al. 2020): the same methods in two experiments of one run.

Inputs: ``own`` (the experiment's leader board), ``others`` (those of the experiments that differ in this).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from histobench.figures.contrasts import contrast_caption
from histobench.figures.contrasts import draw_contrast as draw

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FIGURE", "caption", "draw"]

FIGURE = {
    "title": "Effect of pretraining",
    "group": "protocols",
    "inputs": {
        "own": "results/{experiment}/tables/leaderboard.tsv",
        "others": "results/{other_weights}/tables/leaderboard.tsv",
    },
    "settings": ["also_differs"],
}


def caption(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> str:
    """Say what differs between the experiments."""
    return contrast_caption(table, settings, "the initial weights of networks", "weights")
