"""Batch normalisation that a single spot does not break."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation; where a channel has a single value, running statistics stand in for its own.

    A section of one spot has no variance between spots: PyTorch refuses to train on it.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, channels, height, width) to the same shape."""
        if self.training and x.numel() == x.shape[1]:
            return functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        return super().forward(x)
