"""ConvMixer blocks as Hist2ST uses them."""

from __future__ import annotations

import torch
from torch import nn

from histobench.networks.norms import BatchNorm2d


class ConvMixerBlock(nn.Module):
    """Two depthwise convolutions beside an identity, then a pointwise one.

    The depthwise part normalises before GELU, the pointwise part after it, as in Hist2ST's released code.

    Parameters
    ----------
    channels
        Channels in and out.
    kernel
        Odd width of the depthwise kernels; maps keep their size.
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [
                nn.Conv2d(channels, channels, kernel, padding="same", groups=channels),
                BatchNorm2d(channels),
                nn.GELU(),
            ]
        self.depthwise = nn.Sequential(*layers)
        self.pointwise = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.GELU(), BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, channels, height, width) to the same shape."""
        out: torch.Tensor = self.pointwise(x + self.depthwise(x))
        return out
