"""HE2RNA on spots: a small network on features of one tile per spot, frozen or trained with it.

Schmauch B, Romagnoni A, Pronier E, et al. A deep learning model to predict RNA-Seq expression of tumours from
whole slide images. Nature Communications 11, 3877 (2020); as a baseline of Chen et al. 2024 (HE2Gene).

A slide of HE2RNA is a bag of tiles and its score the mean of the k highest. A spot is one tile, so k is 1 and
nothing is left to aggregate; of an encoder that gives a vector per token (``pooling: tokens``) it is a bag of
them, scored as a slide is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from histobench.bounds import (
    Count,
    Counts,
    Folds,
    NonNegative,
    Pixels,
    Positive,
    PositiveShare,
    Precision,
    Triple,
    Views,
    one_of,
)
from histobench.networks.architectures import Architecture
from histobench.networks.backbones import PixelNorm, seeded
from histobench.networks.he2rna import HEADS, he2rna_head
from histobench.networks.heads import Regressor
from histobench.seeds import seed_for
from histobench.training.contract import Prediction, SectionData
from histobench.training.correlation import mean_gene_pearson
from histobench.training.inference import predict_patches
from histobench.training.loop import Row
from histobench.training.network_method import Facts, Shape, Start, SteppedAdam, Training
from histobench.training.store import column_means, require

# Bags scored at a time, so that memory does not grow with the section.
_BAGS = 128


@dataclass(frozen=True, kw_only=True)
class HE2RNA(SteppedAdam[nn.Module]):
    """Layers on features, mean squared error, Adam, stopped by correlation on held-out patients.

    Parameters
    ----------
    head
        "adapted" or "original"; see :func:`histobench.networks.he2rna.he2rna_head`.
    encoder
        None for frozen features, or an image network that is trained with the head from patches; see
        :mod:`histobench.networks.backbones`.
    hidden
        Width of the hidden layers.
    top
        Of a spot with several tokens: a gene is the mean of its k highest scores, k drawn from these for each
        training batch, and in prediction the mean over them. Those beyond the number of tokens are left out.
    rectify
        Replace negative predictions by 0, where the training targets are never negative.
    epochs, batch_size, learning_rate, weight_decay, clip_norm
        Of Adam; weight decay is its L2 penalty, the norm that of the gradient (None does not clip).
    decay_every, decay_factor
        The learning rate is multiplied by the factor after so many epochs; None never does so.
    patience
        Epochs without improvement before stopping; the best epoch's weights are kept.
    valid_folds
        Without validation patients in the experiment, one in so many training patients is held out.
    input_px, pixel_mean, pixel_sd, augmentation, views
        Of a trained encoder: width that it takes; mean and sd of each channel on the scale 0 to 1; whether
        one of the eight symmetries is drawn for each patch; symmetries averaged in prediction.
    precision
        Of training and prediction, see :data:`histobench.bounds.Precision`.
    checkpoint_seconds
        Least time between checkpoints.
    """

    head: Annotated[str, one_of(HEADS)] = "adapted"
    encoder: Architecture | None = None
    hidden: Count = 1024
    top: Counts = (1, 2, 5, 10, 20, 50, 100)
    rectify: bool = False
    epochs: Count = 200
    batch_size: Count = 16
    learning_rate: Positive = 3e-4
    patience: Count = 50
    valid_folds: Folds = 10
    weight_decay: NonNegative = 0.0
    decay_every: Count | None = None
    decay_factor: PositiveShare = 0.5
    clip_norm: Positive | None = None
    input_px: Pixels = 224
    pixel_mean: Triple = (0.5319, 0.5080, 0.6824)
    pixel_sd: Triple = (0.2442, 0.2063, 0.1633)
    augmentation: bool = True
    views: Views = 8
    precision: Precision = "tf32"
    checkpoint_seconds: NonNegative = 60.0

    criterion: ClassVar[str | None] = "valid_distance"

    def examples(self, training: Training) -> None:
        """Open the patches of a trained encoder, or bring frozen features to the device."""
        study = training.study
        learnt = study.targets[study.learn]
        self.trained.extra["floor"] = 0.0 if self.rectify and learnt.min() >= 0 else -np.inf
        if self.encoder is not None:
            super().examples(training)
            return
        features = torch.from_numpy(study.stacked("features").astype(np.float32))
        training.more["features"] = features.to(training.device)
        training.shape = replace(training.shape, dimension=features.shape[-1])

    def network(self, shape: Shape, start: Start) -> nn.Module:
        """Build the layers, on an encoder where one is trained with them."""
        seed, none = seed_for(start.seed, "head"), np.zeros(shape.genes)
        if self.encoder is None:
            with seeded(seed):
                return he2rna_head(self.head, shape.dimension, none, self.hidden)
        backbone = start.backbone(self.encoder, self.input_px)
        with seeded(seed):
            head = he2rna_head(self.head, backbone.dimension, none, self.hidden)
        return Regressor(PixelNorm(list(self.pixel_mean), list(self.pixel_sd)), backbone, head)

    def prepare(self, network: nn.Module, training: Training, learn: np.ndarray) -> None:
        """Let the last bias of the original layers start as the training means."""
        if self.head == "original":
            means = column_means(training.study.targets[learn])
            with torch.no_grad():
                self._layers(network)[-1].bias.copy_(torch.as_tensor(means, dtype=torch.float32))

    def _layers(self, network: nn.Module) -> Any:
        return network if self.encoder is None else network.head

    def learn(self, training: Training) -> tuple[list[Row], Facts]:
        """Train until the mean correlation per patient and gene stops rising."""
        history, facts = super().learn(training)
        return history, {**facts, "rectified": int(np.isfinite(self.trained.extra["floor"]))}

    def batch_loss(
        self, network: nn.Module, training: Training, batch: np.ndarray, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the mean squared error."""
        chosen = training.rows(batch)
        if self.encoder is None:
            predicted = network(training.more["features"][chosen])
            if predicted.ndim == 3:
                sizes = bag_sizes(self.top, predicted.shape[1])
                predicted = mean_of_highest(predicted, sizes[rng.integers(len(sizes))])
        else:
            predicted = network(self.pixels(training, batch, rng))[0]
        return functional.mse_loss(predicted.float(), training.wanted[chosen])

    def scores(self, network: nn.Module, training: Training, held: np.ndarray, epoch: int) -> Row:
        """Return error and correlation of the held-out spots, from one view each."""
        if self.encoder is None:
            raw = self._applied(network, training.more["features"][training.rows(held)])
        else:
            raw = predict_patches(network, training.patches, held)[0]
        predicted, observed = np.maximum(raw, self.trained.extra["floor"]), training.study.targets[held]
        r = mean_gene_pearson(predicted, observed, training.study.groups[held])
        mse = float(((predicted.astype(np.float64) - observed) ** 2).mean())
        # 1 - r, because the loop looks for the smallest
        return {"valid_mse": mse, "valid_pearson": r, "valid_distance": 1.0 - r}

    def infer(self, section: SectionData) -> Prediction:
        """Apply the layers; of a trained encoder, the embedding is what the head sees."""
        floor = np.float32(self.trained.extra["floor"])
        if self.encoder is not None:
            source = self.opened(section)
            rows = np.arange(len(source))
            expression, seen = predict_patches(self.fitted, source, rows, views=self.views)
            return Prediction(np.maximum(expression, floor), embedding=seen)
        features = torch.from_numpy(require(section, "features").astype(np.float32))
        raw = self._applied(self.fitted.eval(), features.to(self.trained.device))
        return Prediction(np.maximum(raw, floor))

    def stored_device(self) -> str:
        """Let a head alone predict on the CPU."""
        return "cpu" if self.encoder is None else super().stored_device()

    @torch.inference_mode()
    def _applied(self, network: nn.Module, features: torch.Tensor) -> np.ndarray:
        """Return (spots, genes) of vectors, or of bags of tokens, which are scored some spots at a time."""
        if features.ndim == 2:
            return np.asarray(network(features).float().cpu().numpy())
        sizes = bag_sizes(self.top, features.shape[1])
        found = []
        for some in torch.split(features, _BAGS):
            scores = network(some).float()
            found.append(torch.stack([mean_of_highest(scores, k) for k in sizes]).mean(dim=0))
        return np.asarray(torch.cat(found).cpu().numpy())


def bag_sizes(top: Sequence[int], tokens: int) -> list[int]:
    """Return those k that a bag of so many tokens has; all of it where it has none of them."""
    return [k for k in top if k <= tokens] or [tokens]


def mean_of_highest(scores: torch.Tensor, k: int) -> torch.Tensor:
    """Return (spots, genes): the mean of the k highest scores of each gene, of (spots, tokens, genes)."""
    return scores.topk(k, dim=1).values.mean(dim=1)
