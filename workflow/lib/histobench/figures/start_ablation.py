"""What going on from models of another cohort does to scores (Chen et al. 2024, HE2Gene, Supp. Fig. S8).

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
    "title": "Effect of fine-tuning",
    "group": "protocols",
    "inputs": {
        "own": "results/{experiment}/tables/leaderboard.tsv",
        "others": "results/{other_start}/tables/leaderboard.tsv",
    },
    "settings": ["also_differs"],
}


def caption(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> str:
    """Say what differs between the experiments."""
    return contrast_caption(table, settings, "whether networks go on from models of another cohort", "start")
