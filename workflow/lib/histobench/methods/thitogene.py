"""THItoGene: dynamic convolution, capsules, transformer and graph attention.

Jia Y, Liu J, Chen L, Zhao T, Wang Y. THItoGene: a deep learning method for predicting spatial
transcriptomics from histological images. Briefings in Bioinformatics 25, bbad464 (2024).

Where paper and released code differ: attention over the graph is normalised over the neighbours of each
spot, as the paper writes; the released code normalises over the receiving spots (``graph_attention:
as_released`` does the same). Capsule agreement is scaled by the width of the capsules above, kernel
weights of the dynamic convolution are a softmax, and neighbours alone are aggregated, as released.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import nn
from torch.nn import functional

from histobench.bounds import Count, Counts, NonNegative, Pixels, Positive, Precision, Rate, Whole, one_of
from histobench.errors import UserError
from histobench.networks.capsule import AttentionRouting, PrimaryCapsules, map_width
from histobench.networks.chunks import by_chunks
from histobench.networks.dynamic_conv import DynamicConv2d
from histobench.networks.graph import GraphAttention, nearest_neighbours
from histobench.networks.transformer import GridEmbedding, transformer
from histobench.training.contract import SectionData
from histobench.training.network_method import Shape, Start
from histobench.training.sections import SELECTIONS, SectionMethod, scaled_pixels

CAPSULES = ("routing", "pooled", "flattened")
GRAPH_ATTENTION = {"neighbours": "neighbours", "as_released": "receivers", "none": None}
STEM_KERNEL = 4


class GraphEncoder(nn.Module):
    """Two layers of graph attention: several heads, then one; ELU after each."""

    def __init__(
        self,
        width: int,
        heads: int,
        head_width: int,
        out: int,
        *,
        dropout: float,
        over: str,
        concatenate: bool,
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.inner = GraphAttention(
            width, head_width, heads=heads, dropout=dropout, over=over, concatenate=concatenate
        )
        self.outer = GraphAttention(
            heads * head_width, out, dropout=dropout, over=over, concatenate=concatenate
        )

    def forward(self, x: torch.Tensor, graph: torch.Tensor) -> torch.Tensor:
        """Map (spots, width) to (spots, out)."""
        inner = functional.elu(self.inner(self.dropout(x), graph))
        return functional.elu(self.outer(self.dropout(inner), graph))


class PlainEncoder(nn.Module):
    """What replaces graph attention in its ablation: each spot on its own."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, out)

    def forward(self, x: torch.Tensor, graph: torch.Tensor) -> torch.Tensor:
        """Map (spots, width) to (spots, out)."""
        return functional.elu(self.layer(x))


