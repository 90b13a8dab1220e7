"""Control: a network that was never trained. The floor for everything that learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch

from histobench.bounds import Count, Pixels, one_of
from histobench.networks.architectures import Architecture
from histobench.networks.backbones import IMAGENET_MEAN, IMAGENET_SD, PixelNorm, seeded
from histobench.networks.heads import Regressor
from histobench.training.contract import Context, Prediction, SectionData
from histobench.training.data import PatchSource
from histobench.training.inference import predict_patches
from histobench.training.loop import Row
from histobench.training.network_method import Facts, NetworkMethod, Shape, Start, Training
from histobench.training.store import require
from histobench.training.study import Study


@dataclass(frozen=True)
class RandomNetwork(NetworkMethod[Regressor]):
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

    architecture: Architecture = "resnet50"
    input_px: Pixels | None = 224
    backbone_weights: Annotated[str, one_of(("none", "imagenet"))] = "none"
    batch_size: Count = 32

    channels_last: ClassVar[bool] = False

    def gather(self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context) -> Study:
        """Look at no spot."""
        nothing = np.zeros(0, int)
        targets = np.zeros((0, len(context.genes)), np.float32)
        return Study([], targets, nothing, nothing, nothing.astype(str), "none", 0)

    def examples(self, training: Training) -> None:
        """Open nothing."""

    def network(self, shape: Shape, start: Start) -> Regressor:
        """Build the backbone with its head, both drawn from the seed."""
        backbone = start.backbone(
            self.architecture, self.input_px, pretrained=self.backbone_weights == "imagenet"
        )
        with seeded(start.seed + 1):
            head = torch.nn.Linear(backbone.dimension, shape.genes)
        return Regressor(PixelNorm(IMAGENET_MEAN, IMAGENET_SD), backbone, head)

    def learn(self, training: Training) -> tuple[list[Row], Facts]:
        """Draw the weights."""
        self.trained.network = self.build(training, training.study.learn)
        return [], {}

    def infer(self, section: SectionData) -> Prediction:
        """Pass the patches through the untrained network."""
        patches, device = [require(section, "patches")], self.trained.device
        source = PatchSource(patches, input_px=self.input_px, device=device, resident=False)
        rows = np.arange(len(source))
        return Prediction(predict_patches(self.fitted, source, rows, batch_size=self.batch_size)[0])
