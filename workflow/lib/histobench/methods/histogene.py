"""HisToGene: a vision transformer whose tokens are the spots of a section.

Pang M, Su K, Li M. Leveraging information in spatial transcriptomics to predict super-resolution gene
expression from histology images in tumors. bioRxiv 2021.11.28.470212. Settings are those of the authors'
tutorial, which produced their results.

A patch is flattened (by channel, row and column) and embedded by one linear layer; learnt embeddings of
the spot's grid column and row are added; transformer blocks run over all spots of the section. Pixels
enter as 0 to 255, as released.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import nn

from histobench.bounds import Count, NonNegative, Pixels, Positive, Precision, Rate, one_of
from histobench.networks.transformer import GridEmbedding, transformer
from histobench.training.network_method import Shape, Start
from histobench.training.sections import SELECTIONS, SectionMethod, scaled_pixels


class HisToGeneNetwork(nn.Module):
    """Patches and grid positions of a section -> expression.

    Parameters
    ----------
    input_px
        Width of patches.
    n_genes
        Number of genes.
    width, depth, heads, head_width, hidden, dropout, positions, position_sd, pixel_divisor
        See :class:`HisToGene`.
    """

    def __init__(
        self,
        input_px: int,
        n_genes: int,
        *,
        width: int = 1024,
        depth: int = 8,
        heads: int = 16,
        head_width: int = 64,
        hidden: int = 2048,
        dropout: float = 0.1,
        positions: int = 64,
        position_sd: float = 1.0,
        pixel_divisor: float = 1.0,
    ) -> None:
        super().__init__()
        self.pixel_divisor = pixel_divisor
        self.patch = nn.Linear(3 * input_px**2, width)
        self.position = GridEmbedding(positions, width, position_sd)
        self.dropout = nn.Dropout(dropout)
        self.blocks = transformer(
            width, depth, heads=heads, head_width=head_width, hidden=hidden, dropout=dropout
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, n_genes))

    def forward(
        self, pixels: torch.Tensor, grid: torch.Tensor, graph: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return expression (spots, genes) and features (spots, width).

        Parameters
        ----------
        pixels
            uint8, (spots, 3, input_px, input_px).
        grid
            Integer grid positions, (spots, 2).
        graph
            Not used.
        """
        tokens = self.patch(scaled_pixels(pixels, self.pixel_divisor).flatten(1))
        across, down = self.position(grid)
        features = self.blocks(self.dropout(tokens + across + down))
        return self.head(features), features


@dataclass(frozen=True, kw_only=True)
class HisToGene(SectionMethod[HisToGeneNetwork]):
    """Predict expression from all patches of a section and their grid positions.

    Parameters
    ----------
    input_px
        Width that patches are resized to where they differ; None keeps their width.
    pixel_divisor
        What pixel values are divided by: 1 (0 to 255, as released) or 255.
    width
        Numbers per spot in the transformer.
    depth, heads, head_width, hidden
        Blocks; heads and their width; hidden width of the blocks' MLP.
    dropout
        After the embedding, the attention and the layers of the MLP.
    positions
        Rows of the two tables of position embeddings; grid positions must be smaller.
    position_sd
        Standard deviation of the position embeddings at the start.
    epochs, learning_rate
        Passes over the training sections, one section per step; step size of Adam.
    standardise
        Learn targets less their training mean, in units of their training sd; predictions are on the
        scale of the targets either way.
    selection
        "last" (weights of the last epoch) or "valid" (of the epoch that is best on validation patients).
    precision
        Of training and prediction, see :data:`histobench.bounds.Precision`.
    checkpoint_seconds
        Least time between checkpoints.
    """

    input_px: Pixels | None = 112
    pixel_divisor: Positive = 1.0
    width: Count = 1024
    depth: Count = 8
    heads: Count = 16
    head_width: Count = 64
    hidden: Count = 2048
    dropout: Rate = 0.1
    positions: Count = 64
    position_sd: NonNegative = 1.0
    epochs: Count = 100
    learning_rate: Positive = 1e-5
    standardise: bool = False
    selection: Annotated[str, one_of(SELECTIONS)] = "last"
    precision: Precision = "tf32"
    checkpoint_seconds: NonNegative = 60.0

    def network(self, shape: Shape, start: Start) -> HisToGeneNetwork:
        """Build the network."""
        return HisToGeneNetwork(
            shape.px,
            shape.genes,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            head_width=self.head_width,
            hidden=self.hidden,
            dropout=self.dropout,
            positions=self.positions,
            position_sd=self.position_sd,
            pixel_divisor=self.pixel_divisor,
        )
