"""ST-Net: DenseNet-121 fine-tuned to predict expression from a patch.

He B, Bergenstrahle L, Stenbeck L, et al. Integrating spatial gene expression and breast tumour morphology
via deep learning. Nature Biomedical Engineering 4, 827-834 (2020), Methods.

What is easily missed, and is done here: the loss is a sum over the batch of the mean over genes (with a
mean over the batch the learning rate would be 32 times too small); the head starts at zero weight with the
training means as bias; pixel mean and sd come from the first training batches, not from ImageNet; the
number of epochs comes from inner folds over training patients, evaluated with test-time averaging.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from histobench.bounds import Count, NonNegative, Pixels, Positive, Rate, Views, Whole, one_of
from histobench.errors import UserError
from histobench.networks.architectures import Architecture
from histobench.networks.backbones import PixelNorm, count_parameters, make_backbone
from histobench.networks.heads import Regressor, mean_head
from histobench.seeds import seed_for
from histobench.training.augment import augment
from histobench.training.checkpoint import Checkpoint, fingerprint, start_from
from histobench.training.contract import Context, Prediction, SectionData, TrainingLog
from histobench.training.data import PatchSource, pixel_statistics
from histobench.training.device import on_device, pick_device, usable_device
from histobench.training.groups import inner_folds, inner_groups
from histobench.training.inference import predict_patches
from histobench.training.loop import Loop, Row
from histobench.training.store import (
    column_means,
    in_order,
    read_weights,
    require,
    store_weights,
    training_targets,
)

log = logging.getLogger(__name__)

SELECTIONS = ("inner_folds", "valid", "fixed")
TRAINED = ("all", "head")


@dataclass
class _Data:
    """Patches and targets of several sections, numbered through them; targets on device and host."""

    source: PatchSource
    targets: torch.Tensor
    values: np.ndarray


class STNet:
    """Predict expression from single patches.

    Parameters
    ----------
    architecture
        Backbone; see :mod:`histobench.networks.backbones`.
    input_px
        Width that patches are resized to where they differ; None keeps their width.
    pretrained
        Start from the experiment's ``weights``; without, from a random network, whatever they are.
    trained_layers
        "all", or the "head" alone: the weights before it stay as they start. Batch normalisation goes on
        adapting to the batches, as in the released loop.
    epochs
        Most epochs to train.
    selection
        How the number of epochs is chosen: "inner_folds" (over training patients, then retrained on all
        of them), "valid" (the epoch that is best on the experiment's validation patients) or "fixed"
        (``epochs`` as given).
    inner_folds
        Number of inner folds; with fewer training patients there are as many folds as patients. 0 or 1
        means "fixed".
    learning_rate, momentum, weight_decay, batch_size
        Of stochastic gradient descent; the loss is summed over the batch.
    statistics_batches
        Training batches that pixel mean and sd come from.
    augmentation
        Draw one of the eight symmetries for each patch.
    views
        Views averaged in prediction: 8 symmetries, or 1.
    selection_views
        The same while choosing the epoch.
    autocast
        Train with bfloat16 autocast.
    checkpoint_seconds
        Least time between checkpoints.
    """

    starts_from_weights = True

    def __init__(
        self,
        *,
        architecture: Architecture = "densenet121",
        input_px: Pixels | None = 224,
        pretrained: bool = True,
        trained_layers: Annotated[str, one_of(TRAINED)] = "all",
        epochs: Count = 50,
        selection: Annotated[str, one_of(SELECTIONS)] = "inner_folds",
        inner_folds: Whole = 4,
        learning_rate: Positive = 1e-6,
        momentum: Rate = 0.9,
        weight_decay: NonNegative = 0.0,
        batch_size: Count = 32,
        statistics_batches: Count = 12,
        augmentation: bool = True,
        views: Views = 8,
        selection_views: Views = 8,
        autocast: bool = False,
        checkpoint_seconds: NonNegative = 60.0,
    ) -> None:
        self.architecture = architecture
        self.input_px = input_px
        self.pretrained = pretrained
        self.trained_layers = trained_layers
        self.epochs = epochs
        self.selection = selection
        self.inner_folds = inner_folds
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.statistics_batches = statistics_batches
        self.augmentation = augmentation
        self.views = views
        self.selection_views = selection_views
        self.autocast = autocast
        self.checkpoint_seconds = checkpoint_seconds

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Choose the number of epochs and train on all training sections.

        Raises
        ------
        UserError
            Unknown selection, no validation sections for "valid", ImageNet weights that cannot be had, or
            a training that diverges.
        """
        if self.selection not in SELECTIONS:
            raise UserError(f"selection {self.selection!r}: choose one of {', '.join(SELECTIONS)}.")
        if self.trained_layers not in TRAINED:
            raise UserError(f"trained_layers {self.trained_layers!r}: choose one of {', '.join(TRAINED)}.")
        if self.selection == "valid" and not valid:
            raise UserError("selection valid: the fold has no validation patients; set folds.valid_patients.")
        torch.set_num_threads(context.threads)
        self._device = pick_device(context.device)
        train, valid = in_order(train), in_order(valid)
        data = self._data(train)
        self._input_width = data.source.input_px
        rows = np.arange(len(data.source))
        self._identity = self._fingerprint(train, context)
        history: list[Row] = []
        facts: dict[str, float | int | str] = {"selection": self.selection}

        epochs = self.epochs
        unit, groups = inner_groups(train)
        folds = inner_folds(groups, self.inner_folds) if self.selection == "inner_folds" else []
        if folds:
            epochs, inner = self._choose_epochs(data, folds, context)
            history += inner
            facts["selection_unit"] = unit
        elif self.selection == "inner_folds":
            facts["selection"] = "fixed"  # nothing to fold, or inner_folds of 0 or 1
        facts["inner_folds"] = len(folds)

        loop = self._loop(data, rows, epochs, context, "final", valid=self._data(valid) if valid else None)
        final = loop.run()
        history += final
        self._network = loop.network
        self._epochs = facts["epochs"] = loop.best_epoch
        facts["parameters"] = count_parameters(self._network)
        facts["images_per_second"] = _rate(history, len(rows))
        facts["device"] = str(self._device)
        return TrainingLog(list(history), facts)

    def _data(self, sections: Sequence[SectionData]) -> _Data:
        source = PatchSource(
            [require(section, "patches") for section in sections],
            input_px=self.input_px,
            device=self._device,
        )
        targets = training_targets(sections)
        return _Data(source, torch.from_numpy(targets).to(self._device), targets)

    def _fingerprint(self, train: Sequence[SectionData], context: Context) -> str:
        """Identify this training, so that a checkpoint of another one is not continued."""
        from histobench.codehash import code_hash

        params = sorted((k, v) for k, v in vars(self).items() if not k.startswith("_"))
        named = [(s.cohort, s.patient, s.section, len(s)) for s in train]
        pixels = [np.asarray(require(s, "patches")[[0, len(s) - 1]]) for s in train]
        return fingerprint(
            code_hash(__name__),
            params,
            named,
            context.genes,
            context.seed,
            context.weights,
            str(context.start),
            training_targets(train),
            *pixels,
        )

    def _build(self, data: _Data, rows: np.ndarray, context: Context) -> Regressor:
        """Build the network as it is before the first step of a training on ``rows``."""
        order = np.random.default_rng(seed_for(context.seed, "statistics")).permutation(rows)
        size = self.batch_size
        firsts = range(0, min(len(order), size * self.statistics_batches), size)
        mean, sd = pixel_statistics([data.source.batch(order[first : first + size]) for first in firsts])
        backbone = make_backbone(
            self.architecture,
            weights=context.weights if self.pretrained else "none",
            file=context.weights_file,
            seed=context.seed,
            input_px=data.source.input_px,
        )
        backbone.module.requires_grad_(self.trained_layers == "all")
        head = mean_head(backbone.dimension, column_means(data.values[rows]))
        network = Regressor(PixelNorm(mean, sd), backbone, head)
        start_from(network, context.start, context.genes, head="head")
        return network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _loop(
        self,
        data: _Data,
        rows: np.ndarray,
        epochs: int,
        context: Context,
        stage: str,
        *,
        held: np.ndarray | None = None,
        valid: _Data | None = None,
    ) -> Loop:
        """Prepare a training on ``rows``; ``held`` rows or ``valid`` sections are scored after each epoch."""
        network = self._build(data, rows, context)

        def step(batch: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
            pixels = data.source.batch(batch)
            if self.augmentation:
                pixels = augment(pixels, rng)
            predicted, _ = network(pixels)
            wanted = data.targets[on_device(batch, self._device)]
            return summed_loss(predicted, wanted)

        def score(_: int) -> Row:
            if held is not None:
                return {"squared_error": self._squared_error(network, data, held)}
            if valid is None:
                return {}
            everything = np.arange(len(valid.source))
            return {"valid_mse": self._squared_error(network, valid, everything) / valid.values.size}

        return Loop(
            network=network,
            optimiser=torch.optim.SGD(
                [parameter for parameter in network.parameters() if parameter.requires_grad],
                lr=self.learning_rate,
                momentum=self.momentum,
                weight_decay=self.weight_decay,
            ),
            step=step,
            prefetch=data.source.prefetch,
            rows=rows,
            epochs=epochs,
            batch_size=self.batch_size,
            seed=seed_for(context.seed, "training"),
            device=self._device,
            summed_loss=True,
            after_epoch=score,
            keep_best="valid_mse" if self.selection == "valid" and held is None else None,
            autocast=self.autocast,
            checkpoint=Checkpoint(context.checkpoints, stage, self._identity, self.checkpoint_seconds),
            stage=stage,
        )

    def _squared_error(self, network: torch.nn.Module, data: _Data, rows: np.ndarray) -> float:
        predicted, _ = predict_patches(network, data.source, rows, views=self.selection_views)
        return float(((predicted - data.values[rows]).astype(np.float64) ** 2).sum())

    def _choose_epochs(
        self, data: _Data, folds: list[tuple[np.ndarray, np.ndarray]], context: Context
    ) -> tuple[int, list[Row]]:
        """Return the epoch with the least squared error summed over all held-out spots, and the history."""
        history: list[Row] = []
        errors = np.zeros(self.epochs)
        for number, (learn, held) in enumerate(folds):
            rows = self._loop(data, learn, self.epochs, context, f"inner{number}", held=held).run()
            errors += [float(row["squared_error"]) for row in rows]
            for row in rows:  # per value, so that folds of different size compare
                row["valid_mse"] = float(row.pop("squared_error")) / (len(held) * data.values.shape[1])
            history += rows
        epochs = int(np.argmin(errors)) + 1
        log.info("inner folds: least error after %d of %d epochs", epochs, self.epochs)
        return epochs, history

    def predict(self, section: SectionData) -> Prediction:
        """Predict each patch, averaged over its symmetries; the embedding is that of the plain patch."""
        source = PatchSource(
            [require(section, "patches")], input_px=self._input_width, device=self._device, resident=False
        )
        expression, features = predict_patches(
            self._network, source, np.arange(len(source)), views=self.views, batch_size=self.batch_size
        )
        return Prediction(expression, embedding=features)

    def save(self, folder: Path) -> None:
        """Write weights, pixel statistics and what is needed to build the network again."""
        head: torch.nn.Linear = self._network.head  # type: ignore[assignment]
        stored = {
            "network": self._network.state_dict(),
            "n_genes": head.out_features,
            "input_px": self._input_width,
            "device": str(self._device),
        }
        store_weights(folder, stored)

    def load(self, folder: Path) -> None:
        """Build the network and restore its weights."""
        stored = read_weights(folder)
        self._device = usable_device(stored["device"])
        self._input_width = stored["input_px"]
        backbone = make_backbone(self.architecture, input_px=stored["input_px"])
        head = torch.nn.Linear(backbone.dimension, stored["n_genes"])
        network = Regressor(PixelNorm(), backbone, head)
        network.load_state_dict(stored["network"])
        self._network = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def summed_loss(predicted: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Sum over spots of the mean over genes of squared errors (He et al. 2020)."""
    return ((predicted.float() - wanted) ** 2).mean(dim=1).sum()


def _rate(history: Sequence[Row], n: int) -> float:
    """Images per second of the last training, without evaluation."""
    final = [row for row in history if row["stage"] == "final"]
    return round(len(final) * n / max(sum(float(row["seconds"]) for row in final), 1e-9), 2)
