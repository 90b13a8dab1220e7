"""Graphs of neighbouring spots, and layers that pass messages along them.

A graph is a boolean matrix: row i marks the spots that spot i listens to.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from histobench.imaging.grid import GRIDS, nearest_pairs

# Nearest neighbours of a spot of a square grid, which published numbers of neighbours refer to.
_RING = 4


def nearest_neighbours(
    positions: np.ndarray,
    k: int,
    *,
    grid: str = "square",
    reach: float | None = None,
    self_loops: bool = False,
) -> np.ndarray:
    """Return which spots each spot listens to: those nearest on the grid, itself excluded.

    Parameters
    ----------
    positions
        Grid positions, (spots, 2), those of arrays rounded.
    k
        Neighbours per spot on a square grid, of which four share an edge with a spot; fewer where the section
        has fewer spots. On a hexagonal array half as many more, so that four are the ring of six and no
        direction is preferred. The graph is directed.
    grid
        Kind of grid.
    reach
        Longest edge, in pitches; None for any.
    self_loops
        Let every spot also listen to itself.

    Returns
    -------
    numpy.ndarray
        bool, (spots, spots). A spot that has no neighbour listens to itself, so that no row is empty.

    Notes
    -----
    Equally near spots are taken in the order of their x, then y position, so that the graph follows from
    positions alone and not from the order of spots.
    """
    place = np.asarray(positions).reshape(-1, 2)
    ring = len(GRIDS[grid].nearest) or _RING
    spot, other = nearest_pairs(grid, place[:, 0], place[:, 1], -(-k * ring // _RING), reach=reach)
    n = len(place)
    graph = np.zeros((n, n), dtype=bool)
    graph[spot, other] = True
    itself = np.arange(n) if self_loops else np.setdiff1d(np.arange(n), spot)
    graph[itself, itself] = True
    return graph


def mean_weights(graph: torch.Tensor) -> torch.Tensor:
    """Turn a graph into float32 weights whose rows sum to one."""
    weights = graph.float()
    return weights / weights.sum(dim=1, keepdim=True).clamp_min(1.0)


class NeighbourMean(nn.Module):
    """Mean over neighbours, linear map without bias, ReLU, then unit length (Hist2ST's graph layer)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, width))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Map (spots, width) to (spots, width); ``weights`` are those of :func:`mean_weights`."""
        return functional.normalize(functional.relu((weights @ x) @ self.weight), dim=1)


class GraphAttention(nn.Module):
    """Attention over neighbours: softmax of LeakyReLU(a . [W h_i, W h_j]) (Velickovic et al. 2018).

    Parameters
    ----------
    width, out_width
        Numbers per spot before, and per head after.
    heads
        Their outputs are concatenated.
    dropout
        Of attention weights.
    over
        "neighbours": the weights of each spot sum to one over the spots that it listens to, as the
        THItoGene paper writes (Eq. 14). "receivers": the weights of each *sender* sum to one over the
        spots that listen to it, and a spot that nobody listens to is spread over all spots alike, which
        is what THItoGene's released code computes because its graph carries a leading axis of length one.
    concatenate
        Mix each spot's own projection with the mean of its neighbours by a linear layer with bias, as the
        THItoGene paper writes (Eq. 16); the released code uses the mean alone.
    """

    def __init__(
        self,
        width: int,
        out_width: int,
        *,
        heads: int = 1,
        dropout: float = 0.0,
        over: str = "neighbours",
        concatenate: bool = False,
        slope: float = 0.01,
        gain: float = 1.414,
    ) -> None:
        super().__init__()
        if over not in ("neighbours", "receivers"):
            raise ValueError(f"over: {over!r} is neither 'neighbours' nor 'receivers'")
        self.heads, self.out_width, self.over, self.slope = heads, out_width, over, slope
        self.weight = nn.Parameter(torch.empty(width, heads, out_width))
        self.receiver = nn.Parameter(torch.empty(heads, out_width))
        self.sender = nn.Parameter(torch.empty(heads, out_width))
        # Xavier uniform of each head's own matrices: (width x out_width) and (2 out_width x 1)
        bound = gain * (6 / (width + out_width)) ** 0.5
        nn.init.uniform_(self.weight, -bound, bound)
        bound = gain * (6 / (2 * out_width + 1)) ** 0.5
        nn.init.uniform_(self.receiver, -bound, bound)
        nn.init.uniform_(self.sender, -bound, bound)
        self.mix = nn.ModuleList(
            nn.Linear(2 * out_width, out_width) for _ in range(heads if concatenate else 0)
        )
        self.dropout = nn.Dropout(dropout)

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """Return W h of every head, (heads, spots, out_width)."""
        flat = x @ self.weight.reshape(len(self.weight), -1)
        return flat.reshape(len(x), self.heads, self.out_width).transpose(0, 1)

    def attention(self, projected: torch.Tensor, graph: torch.Tensor) -> torch.Tensor:
        """Return the weight that spot i (row) gives to spot j (column), (heads, spots, spots), float32."""
        values = projected.float()
        to = (values * self.receiver[:, None, :]).sum(dim=2)
        of = (values * self.sender[:, None, :]).sum(dim=2)
        score = functional.leaky_relu(to[:, :, None] + of[:, None, :], self.slope)
        # finite, so that a column without any edge becomes uniform and not NaN
        score = score.masked_fill(~graph, torch.finfo(score.dtype).min)
        return torch.softmax(score, dim=2 if self.over == "neighbours" else 1)

    def forward(self, x: torch.Tensor, graph: torch.Tensor) -> torch.Tensor:
        """Map (spots, width) to (spots, heads * out_width); ``graph`` is boolean, (spots, spots)."""
        projected = self.project(x)
        weights = self.dropout(self.attention(projected, graph)).to(projected.dtype)
        heads = list(torch.bmm(weights, projected))
        for number, mix in enumerate(self.mix):
            heads[number] = mix(torch.cat([projected[number], heads[number]], dim=1))
        return torch.cat(heads, dim=1)
