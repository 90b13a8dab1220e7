"""Efficient-CapsNet: capsules from a small stack of convolutions, and routing by self-attention.

Mazzia V, Salvetti F, Chiaberge M. Efficient-CapsNet: capsule network with self-attention routing.
Scientific Reports 11, 14634 (2021); the variant is that of THItoGene (Jia et al. 2024).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from histobench.networks.norms import BatchNorm2d

KERNELS = (5, 3, 3, 3)
STRIDES = (1, 1, 1, 2)


def squash(s: torch.Tensor) -> torch.Tensor:
    """Shrink vectors along the last axis to length 1 - exp(-length), keeping their direction."""
    # a floor under the squared length: the gradient of a square root at zero is infinite
    length = (s * s).sum(dim=-1, keepdim=True).clamp_min(1e-20).sqrt()
    return s * (-torch.expm1(-length) / length)


def map_width(width: int) -> int:
    """Width of the maps after the convolutions of :class:`PrimaryCapsules`; below one, they do not fit."""
    for kernel, stride in zip(KERNELS, STRIDES, strict=True):
        width = (width - kernel) // stride + 1
    return width


class PrimaryCapsules(nn.Module):
    """Four valid convolutions with batch normalisation and ReLU, then one capsule per group of channels.

    Parameters
    ----------
    channels
        Channels of the input and after each of the four convolutions.
    input_width
        Width of the input maps.
    capsule_width
        Numbers per capsule; divides the last number of channels.
    """

    def __init__(self, channels: Sequence[int], input_width: int, capsule_width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for (before, after), kernel, stride in zip(
            itertools.pairwise(channels), KERNELS, STRIDES, strict=True
        ):
            convolution = nn.Conv2d(before, after, kernel, stride=stride)
            nn.init.kaiming_normal_(convolution.weight)  # as released; the collapsing one starts as PyTorch's
            layers += [convolution, BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        last = channels[-1]
        # as wide as the map: one number per channel remains
        self.collapse = nn.Conv2d(last, last, map_width(input_width), groups=last)
        self.capsule_width = capsule_width

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (spots, channels, width, width) to (spots, capsules, capsule_width)."""
        values = self.collapse(self.layers(maps))
        return squash(values.reshape(len(maps), -1, self.capsule_width))


class AttentionRouting(nn.Module):
    """One pass of self-attention from capsules below to capsules above; nothing is iterated.

    For capsule k above and i below, u(k, i) = W(k, i) s(i); the agreement of u(k, i) is its dot product
    with the sum of u(k, j) over all j, divided by the square root of the width above. Softmax runs over
    the capsules above; a learnt prior is added after it.

    Parameters
    ----------
    below, below_width, above, above_width
        Number and width of capsules in and out.
    """

    def __init__(self, below: int, below_width: int, above: int, above_width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(above, below, below_width, above_width))
        nn.init.kaiming_normal_(self.weight)  # its fan-in is below * below_width * above_width
        self.prior = nn.Parameter(torch.zeros(above, below))

    def coupling(self, votes: torch.Tensor) -> torch.Tensor:
        """Return the weight of each vote, (spots, above, below), of votes (spots, above, below, width)."""
        agreement = (votes * votes.sum(dim=2, keepdim=True)).sum(dim=3) / votes.shape[3] ** 0.5
        return torch.softmax(agreement, dim=1) + self.prior

    def forward(self, capsules: torch.Tensor) -> torch.Tensor:
        """Map (spots, below, below_width) to (spots, above, above_width)."""
        votes = torch.einsum("nid,kide->nkie", capsules, self.weight)
        return squash((self.coupling(votes)[..., None] * votes).sum(dim=2))
