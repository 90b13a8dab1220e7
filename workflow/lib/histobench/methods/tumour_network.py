"""Tumour by a network with nothing else to learn, the single-task arm of Chen et al. 2024 (HE2Gene)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from histobench.bounds import Count, Folds, NonNegative, Pixels, Positive, PositiveShare, Triple, Views
from histobench.methods.patchwise import (
    Study,
    central_window,
    gather,
    predict_heads,
    stepped_adam,
    training_loop,
)
from histobench.networks.architectures import Architecture
from histobench.networks.backbones import PixelNorm, count_parameters, make_backbone
from histobench.networks.multihead import MultiHead
from histobench.seeds import seed_for
from histobench.training.augment import augment
from histobench.training.contract import Context, Prediction, SectionData, TrainingLog
from histobench.training.data import PatchSource
from histobench.training.device import on_device, pick_device, usable_device
from histobench.training.loop import Loop, Row
from histobench.training.losses import labelled_bce
from histobench.training.store import column_means, constant, read_weights, require, store_weights


class TumourNetwork:
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
    autocast
        Train with bfloat16 autocast.
    checkpoint_seconds
        Least time between checkpoints.
    """

    def __init__(
        self,
        *,
        backbone: Architecture = "resnet50",
        window_share: PositiveShare = 2 / 3,
        input_px: Pixels = 224,
        pixel_mean: Triple = (0.5319, 0.5080, 0.6824),
        pixel_sd: Triple = (0.2442, 0.2063, 0.1633),
        epochs: Count = 100,
        batch_size: Count = 256,
        learning_rate: Positive = 1e-5,
        weight_decay: NonNegative = 1e-4,
        clip_norm: Positive = 1.0,
        decay_every: Count = 10,
        decay_factor: PositiveShare = 0.5,
        patience: Count = 10,
        valid_folds: Folds = 10,
        augmentation: bool = True,
        views: Views = 8,
        autocast: bool = False,
        checkpoint_seconds: NonNegative = 60.0,
    ) -> None:
        self.backbone = backbone
        self.window_share = window_share
        self.input_px = input_px
        self.pixel_mean = pixel_mean
        self.pixel_sd = pixel_sd
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.decay_every = decay_every
        self.decay_factor = decay_factor
        self.patience = patience
        self.valid_folds = valid_folds
        self.augmentation = augmentation
        self.views = views
        self.autocast = autocast
        self.checkpoint_seconds = checkpoint_seconds

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Train on the labelled spots until the validation loss stops falling.

        Raises
        ------
        UserError
            ImageNet weights that cannot be had, or a training that diverges.
        """
        torch.set_num_threads(context.threads)
        self._device = pick_device(context.device)
        study = gather(train, valid, folds=self.valid_folds)
        labels = study.stacked("labels").astype(np.float32)
        learn = study.learn[np.isfinite(labels[study.learn])]
        held = study.held[np.isfinite(labels[study.held])]
        if not len(held):
            held = learn  # nobody labelled was held out
        self._mean = column_means(study.targets[study.learn])
        self._field = max(array.shape[1] for array in study.patches())
        self._network: MultiHead | None = None
        told = TrainingLog(facts={"parameters": 0, "n_labelled": len(learn), "selection_unit": study.unit})
        if not len(learn):
            return told
        self._network = self._build(context)
        loop = self._loop(study, labels, learn, held, context)
        told.history = list(loop.run())
        told.facts["parameters"] = count_parameters(self._network)
        told.facts["epochs"] = loop.best_epoch
        told.facts["device"] = str(self._device)
        return told

    def _build(self, context: Context | None) -> MultiHead:
        weights, file, seed = "none", None, 0
        if context is not None:
            weights, file, seed = context.weights, context.weights_file, context.seed
        network = MultiHead(
            PixelNorm(list(self.pixel_mean), list(self.pixel_sd)),
            make_backbone(self.backbone, weights=weights, file=file, seed=seed, input_px=self.input_px),
            genes=0,
            tumour=True,
            seed=seed_for(seed, "heads"),
        )
        return network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _loop(
        self, study: Study, labels: np.ndarray, learn: np.ndarray, held: np.ndarray, context: Context
    ) -> Loop:
        network = self._network
        assert network is not None
        source = PatchSource(study.patches(), input_px=self._field, device=self._device)
        wanted = torch.from_numpy(labels).to(self._device)

        def step(batch: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
            pixels = central_window(source.batch(batch), self.window_share, self.input_px)
            logit = network.tumour_logit(
                network.features(augment(pixels, rng) if self.augmentation else pixels)
            )
            return labelled_bce(logit, wanted[on_device(batch, self._device)])

        def score(_: int) -> Row:
            found = self._probability(source, held, views=1).clip(1e-7, 1 - 1e-7)
            right = np.where(labels[held] == 1, found, 1 - found)
            return {"valid_loss": float(-np.log(right).mean()), "valid_accuracy": float((right > 0.5).mean())}

        return training_loop(
            __name__, self, study, context,
            network=network,
            **stepped_adam(self, network),
            step=step,
            prefetch=source.prefetch,
            rows=learn,
            device=self._device,
            after_epoch=score,
            keep_best="valid_loss",
        )  # fmt: skip

    def _probability(self, source: PatchSource, rows: np.ndarray, views: int) -> np.ndarray:
        assert self._network is not None
        found = predict_heads(
            self._network, source, rows, width=self.input_px, shares=(self.window_share,), views=views
        )[1]
        assert found is not None
        return found.astype(np.float64)

    def predict(self, section: SectionData) -> Prediction:
        """Score each patch, averaged over its symmetries; without any training label there is no score."""
        expression = constant(self._mean, len(section))
        if self._network is None:
            return Prediction(expression)
        source = PatchSource(
            [require(section, "patches")], input_px=self._field, device=self._device, resident=False
        )
        probability = self._probability(source, np.arange(len(source)), self.views)
        return Prediction(expression, tumour_probability=probability.astype(np.float32))

    def save(self, folder: Path) -> None:
        """Write weights and the training means."""
        store_weights(
            folder,
            {
                "network": None if self._network is None else dict(self._network.state_dict()),
                "mean": torch.from_numpy(self._mean),
                "field": self._field,
                "device": str(self._device),
            },
        )

    def load(self, folder: Path) -> None:
        """Build the network and restore its weights."""
        stored = read_weights(folder)
        self._device, self._field = usable_device(stored["device"]), stored["field"]
        self._mean = stored["mean"].numpy()
        self._network = None
        if stored["network"] is not None:
            self._network = self._build(None)
            self._network.load_state_dict(stored["network"])
