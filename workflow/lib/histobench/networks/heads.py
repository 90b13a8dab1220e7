"""Regression on top of a backbone."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from histobench.networks.backbones import Backbone, PixelNorm


def mean_head(dimension: int, means: Any) -> nn.Linear:
    """Return a linear layer that starts as the mean predictor: zero weight, the means as bias.

    He et al. 2020 (ST-Net): the untrained network predicts the training mean of every gene exactly.
    """
    head = nn.Linear(dimension, len(means))
    start_as_mean(head, means)
    return head


def start_as_mean(head: nn.Module, means: Any) -> None:
    """Let a linear layer start as the mean predictor, as :func:`mean_head` does."""
    if not isinstance(head, nn.Linear):
        raise TypeError("only a linear layer can start as the mean")
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.as_tensor(means, dtype=torch.float32))


class ScaledLinear(nn.Module):
    """One linear layer on features that are scaled first; mean 0 and sd 1 change nothing.

    Mean and sd are float64 buffers, so that they are stored with the weights.
    """

    mean: torch.Tensor
    sd: torch.Tensor

    def __init__(self, dimension: int, genes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dimension, dtype=torch.float64))
        self.register_buffer("sd", torch.ones(dimension, dtype=torch.float64))
        self.layer = nn.Linear(dimension, genes)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return float32 (batch, genes)."""
        scaled: torch.Tensor = ((features - self.mean) / self.sd).float()
        out: torch.Tensor = self.layer(scaled)
        return out


class Regressor(nn.Module):
    """Pixels -> features -> expression.

    Parameters
    ----------
    norm
        Pixel normalisation, uint8 to float32.
    backbone
        Network from pixels to features.
    head
        Layer, or layers, from features to genes.
    """

    def __init__(self, norm: PixelNorm, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.backbone = backbone.module
        self.head = head

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return expression (batch, genes) and features (batch, dimension) of uint8 patches."""
        features = self.backbone(self.norm(pixels))
        return self.head(features), features
