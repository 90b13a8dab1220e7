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
    values = torch.as_tensor(means, dtype=torch.float32)
    head = nn.Linear(dimension, len(values))
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(values)
    return head


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
