"""Heads of HE2RNA on frozen features (Schmauch et al. 2020; adapted by Chen et al. 2024)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from histobench.networks.heads import mean_head

HIDDEN = 1024
HEADS = ("adapted", "original")


def he2rna_head(kind: str, dimension: int, means: Any, hidden: int = HIDDEN) -> nn.Sequential:
    """Return the layers from features to genes.

    Parameters
    ----------
    kind
        "adapted" (HE2Gene's baseline): two linear layers without anything between them, so a linear map of
        limited rank. "original": two hidden layers, each with ReLU and dropout 0.25, and the last bias set
        to the training means.
    dimension
        Number of features.
    means
        Training mean of each gene.
    hidden
        Width of the hidden layers.
    """
    genes = len(means)
    if kind == "adapted":
        return nn.Sequential(nn.Linear(dimension, hidden), nn.Linear(hidden, genes))
    if kind != "original":
        raise ValueError(f"head {kind!r}: choose one of {', '.join(HEADS)}")
    last = nn.Linear(hidden, genes)
    with torch.no_grad():
        last.bias.copy_(mean_head(1, means).bias)
    parts: list[nn.Module] = []
    for width in (dimension, hidden):
        parts += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(0.25)]
    return nn.Sequential(*parts, last)
