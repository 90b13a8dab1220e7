"""Hist2ST: ConvMixer on patches, transformer over the section, graph layers between neighbours.

Zeng Y, Wei Z, Yu W, et al. Spatial transcriptomics prediction from histology jointly through transformer and
graph neural networks. Briefings in Bioinformatics 23, bbac297 (2022). Settings are those of the authors'
training script.

The loss has three parts: squared errors of the log-normalised panel, a zero-inflated negative binomial
likelihood of its raw counts, and self-distillation: a learnt mixture of predictions for augmented copies
of the section should equal the prediction for the section itself. Only the first part's head predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torchvision.transforms import functional as images

from histobench.bounds import (
    Count,
    NonNegative,
    Pixels,
    Positive,
    PositiveShare,
    Precision,
    Rate,
    Whole,
    one_of,
)
from histobench.errors import UserError
from histobench.networks.chunks import by_chunks
from histobench.networks.convmixer import ConvMixerBlock
from histobench.networks.graph import NeighbourMean, mean_weights, nearest_neighbours
from histobench.networks.norms import recomputed
from histobench.networks.transformer import GridEmbedding, transformer
from histobench.networks.zinb import ZINB, ZINBHead, zinb_loss
from histobench.training.contract import Context, SectionData
from histobench.training.network_method import Shape, Start
from histobench.training.sections import (
    SELECTIONS,
    Section,
    SectionMethod,
    mean_squared,
    scaled_pixels,
)

# Of the released augmentation; one draw for all spots of a section, because it is turned as one batch.
GREY_PROBABILITY = 0.1
TURN_DEGREES = 90.0
FLIP_PROBABILITY = 0.2


class Hist2STNetwork(nn.Module):
    """Patches, grid positions and graph of a section -> features, and the heads on them.

    Parameters
    ----------
    input_px
        Width of patches.
    n_genes
        Number of genes.
    patch_kernel, mixer_kernel, channels, squeeze, mixer_depth, depth, graph_depth, heads, head_width,
    dropout, positions, position_sd, pixel_divisor
        See :class:`Hist2ST`.
    """

    def __init__(
        self,
        input_px: int,
        n_genes: int,
        *,
        patch_kernel: int = 7,
        mixer_kernel: int = 5,
        channels: int = 32,
        squeeze: int = 8,
        mixer_depth: int = 2,
        depth: int = 8,
        graph_depth: int = 4,
        heads: int = 16,
        head_width: int = 64,
        dropout: float = 0.2,
        positions: int = 64,
        position_sd: float = 1.0,
        pixel_divisor: float = 1.0,
    ) -> None:
        super().__init__()
        if input_px < patch_kernel or channels < squeeze:
            raise UserError(
                f"Hist2ST: patches of {input_px} px and {channels} channels leave no feature with "
                f"patch_kernel {patch_kernel} and squeeze {squeeze}; "
                "set input_px and channels to at least these."
            )
        width = (input_px // patch_kernel) ** 2 * (channels // squeeze)
        self.pixel_divisor = pixel_divisor
        self.patches = nn.Sequential(
            nn.Conv2d(3, channels, patch_kernel, stride=patch_kernel),
            nn.Dropout(dropout),
            *(ConvMixerBlock(channels, mixer_kernel) for _ in range(mixer_depth)),
            nn.Conv2d(channels, channels // squeeze, 1),
            nn.Flatten(),
        )
        self.position = GridEmbedding(positions, width, position_sd)
        self.blocks = transformer(
            width, depth, heads=heads, head_width=head_width, hidden=width, dropout=dropout
        )
        self.graph = nn.ModuleList(NeighbourMean(width) for _ in range(graph_depth))
        self.lstm = nn.LSTM(width, width, num_layers=2)
        self.gene_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, n_genes))
        self.counts_head = ZINBHead(width, n_genes)
        self.coefficient_head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))

    def encode(self, pixels: torch.Tensor, grid: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return features, (spots, width).

        Parameters
        ----------
        pixels
            uint8, (spots, 3, input_px, input_px).
        grid
            Integer grid positions, (spots, 2).
        weights
            Weights of neighbours, (spots, spots), rows summing to one.
        """
        across, down = self.position(grid)
        x = self.blocks(by_chunks(self.patches, scaled_pixels(pixels, self.pixel_divisor)) + across + down)
        layers = []
        for layer in self.graph:
            x = layer(x, weights)
            layers.append(x)
        # the layers are the sequence: (graph layers, spots, width)
        joined: torch.Tensor = self.lstm(torch.stack(layers))[0].mean(dim=0)
        return joined

    def forward(
        self, pixels: torch.Tensor, grid: torch.Tensor, weights: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return expression (spots, genes) and features (spots, width)."""
        features = self.encode(pixels, grid, weights)
        return self.gene_head(features), features

    def all_heads(
        self, pixels: torch.Tensor, grid: torch.Tensor, weights: torch.Tensor
    ) -> tuple[torch.Tensor, ZINB]:
        """Return expression and the parameters of raw counts."""
        features = self.encode(pixels, grid, weights)
        return self.gene_head(features), self.counts_head(features)

    def vote(
        self, pixels: torch.Tensor, grid: torch.Tensor, weights: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return expression (spots, genes) and its unnormalised weight (spots, 1) among augmented copies."""
        features = self.encode(pixels, grid, weights)
        return self.gene_head(features), self.coefficient_head(features)


def augmented(pixels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Grey, turn and mirror all patches of a section by one draw; corners that turn in become zero.

    Parameters
    ----------
    pixels
        uint8, (spots, 3, width, width).
    rng
        Source of the draw.
    """
    grey, turn, flip = rng.random(), rng.uniform(-TURN_DEGREES, TURN_DEGREES), rng.random()
    if grey < GREY_PROBABILITY:
        pixels = images.rgb_to_grayscale(pixels, num_output_channels=3)
    pixels = images.rotate(pixels, turn)
    return images.hflip(pixels) if flip < FLIP_PROBABILITY else pixels


def copy_weights(votes: torch.Tensor) -> torch.Tensor:
    """Turn the votes (copies, spots, 1) for augmented copies into weights that sum to one per spot."""
    return torch.softmax(votes.float(), dim=0)


def size_factors(counts: np.ndarray) -> np.ndarray:
    """Return each spot's panel counts over their median in the section, float32, (spots,).

    A section whose median is zero is divided by one.
    """
    total: np.ndarray = np.asarray(counts).sum(axis=1, dtype=np.float64)
    median = float(np.median(total))
    return (total / (median if median > 0 else 1.0)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Hist2ST(SectionMethod[Hist2STNetwork]):
    """Predict expression from all patches of a section, their positions and their neighbours.

    Parameters
    ----------
    input_px
        Width that patches are resized to where they differ; None keeps their width.
    pixel_divisor
        What pixel values are divided by: 1 (0 to 255, as released) or 255.
    patch_kernel
        Width and step of the first convolution.
    mixer_kernel, channels, mixer_depth
        Depthwise kernel, channels and number of ConvMixer blocks.
    squeeze
        Channels are reduced by this factor before maps are flattened.
    depth, heads, head_width
        Transformer blocks; heads and their width. Model and MLP width follow from the patch:
        ``(input_px // patch_kernel)**2 * (channels // squeeze)``.
    graph_depth
        Graph layers.
    dropout
        On the first map, after attention and in the MLP.
    positions
        Rows of the two tables of position embeddings; grid positions must be smaller.
    position_sd
        Standard deviation of the position embeddings at the start.
    neighbours, reach, self_loops
        Nearest spots that a spot listens to on a square grid, half as many more on a hexagonal array (four
        are its ring of six); longest edge in pitches (None for any); whether it also listens to itself.
        A spot without neighbour listens to itself in any case.
    zinb_weight
        Weight of the count likelihood in the loss.
    copies, distillation_weight
        Augmented copies per step, and the weight of self-distillation. No copies: no distillation.
    epochs, learning_rate, decay, decay_epochs
        Passes over the training sections, one section per step; step size of Adam, multiplied by
        ``decay`` every ``decay_epochs``.
    standardise
        Learn targets less their training mean, in units of their training sd, and counts
        in units of their training mean; predictions are on the
        scale of the targets either way.
    selection
        "last" (weights of the last epoch) or "valid" (of the epoch that is best on validation patients).
    checkpointing
        Compute intermediate results of augmented copies twice instead of keeping them: the same result
        for a third of the memory and about a quarter more time.
    precision
        Of training and prediction, see :data:`histobench.bounds.Precision`; the count likelihood is float64.
    checkpoint_seconds
        Least time between checkpoints.
    """

    input_px: Pixels | None = 112
    pixel_divisor: Positive = 1.0
    patch_kernel: Count = 7
    mixer_kernel: Count = 5
    channels: Count = 32
    squeeze: Count = 8
    mixer_depth: Count = 2
    depth: Count = 8
    graph_depth: Count = 4
    heads: Count = 16
    head_width: Count = 64
    dropout: Rate = 0.2
    positions: Count = 64
    position_sd: NonNegative = 1.0
    neighbours: Count = 4
    reach: Positive | None = 2.0
    self_loops: bool = False
    zinb_weight: NonNegative = 0.25
    copies: Whole = 5
    distillation_weight: NonNegative = 0.5
    epochs: Count = 350
    learning_rate: Positive = 1e-5
    decay: PositiveShare = 0.9
    decay_epochs: Count = 50
    standardise: bool = False
    selection: Annotated[str, one_of(SELECTIONS)] = "last"
    checkpointing: bool = True
    precision: Precision = "tf32"
    checkpoint_seconds: NonNegative = 60.0

    def network(self, shape: Shape, start: Start) -> Hist2STNetwork:
        """Build the network."""
        return Hist2STNetwork(
            shape.px,
            shape.genes,
            patch_kernel=self.patch_kernel,
            mixer_kernel=self.mixer_kernel,
            channels=self.channels,
            squeeze=self.squeeze,
            mixer_depth=self.mixer_depth,
            depth=self.depth,
            graph_depth=self.graph_depth,
            heads=self.heads,
            head_width=self.head_width,
            dropout=self.dropout,
            positions=self.positions,
            position_sd=self.position_sd,
            pixel_divisor=self.pixel_divisor,
        )

    def pair_bytes(self) -> int:
        """Return what every pair of spots takes at least."""
        return 5  # a bool of the graph and a float32 of its weights

    def graph(self, section: SectionData) -> torch.Tensor:
        """Return which spots each spot listens to."""
        graph = nearest_neighbours(
            section.spots[["array_x", "array_y"]].to_numpy(float),
            self.neighbours,
            grid=section.grid,
            reach=self.reach,
            self_loops=self.self_loops,
        )
        return mean_weights(torch.from_numpy(graph))

    def extra(self, section: SectionData, context: Context) -> dict[str, torch.Tensor]:
        """Return raw counts of the panel and each spot's size factor."""
        if section.counts is None:
            raise ValueError(f"section {section.section} comes without counts")
        place = {gene: column for column, gene in enumerate(context.all_genes)}
        counts = section.counts.tocsc()[:, [place[gene] for gene in context.genes]].toarray()
        return {
            "counts": torch.from_numpy(counts.astype(np.float32)),
            "size_factor": torch.from_numpy(size_factors(counts)),
        }

    def standardise_targets(self, sections: Sequence[Section]) -> None:
        """Do so for the counts, too: their predicted mean starts near one, far from the hundreds of some."""
        super().standardise_targets(sections)
        extras = [section.extra for section in sections if section.extra is not None]
        counts = torch.cat([extra["counts"] for extra in extras]).double().sum(dim=0)
        depth = torch.cat([extra["size_factor"] for extra in extras]).double().sum().clamp_min(1e-6)
        # a gene without any count has no scale
        mean = torch.where(counts > 0, counts / depth, torch.ones_like(counts)).float()
        for extra in extras:
            extra["size_factor"] = extra["size_factor"][:, None] * mean

    def section_loss(
        self, network: Hist2STNetwork, pixels: torch.Tensor, section: Section, rng: np.random.Generator
    ) -> torch.Tensor:
        """Squared errors + 0.25 x count likelihood + 0.5 x self-distillation, with the published weights."""
        assert section.graph is not None
        place = (section.grid, section.graph)
        predicted, params = network.all_heads(pixels, *place)
        loss = mean_squared(predicted, section.targets)
        if self.zinb_weight:
            loss = loss + self.zinb_weight * likelihood_loss(section.extra, params)
        if self.copies:
            vote = partial(recomputed, network.vote) if self.checkpointing else network.vote
            views = [vote(augmented(pixels, rng), *place) for _ in range(self.copies)]
            mixture = mixed(
                torch.stack([view for view, _ in views]), torch.stack([vote for _, vote in views])
            )
            loss = loss + self.distillation_weight * functional.mse_loss(mixture, predicted.float())
        return loss

    def optimiser(
        self, network: Hist2STNetwork
    ) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.StepLR]:
        """Return Adam, and steps that shrink every so many epochs."""
        optimiser = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        return optimiser, torch.optim.lr_scheduler.StepLR(optimiser, self.decay_epochs, gamma=self.decay)


def mixed(views: torch.Tensor, votes: torch.Tensor) -> torch.Tensor:
    """Return the mixture (spots, genes) of predictions (copies, spots, genes) by their votes."""
    return (copy_weights(votes) * views.float()).sum(dim=0)


def likelihood_loss(extra: dict[str, torch.Tensor] | None, params: ZINB) -> torch.Tensor:
    """Mean over spots and genes of the negative log-likelihood of raw counts."""
    assert extra is not None
    return zinb_loss(extra["counts"], extra["size_factor"], params).mean().float()
