"""Run a network over many patches in pieces, where that changes nothing."""

from __future__ import annotations

import torch
from torch import nn

CHUNK = 256


def by_chunks(module: nn.Module, x: torch.Tensor, size: int = CHUNK) -> torch.Tensor:
    """Apply ``module`` to (batch, ...); in evaluation mode to ``size`` rows at a time, to bound memory.

    In training mode the batch stays whole: batch statistics belong to all of it.
    """
    if module.training or len(x) <= size:
        whole: torch.Tensor = module(x)
        return whole
    return torch.cat([module(part) for part in x.split(size)])
