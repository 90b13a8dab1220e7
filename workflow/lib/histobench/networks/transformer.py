"""Transformers over the spots of a section, and learnt embeddings of grid positions."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class SelfAttention(nn.Module):
    """Multi-head self-attention: one projection to queries, keys and values without bias.

    Attention weights are not dropped. They are never stored: PyTorch's fused kernels take memory
    proportional to the number of spots, not to its square.

    Parameters
    ----------
    width
        Numbers per spot.
    heads, head_width
        Number of heads and numbers per head; their product need not be ``width``.
    dropout
        After the output projection.
    """

    def __init__(self, width: int, heads: int, head_width: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * heads * head_width, bias=False)
        self.out = nn.Linear(heads * head_width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (spots, width) to (spots, width)."""
        n = len(x)
        query, key, value = self.project(x).reshape(n, 3, self.heads, -1).permute(1, 2, 0, 3).unsqueeze(1)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        joined = mixed.squeeze(0).transpose(0, 1).reshape(n, -1)
        out: torch.Tensor = self.dropout(self.out(joined))
        return out


class TransformerBlock(nn.Module):
    """Pre-norm block: x + attention(norm(x)), then x + MLP(norm(x)) with GELU.

    Parameters
    ----------
    width, heads, head_width, dropout
        See :class:`SelfAttention`; the MLP drops after both of its layers.
    hidden
        Hidden width of the MLP.
    """

    def __init__(self, width: int, heads: int, head_width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, head_width, dropout)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (spots, width) to (spots, width)."""
        x = x + self.attention(self.attention_norm(x))
        out: torch.Tensor = x + self.mlp(self.mlp_norm(x))
        return out


def transformer(
    width: int, depth: int, *, heads: int, head_width: int, hidden: int, dropout: float
) -> nn.Sequential:
    """Return ``depth`` blocks in series, without class token and without a last normalisation."""
    return nn.Sequential(*(TransformerBlock(width, heads, head_width, hidden, dropout) for _ in range(depth)))


class GridEmbedding(nn.Module):
    """One learnt vector for each column and one for each row of the spot grid.

    Parameters
    ----------
    positions
        Rows of each of the two tables: grid positions run from 0 to ``positions - 1``.
    width
        Numbers per position.
    sd
        Standard deviation of the numbers at the start; 1 is PyTorch's own.
    """

    def __init__(self, positions: int, width: int, sd: float = 1.0) -> None:
        super().__init__()
        self.x = nn.Embedding(positions, width)
        self.y = nn.Embedding(positions, width)
        with torch.no_grad():
            for table in (self.x, self.y):
                table.weight.mul_(sd)

    def forward(self, grid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the vectors of x and of y, each (spots, width), of integer positions (spots, 2)."""
        return self.x(grid[:, 0]), self.y(grid[:, 1])
