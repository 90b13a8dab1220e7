"""Tumour by a network with nothing else to learn, the single-task arm of Chen et al. 2024 (HE2Gene)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from histobench.bounds import (
    Count,
    Folds,
    NonNegative,
    Pixels,
    Positive,
    PositiveShare,
    Precision,
    Triple,
    Views,
)
from histobench.networks.architectures import Architecture
from histobench.networks.backbones import PixelNorm
from histobench.networks.multihead import MultiHead
from histobench.seeds import seed_for
from histobench.training.augment import augment
from histobench.training.contract import Prediction, SectionData
from histobench.training.data import PatchSource
from histobench.training.inference import central_window, predict_heads
from histobench.training.loop import Row
from histobench.training.losses import labelled_bce
from histobench.training.network_method import Facts, Shape, Start, SteppedAdam, Training
from histobench.training.store import column_means, constant


@dataclass(frozen=True, kw_only=True)
class TumourNetwork(SteppedAdam[MultiHead]):
    """ResNet-50 with one logit, trained as HE2Gene is; expression is the training mean.

    Parameters
    ----------
    backbone
        Encoder; see :mod:`histobench.networks.backbones`.
    window_share
        The view as a share of the patch.
    input_px
        Width that the encoder takes.
    pixel_mean, pixel_sd
        Of each channel, on the scale 0 to 1.
    epochs, batch_size, learning_rate, weight_decay, clip_norm, decay_every, decay_factor, patience
        As in :class:`histobench.methods.he2gene.HE2Gene`; validation is the cross-entropy.
    valid_folds
        Without validation patients in the experiment, one in so many training patients is held out.
    augmentation
        Draw one of the eight symmetries for each patch.
    views
        Symmetries averaged in prediction.
    precision
        Of training and prediction, see :data:`histobench.bounds.Precision`.
    checkpoint_seconds
        Least time between checkpoints.
    """

    backbone: Architecture = "resnet50"
    window_share: PositiveShare = 2 / 3
    input_px: Pixels = 224
    pixel_mean: Triple = (0.5319, 0.5080, 0.6824)
    pixel_sd: Triple = (0.2442, 0.2063, 0.1633)
    epochs: Count = 100
    batch_size: Count = 256
    learning_rate: Positive = 1e-5
    weight_decay: NonNegative = 1e-4
    clip_norm: Positive = 1.0
    decay_every: Count = 10
    decay_factor: PositiveShare = 0.5
    patience: Count = 10
    valid_folds: Folds = 10
    augmentation: bool = True
    views: Views = 8
    precision: Precision = "tf32"
    checkpoint_seconds: NonNegative = 60.0

    criterion: ClassVar[str | None] = "valid_loss"

    def examples(self, training: Training) -> None:
        """Open the whole field of the patches, and the labels."""
        study = training.study
        field = max(array.shape[1] for array in study.patches())
        training.source = PatchSource(study.patches(), input_px=field, device=training.device)
        training.shape = replace(training.shape, px=field)
        training.more["labels"] = labels = study.stacked("labels").astype(np.float32)
        training.wanted = torch.from_numpy(labels).to(training.device)
        self.trained.extra["mean"] = torch.from_numpy(column_means(study.targets[study.learn]))

    def network(self, shape: Shape, start: Start) -> MultiHead:
        """Build the encoder with its one logit."""
        return MultiHead(
            PixelNorm(list(self.pixel_mean), list(self.pixel_sd)),
            start.backbone(self.backbone, self.input_px),
            genes=0,
            tumour=True,
            seed=seed_for(start.seed, "heads"),
        )

    def learn(self, training: Training) -> tuple[list[Row], Facts]:
        """Train on the labelled spots until the validation loss stops falling."""
        study, labels = training.study, training.more["labels"]
        learn = study.learn[np.isfinite(labels[study.learn])]
        held = study.held[np.isfinite(labels[study.held])]
        if not len(learn):
            return [], {"n_labelled": 0}
        loop = self.loop(training, learn, held if len(held) else learn)  # nobody labelled may be held out
        history = loop.run()
        return history, {**self.keep(loop), "n_labelled": len(learn)}

    def batch_loss(
        self, network: MultiHead, training: Training, batch: np.ndarray, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the cross-entropy of the labelled spots."""
        pixels = central_window(training.patches.batch(batch), self.window_share, self.input_px)
        logit = network.tumour_logit(network.features(augment(pixels, rng) if self.augmentation else pixels))
        return labelled_bce(logit, training.wanted[training.rows(batch)])

    def scores(self, network: MultiHead, training: Training, held: np.ndarray, epoch: int) -> Row:
        """Return cross-entropy and accuracy of the held-out spots."""
        found = self._probability(network, training.patches, held, views=1).clip(1e-7, 1 - 1e-7)
        right = np.where(training.more["labels"][held] == 1, found, 1 - found)
        return {"valid_loss": float(-np.log(right).mean()), "valid_accuracy": float((right > 0.5).mean())}

    def _probability(
        self, network: MultiHead, source: PatchSource, rows: np.ndarray, views: int
    ) -> np.ndarray:
        found = predict_heads(
            network, source, rows, width=self.input_px, shares=(self.window_share,), views=views
        ).tumour
        assert found is not None
        return found.astype(np.float64)

    def infer(self, section: SectionData) -> Prediction:
        """Score each patch, averaged over its symmetries; without any training label there is no score."""
        expression = constant(self.trained.extra["mean"].numpy(), len(section))
        network = self.trained.network
        if network is None:
            return Prediction(expression)
        source = self.opened(section)
        probability = self._probability(network, source, np.arange(len(source)), self.views)
        return Prediction(expression, tumour_probability=probability.astype(np.float32))
