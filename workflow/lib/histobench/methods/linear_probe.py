"""Linear probe by gradient descent: one linear layer on frozen features.

A baseline of Chen et al. 2024 (HE2Gene), under the optimiser of that paper's released code. The closed
form of the same model is :mod:`histobench.methods.ridge_probe`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional

from histobench.bounds import Count, NonNegative, Positive, PositiveShare
from histobench.networks.heads import ScaledLinear, start_as_mean
from histobench.training.contract import Context, Prediction, SectionData
from histobench.training.loop import Row
from histobench.training.network_method import Shape, Start, SteppedAdam, Training
from histobench.training.store import column_means, require
from histobench.training.study import Study, gather


@dataclass(frozen=True, kw_only=True)
class LinearProbe(SteppedAdam[ScaledLinear]):
    """One linear layer, mean squared error, Adam, early stopping on held-out patients.

    Parameters
    ----------
    epochs, batch_size, learning_rate, weight_decay, clip_norm
        Of the training; weight decay is Adam's L2 penalty.
    decay_every, decay_factor
        The learning rate is multiplied by the factor after so many epochs.
    patience
        Epochs without improvement before stopping; the best epoch's weights are kept.
    standardise
        Scale features by mean and sd of the training spots.
    valid_share
        Without validation patients in the experiment, one in so many training patients is held out.
    """

    epochs: Count = 100
    batch_size: Count = 256
    learning_rate: Positive = 1e-5
    weight_decay: NonNegative = 1e-4
    clip_norm: Positive = 1.0
    decay_every: Count = 10
    decay_factor: PositiveShare = 0.5
    patience: Count = 10
    standardise: bool = True
    valid_share: Count = 10

    channels_last: ClassVar[bool] = False

    def gather(self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context) -> Study:
        """Hold patients out."""
        return gather(train, valid, folds=self.valid_share)

    def examples(self, training: Training) -> None:
        """Bring frozen features to the device."""
        features = torch.from_numpy(training.study.stacked("features"))
        training.more["features"] = features.to(training.device)
        training.shape = replace(training.shape, dimension=features.shape[1])

    def network(self, shape: Shape, start: Start) -> ScaledLinear:
        """Build the layer."""
        return ScaledLinear(shape.dimension, shape.genes)

    def prepare(self, network: ScaledLinear, training: Training, learn: np.ndarray) -> None:
        """Take the scale of features from the spots learnt from; the layer starts as their mean."""
        if self.standardise:
            features = training.more["features"].cpu().numpy()[learn]
            sd = features.std(axis=0, dtype=np.float64)
            network.mean.copy_(torch.from_numpy(features.mean(axis=0, dtype=np.float64)))
            network.sd.copy_(torch.from_numpy(np.where(sd > 0, sd, 1.0)))
        start_as_mean(network.layer, column_means(training.study.targets[learn]))

    def batch_loss(
        self, network: ScaledLinear, training: Training, batch: np.ndarray, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the mean squared error."""
        chosen = training.rows(batch)
        return functional.mse_loss(network(training.more["features"][chosen]), training.wanted[chosen])

    def scores(self, network: ScaledLinear, training: Training, held: np.ndarray, epoch: int) -> Row:
        """Return the mean squared error of the held-out spots."""
        chosen = training.rows(held)
        with torch.inference_mode():
            predicted = network(training.more["features"][chosen])
            return {"valid_mse": float(functional.mse_loss(predicted, training.wanted[chosen]))}

    @torch.inference_mode()
    def infer(self, section: SectionData) -> Prediction:
        """Apply the layer."""
        features = torch.from_numpy(np.asarray(require(section, "features")))
        return Prediction(self.fitted(features.to(self.trained.device)).cpu().numpy())

    def stored_device(self) -> str:
        """Let one layer predict on the CPU."""
        return "cpu"
