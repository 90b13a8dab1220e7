"""Batch normalisation that neither a single spot nor a repeated forward pass breaks."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

_repeating = threading.local()  # a backward pass may run in a thread of its own


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation; where a channel has a single value, running statistics stand in for its own.

    A section of one spot has no variance between spots: PyTorch refuses to train on it. Inside
    :func:`recomputed` the running statistics count every batch once.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, channels, height, width) to the same shape."""
        if self.training and x.numel() == x.shape[1]:
            return functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        if self.training and getattr(_repeating, "now", False):
            assert self.running_mean is not None and self.running_var is not None
            # copies: the first pass has counted this batch
            running = self.running_mean.clone(), self.running_var.clone()
            return functional.batch_norm(x, *running, self.weight, self.bias, training=True, eps=self.eps)
        return super().forward(x)


@contextlib.contextmanager
def _repeat() -> Iterator[None]:
    _repeating.now = True
    try:
        yield
    finally:
        _repeating.now = False


def recomputed(
    function: Callable[..., tuple[torch.Tensor, torch.Tensor]], *inputs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Call ``function``, keep none of its intermediate results and compute them again when needed.

    Dropout draws the same masks again, and :class:`BatchNorm2d` does not count the batch twice: weights
    after a step are those of a plain call, bit for bit on a CPU, for less memory and one more forward pass.
    """
    out: tuple[torch.Tensor, torch.Tensor] = checkpoint(
        function, *inputs, use_reentrant=False, context_fn=lambda: (contextlib.nullcontext(), _repeat())
    )
    return out
