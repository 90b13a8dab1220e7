"""Control: a network that was never trained. The floor for everything that learns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from histobench.bounds import Count, Pixels, one_of
from histobench.networks.architectures import Architecture
from histobench.networks.backbones import (
    IMAGENET_MEAN,
    IMAGENET_SD,
    PixelNorm,
    count_parameters,
    make_backbone,
    seeded,
)
from histobench.networks.heads import Regressor
from histobench.training.contract import Context, Prediction, SectionData, TrainingLog
from histobench.training.data import PatchSource
from histobench.training.device import pick_device, usable_device
from histobench.training.inference import predict_patches
from histobench.training.store import read_weights, require, store_weights


class RandomNetwork:
    """An untrained backbone with an untrained linear head.

    Parameters
    ----------
    architecture
        Backbone; see :mod:`histobench.networks.backbones`.
    input_px
        Width that patches are resized to; None keeps their width.
    backbone_weights
        "none": everything random. "imagenet": only the head is random (where the experiment allows
        ImageNet weights at all).
    batch_size
        Patches at a time.
    """

    def __init__(
        self,
        architecture: Architecture = "resnet50",
        input_px: Pixels | None = 224,
        backbone_weights: Annotated[str, one_of(("none", "imagenet"))] = "none",
        batch_size: Count = 32,
    ) -> None:
        self.architecture = architecture
        self.input_px = input_px
        self.backbone_weights = backbone_weights
        self.batch_size = batch_size

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Draw the weights; look at no data."""
        self._device = pick_device(context.device)
        torch.set_num_threads(context.threads)
        weights = self.backbone_weights if context.weights == "imagenet" else "none"
        backbone = make_backbone(
            self.architecture,
            weights=weights,
            file=context.weights_file,
            seed=context.seed,
            input_px=self.input_px,
        )
        with seeded(context.seed + 1):
            head = torch.nn.Linear(backbone.dimension, len(context.genes))
        self._network = Regressor(PixelNorm(IMAGENET_MEAN, IMAGENET_SD), backbone, head).to(self._device)
        return TrainingLog(facts={"parameters": count_parameters(self._network), "device": str(self._device)})

    def predict(self, section: SectionData) -> Prediction:
        """Pass the patches through the untrained network."""
        patches = require(section, "patches")
        source = PatchSource([patches], input_px=self.input_px, device=self._device, resident=False)
        rows = np.arange(len(source))
        expression, _ = predict_patches(self._network, source, rows, batch_size=self.batch_size)
        return Prediction(expression)

    def save(self, folder: Path) -> None:
        """Write the weights."""
        head: torch.nn.Linear = self._network.head  # type: ignore[assignment]
        store_weights(
            folder,
            {
                "network": self._network.state_dict(),
                "n_genes": head.out_features,
                "device": str(self._device),
            },
        )

    def load(self, folder: Path) -> None:
        """Read the weights."""
        stored = read_weights(folder)
        self._device = usable_device(stored["device"])
        backbone = make_backbone(self.architecture, input_px=self.input_px)
        network = Regressor(PixelNorm(), backbone, torch.nn.Linear(backbone.dimension, stored["n_genes"]))
        network.load_state_dict(stored["network"])
        self._network = network.to(self._device)
