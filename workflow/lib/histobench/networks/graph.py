"""Graphs of neighbouring spots, and layers that pass messages along them.

A graph is a boolean matrix: row i marks the spots that spot i listens to.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional


def nearest_neighbours(
    grid: np.ndarray, k: int, *, reach: float | None = None, self_loops: bool = False
) -> np.ndarray:
    """Return which spots each spot listens to: its ``k`` nearest on the grid, itself excluded.

    Parameters
    ----------
    grid
        Integer grid positions, (spots, 2).
    k
        Neighbours per spot; fewer where the section has fewer spots. The graph is directed.
    reach
        Longest edge, in grid steps; None for any.
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
    place = np.asarray(grid, dtype=np.int64)
    n = len(place)
    rank = np.empty(n, dtype=np.int64)
    rank[np.lexsort((place[:, 1], place[:, 0]))] = np.arange(n)
    squared = ((place[:, None, :] - place[None, :, :]) ** 2).sum(axis=2)
    key = squared * n + rank
    np.fill_diagonal(key, np.iinfo(np.int64).max)
    graph = np.zeros((n, n), dtype=bool)
    near = np.argsort(key, axis=1, kind="stable")[:, : min(k, n - 1)]
    np.put_along_axis(graph, near, True, axis=1)
    if reach is not None:
        graph &= squared <= reach * reach
    alone = ~graph.any(axis=1)
    itself = np.flatnonzero(alone) if not self_loops else np.arange(n)
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