class THItoGeneNetwork(nn.Module):
    """Patches, grid positions and graph of a section -> expression.

    Parameters
    ----------
    input_px
        Width of patches.
    n_genes
        Number of genes.
    dynamic_conv, kernels, stem_channels, capsules, capsule_channels, primary_width, n_capsules,
    capsule_width, depth, heads, head_width, hidden, graph_attention, graph_heads, graph_width, graph_out,
    concatenate, head_hidden, dropout, positions, position_sd, pixel_divisor
        See :class:`THItoGene`.
    """

    def __init__(
        self,
        input_px: int,
        n_genes: int,
        *,
        dynamic_conv: bool = True,
        kernels: int = 4,
        stem_channels: int = 16,
        capsules: str = "routing",
        capsule_channels: Sequence[int] = (32, 64, 64, 128),
        primary_width: int = 8,
        n_capsules: int = 20,
        capsule_width: int = 64,
        depth: int = 4,
        heads: int = 16,
        head_width: int = 64,
        hidden: int = 2048,
        graph_attention: str = "neighbours",
        graph_heads: int = 8,
        graph_width: int = 1024,
        graph_out: int = 512,
        concatenate: bool = False,
        head_hidden: int = 1024,
        dropout: float = 0.2,
        positions: int = 64,
        position_sd: float = 1.0,
        pixel_divisor: float = 1.0,
    ) -> None:
        super().__init__()
        if capsules not in CAPSULES:
            raise UserError(f"capsules {capsules!r}: choose one of {', '.join(CAPSULES)}.")
        if graph_attention not in GRAPH_ATTENTION:
            raise UserError(
                f"graph_attention {graph_attention!r}: choose one of {', '.join(GRAPH_ATTENTION)}."
            )
        self.pixel_divisor = pixel_divisor
        stem = (
            DynamicConv2d(3, stem_channels, kernel=STEM_KERNEL, stride=STEM_KERNEL, candidates=kernels)
            if dynamic_conv
            else nn.Conv2d(3, stem_channels, STEM_KERNEL, stride=STEM_KERNEL)
        )
        features = _capsule_part(
            capsules,
            stem_channels,
            input_px // STEM_KERNEL,
            capsule_channels=capsule_channels,
            primary_width=primary_width,
            n_capsules=n_capsules,
            capsule_width=capsule_width,
        )
        self.patches = nn.Sequential(stem, nn.ReLU(), *features)
        self.position = GridEmbedding(positions, capsule_width, position_sd)
        width = (n_capsules + 2) * capsule_width
        # no blocks: no dropout before them either
        self.blocks = nn.Sequential(
            *([nn.Dropout(dropout)] if depth else []),
            transformer(width, depth, heads=heads, head_width=head_width, hidden=hidden, dropout=dropout),
        )
        over = GRAPH_ATTENTION[graph_attention]
        self.graph = (
            PlainEncoder(width, graph_out)
            if over is None
            else GraphEncoder(
                width,
                graph_heads,
                graph_width,
                graph_out,
                dropout=dropout,
                over=over,
                concatenate=concatenate,
            )
        )
        self.head = nn.Sequential(
            nn.Linear(graph_out, head_hidden),
            nn.ReLU(),
            nn.LayerNorm(head_hidden),
            nn.Linear(head_hidden, n_genes),
        )

    def forward(
        self, pixels: torch.Tensor, grid: torch.Tensor, graph: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return expression (spots, genes) and features (spots, graph_out).

        Parameters
        ----------
        pixels
            uint8, (spots, 3, input_px, input_px).
        grid
            Integer grid positions, (spots, 2).
        graph
            bool, (spots, spots): which spots each spot listens to.
        """
        capsules = by_chunks(self.patches, scaled_pixels(pixels, self.pixel_divisor))
        tokens = torch.cat([capsules, *self.position(grid)], dim=1)  # the positions are two more capsules
        features = self.graph(self.blocks(tokens), graph)
        return self.head(features), features


def _capsule_part(
    kind: str,
    channels: int,
    map_px: int,
    *,
    capsule_channels: Sequence[int],
    primary_width: int,
    n_capsules: int,
    capsule_width: int,
) -> list[nn.Module]:
    """Return the layers from the first maps to (spots, n_capsules * capsule_width)."""
    out = n_capsules * capsule_width
    if kind == "pooled":
        return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, out)]
    if kind == "flattened":
        return [nn.Flatten(), nn.Linear(channels * map_px**2, out)]
    if map_width(map_px) < 1:
        least = next(px for px in range(map_px, 1000) if map_width(px) >= 1) * STEM_KERNEL
        raise UserError(
            f"THItoGene: patches of {map_px * STEM_KERNEL} px are too small for its capsules; "
            f"set input_px of the method to at least {least}."
        )
    if capsule_channels[-1] % primary_width:
        raise UserError(
            f"capsule_channels ends in {capsule_channels[-1]}, which primary_width {primary_width} "
            "does not divide; change one of them."
        )
    return [
        PrimaryCapsules((channels, *capsule_channels), map_px, primary_width),
        AttentionRouting(capsule_channels[-1] // primary_width, primary_width, n_capsules, capsule_width),
        nn.Flatten(),
    ]


@dataclass(frozen=True, kw_only=True)
class THItoGene(SectionMethod[THItoGeneNetwork]):
    """Predict expression from all patches of a section, their positions and their neighbours.

    Parameters
    ----------
    input_px
        Width that patches are resized to where they differ; None keeps their width. At least 44 with
        capsules.
    pixel_divisor
        What pixel values are divided by: 1 (0 to 255, as released) or 255.
    dynamic_conv, kernels, stem_channels
        Whether the first convolution is dynamic (else ordinary, with bias); its candidate kernels and
        filters.
    capsules
        "routing" (Efficient-CapsNet), or what replaces it: "pooled" (mean of each channel, one linear
        layer) or "flattened" (all positions, one linear layer).
    capsule_channels, primary_width, n_capsules, capsule_width
        Channels of the four convolutions; width of the capsules below; number and width of those above.
    depth, heads, head_width, hidden
        Transformer blocks (0 leaves the transformer out); heads and their width; hidden width of the MLP.
    graph_attention
        "neighbours" (as the paper writes), "as_released" (normalised over receiving spots) or "none" (one
        linear layer per spot).
    graph_heads, graph_width, graph_out
        Heads of the first attention layer and their width; width of the second layer.
    neighbours, self_loops, concatenate
        Nearest spots that a spot listens to on a square grid, half as many more on a hexagonal array (four
        are its ring of six); whether it also listens to itself; whether its own features are mixed with those
        of its neighbours by a linear layer with bias (the paper's Eq. 16).
    head_hidden
        Hidden width of the last layers.
    dropout
        After the embedding, in transformer and graph attention.
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
    dynamic_conv: bool = True
    kernels: Count = 4
    stem_channels: Count = 16
    capsules: Annotated[str, one_of(CAPSULES)] = "routing"
    capsule_channels: Counts = (32, 64, 64, 128)
    primary_width: Count = 8
    n_capsules: Count = 20
    capsule_width: Count = 64
    depth: Whole = 4
    heads: Count = 16
    head_width: Count = 64
    hidden: Count = 2048
    graph_attention: Annotated[str, one_of(GRAPH_ATTENTION)] = "neighbours"
    graph_heads: Count = 8
    graph_width: Count = 1024
    graph_out: Count = 512
    neighbours: Count = 4
    self_loops: bool = False
    concatenate: bool = False
    head_hidden: Count = 1024
    dropout: Rate = 0.2
    positions: Count = 64
    position_sd: NonNegative = 1.0
    epochs: Count = 300
    learning_rate: Positive = 1e-5
    standardise: bool = False
    selection: Annotated[str, one_of(SELECTIONS)] = "last"
    precision: Precision = "tf32"
    checkpoint_seconds: NonNegative = 60.0

    def network(self, shape: Shape, start: Start) -> THItoGeneNetwork:
        """Build the network."""
        return THItoGeneNetwork(
            shape.px,
            shape.genes,
            dynamic_conv=self.dynamic_conv,
            kernels=self.kernels,
            stem_channels=self.stem_channels,
            capsules=self.capsules,
            capsule_channels=self.capsule_channels,
            primary_width=self.primary_width,
            n_capsules=self.n_capsules,
            capsule_width=self.capsule_width,
            depth=self.depth,
            heads=self.heads,
            head_width=self.head_width,
            hidden=self.hidden,
            graph_attention=self.graph_attention,
            graph_heads=self.graph_heads,
            graph_width=self.graph_width,
            graph_out=self.graph_out,
            concatenate=self.concatenate,
            head_hidden=self.head_hidden,
            dropout=self.dropout,
            positions=self.positions,
            position_sd=self.position_sd,
            pixel_divisor=self.pixel_divisor,
        )

    def pair_bytes(self) -> int:
        """Return what every pair of spots takes at least."""
        # the graph, and of every head in training: scores, masked scores, their softmax
        return 1 if GRAPH_ATTENTION[self.graph_attention] is None else 1 + 12 * self.graph_heads

    def graph(self, section: SectionData) -> torch.Tensor:
        """Return which spots each spot listens to."""
        graph = nearest_neighbours(
            section.spots[["array_x", "array_y"]].to_numpy(float),
            self.neighbours,
            grid=section.grid,
            self_loops=self.self_loops,
        )
        return torch.from_numpy(graph)
