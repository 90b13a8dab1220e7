"""Linear probe by gradient descent: one linear layer on frozen features.

A baseline of Chen et al. 2024 (HE2Gene), under the optimiser of that paper's released code. The closed
form of the same model is :mod:`histobench.methods.ridge_probe`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from histobench.bounds import Count, NonNegative, Positive, PositiveShare
from histobench.networks.heads import mean_head
from histobench.seeds import seed_for
from histobench.training.checkpoint import Checkpoint, fingerprint
from histobench.training.contract import Context, Prediction, SectionData, TrainingLog
from histobench.training.device import on_device, pick_device
from histobench.training.groups import inner_folds, inner_groups
from histobench.training.loop import Loop, Row
from histobench.training.store import (
    column_means,
    in_order,
    read_weights,
    require,
    store_weights,
    training_targets,
)


class LinearProbe:
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

    def __init__(
        self,
        *,
        epochs: Count = 100,
        batch_size: Count = 256,
        learning_rate: Positive = 1e-5,
        weight_decay: NonNegative = 1e-4,
        clip_norm: Positive = 1.0,
        decay_every: Count = 10,
        decay_factor: PositiveShare = 0.5,
        patience: Count = 10,
        standardise: bool = True,
        valid_share: Count = 10,
    ) -> None:
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.decay_every = decay_every
        self.decay_factor = decay_factor
        self.patience = patience
        self.standardise = standardise
        self.valid_share = valid_share

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Train until the validation error stops falling."""
        torch.set_num_threads(context.threads)
        device = pick_device(context.device)
        train, valid = in_order(train), in_order(valid)
        features = np.concatenate([require(section, "features") for section in train])
        targets = training_targets(train)
        rows = np.arange(len(targets))
        unit = "patient"
        if valid:
            x_held = np.concatenate([require(section, "features") for section in valid])
            y_held = training_targets(valid)
        else:
            unit, groups = inner_groups(train)
            folds = inner_folds(groups, self.valid_share)
            rows, held = folds[0] if folds else (rows, rows)
            x_held, y_held = features[held], targets[held]

        self._mean = features[rows].mean(axis=0, dtype=np.float64)
        sd = features[rows].std(axis=0, dtype=np.float64)
        self._sd = np.where(sd > 0, sd, 1.0)
        if not self.standardise:
            self._mean, self._sd = np.zeros_like(self._mean), np.ones_like(self._sd)
        x = self._prepare(features).to(device)
        y = torch.from_numpy(targets).to(device)
        x_valid, y_valid = self._prepare(x_held).to(device), torch.from_numpy(y_held).to(device)
        layer = mean_head(x.shape[1], column_means(targets[rows])).to(device)
        optimiser = torch.optim.Adam(
            layer.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )

        def step(batch: np.ndarray, _: np.random.Generator) -> torch.Tensor:
            chosen = on_device(batch, device)
            return functional.mse_loss(layer(x[chosen]), y[chosen])

        def score(_: int) -> Row:
            with torch.inference_mode():
                return {"valid_mse": float(functional.mse_loss(layer(x_valid), y_valid))}

        params = sorted((k, v) for k, v in vars(self).items() if not k.startswith("_"))
        identity = fingerprint(params, context.genes, context.seed, features, targets, x_held)
        loop = Loop(
            network=layer,
            optimiser=optimiser,
            scheduler=torch.optim.lr_scheduler.StepLR(optimiser, self.decay_every, self.decay_factor),
            step=step,
            rows=rows,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=seed_for(context.seed, "training"),
            device=device,
            after_epoch=score,
            keep_best="valid_mse",
            patience=self.patience,
            clip_norm=self.clip_norm,
            checkpoint=Checkpoint(context.checkpoints, "final", identity),
        )
        history = loop.run()
        self._weight = layer.weight.detach().cpu()
        self._bias = layer.bias.detach().cpu()
        return TrainingLog(
            list(history),
            {
                "parameters": self._weight.numel() + self._bias.numel(),
                "epochs": loop.best_epoch,
                "epochs_run": len(history),
                "selection_unit": unit,
                "device": str(device),
            },
        )

    def _prepare(self, features: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(((features - self._mean) / self._sd).astype(np.float32))

    def predict(self, section: SectionData) -> Prediction:
        """Apply the layer."""
        x = self._prepare(require(section, "features"))
        with torch.inference_mode():
            return Prediction(functional.linear(x, self._weight, self._bias).numpy())

    def save(self, folder: Path) -> None:
        """Write the layer and the scaling of the features."""
        store_weights(
            folder,
            {
                "weight": self._weight,
                "bias": self._bias,
                "mean": torch.from_numpy(self._mean),
                "sd": torch.from_numpy(self._sd),
            },
        )

    def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote."""
        stored = read_weights(folder)
        self._weight, self._bias = stored["weight"], stored["bias"]
        self._mean, self._sd = stored["mean"].numpy(), stored["sd"].numpy()
