"""Image networks by name, without their classifier: pooled features of a patch.

The architectures are torchvision's. ``small_cnn`` is this package's own, for demonstrations and tests on
machines where a published network would take hours.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from histobench.cohorts.fetch.lock import weights_path
from histobench.errors import UserError
from histobench.files import SEAL, sha256
from histobench.networks.architectures import ARCHITECTURES, TORCHVISION

# What torchvision's published weights expect of pixels in [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SD = (0.229, 0.224, 0.225)


@dataclass
class Backbone:
    """A network from normalised pixels to features.

    Attributes
    ----------
    module
        Float input (batch, 3, height, width), output (batch, ``dimension``).
    dimension
        Number of features.
    """

    module: nn.Module
    dimension: int


class SmallCNN(nn.Module):
    """Four strided convolutions with batch normalisation and average pooling; 97,680 parameters."""

    dimension = 128

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, self.dimension)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return features, (batch, 128)."""
        features: torch.Tensor = self.layers(pixels).mean(dim=(2, 3))
        return features


def _strip_fc(network: Any) -> int:
    dimension: int = network.fc.in_features
    network.fc = nn.Identity()
    return dimension


def _strip_classifier(network: Any) -> int:
    """Remove a classifier that is, or ends in, one linear layer; what stands before it stays."""
    if isinstance(network.classifier, nn.Linear):
        dimension: int = network.classifier.in_features
        network.classifier = nn.Identity()
        return dimension
    last: nn.Linear = network.classifier[-1]
    network.classifier[-1] = nn.Identity()
    return last.in_features


def _strip_heads(network: Any) -> int:
    dimension: int = network.heads.head.in_features
    network.heads = nn.Identity()
    return dimension


def _strip_inception(network: Any) -> int:
    network.AuxLogits, network.aux_logits = None, False
    return _strip_fc(network)


_STRIP: dict[str, Callable[[Any], int]] = {
    "densenet121": _strip_classifier,
    "resnet18": _strip_fc,
    "resnet50": _strip_fc,
    "resnet101": _strip_fc,
    **{f"efficientnet_b{size}": _strip_classifier for size in range(6)},
    "inception_v3": _strip_inception,
    "vit_b_16": _strip_heads,
    "vit_b_32": _strip_heads,
    "convnext_tiny": _strip_classifier,
}
_VIT_PX = 224


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator inside the block and restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@functools.lru_cache
def _digest(path: Path, size: int, changed: int) -> str:
    """Return the checksum of a file, computed once in a process as long as the file stays the same."""
    return sha256(path)


def check_weights(path: Path, declared: str | None = None) -> str:
    """Refuse a file of published weights that is not the one that it should be, and return its sha256.

    Parameters
    ----------
    path
        The file. Its name may end in the first digits of its checksum, as those of torchvision do, and its
        checksum may lie beside it, as fetching left it.
    declared
        The checksum that it must have, where that is known.

    Raises
    ------
    UserError
        It has another checksum.
    """
    found = _digest(path, path.stat().st_size, path.stat().st_mtime_ns)
    named = re.search(r"-([0-9a-f]{8,64})\.[^.]+$", path.name)
    sealed = path.with_name(path.name + SEAL)
    noted = sealed.read_bytes().decode("ascii", "replace").split() if sealed.is_file() else []
    expected = {
        "declared one": declared,
        "one of its name": named and named[1],
        f"one in {sealed.name}": noted and noted[0],
    }
    for whose, wanted in expected.items():
        if wanted and not found.startswith(wanted):
            raise UserError(
                f"{path}: is damaged, as its sha256 is not the {whose} ({wanted}); delete it and run again "
                "to fetch it anew."
            )
    return found


def cached_weights(architecture: str) -> Path:
    """Return where torchvision itself keeps the ImageNet weights of a network, there or not."""
    return Path(torch.hub.get_dir()) / "checkpoints" / TORCHVISION[architecture]


def imagenet_state(architecture: str, file: Path | None = None) -> dict[str, torch.Tensor]:
    """Return the ImageNet weights (IMAGENET1K_V1) that torchvision publishes of a network.

    Nothing is fetched here: a run brings the file (rule download_file).

    Parameters
    ----------
    architecture
        Name of the network.
    file
        Where they are; None for torchvision's own cache.

    Raises
    ------
    UserError
        The file is not there, or is damaged.
    """
    path = file or cached_weights(architecture)
    if not path.is_file():
        raise UserError(
            f"{path}: the ImageNet weights of {architecture} are not there; fetch them with `snakemake "
            f"--cores 1 {weights_path(TORCHVISION[architecture])}`, or set `weights: none` in the experiment "
            "for a seeded random start."
        )
    check_weights(path)
    try:
        state: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch each have their own
        raise UserError(f"{path}: holds no readable weights; delete it and fetch it anew.") from error
    return {current_name(name): value for name, value in state.items()}


# DenseNet's file is older than the rule that names of modules have no dot: `norm.1` is `norm1` today.
_DOTTED = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


def current_name(name: str) -> str:
    """Return what a tensor of a file that torchvision publishes is called in its network."""
    return _DOTTED.sub(r"\1\2", name)


def make_backbone(
    architecture: str,
    *,
    weights: str = "none",
    file: Path | None = None,
    seed: int = 0,
    input_px: int | None = None,
) -> Backbone:
    """Build a network and take its classifier off.

    Parameters
    ----------
    architecture
        One of :data:`ARCHITECTURES`.
    weights
        "imagenet" or "none" (random start).
    file
        Where the ImageNet weights are; None for torchvision's own cache.
    seed
        Seed of the random start; also of what ImageNet weights leave out, which is nothing here.
    input_px
        Width of the input. Only vision transformers depend on it; ImageNet weights need 224 there.

    Raises
    ------
    UserError
        Unknown names, or ImageNet weights that cannot be had.
    """
    if architecture not in ARCHITECTURES:
        raise UserError(
            f"architecture {architecture!r} is unknown; choose one of {', '.join(sorted(ARCHITECTURES))}."
        )
    if weights not in ("imagenet", "none"):
        raise UserError(f"weights {weights!r}: choose imagenet or none.")
    if architecture == "small_cnn":
        if weights == "imagenet":
            raise UserError("architecture small_cnn has no ImageNet weights; set `weights: none`.")
        with seeded(seed):
            return Backbone(SmallCNN(), SmallCNN.dimension)

    from torchvision import models

    options: dict[str, Any] = {}
    if architecture.startswith("vit") and input_px not in (None, _VIT_PX):
        if weights == "imagenet":
            raise UserError(f"architecture {architecture}: ImageNet weights need input_px: {_VIT_PX}.")
        options["image_size"] = input_px
    if architecture == "inception_v3":
        options["init_weights"] = weights == "none"
        # its published weights were trained on pixels from -1 to 1: the network brings normalised ones there
        options["transform_input"] = weights == "imagenet"
    state = imagenet_state(architecture, file) if weights == "imagenet" else None
    with seeded(seed):
        network = models.get_model(architecture, weights=None, **options)
    if state is not None:
        network.load_state_dict(state)
    dimension = _STRIP[architecture](network)
    return Backbone(network, dimension)


class PixelNorm(nn.Module):
    """Turn uint8 pixels into normalised floats: (x / 255 - mean) / sd per channel, on the device.

    Mean and sd (on the scale 0 to 1) are buffers, so that they are stored with the weights.
    """

    mean: torch.Tensor
    sd: torch.Tensor

    def __init__(self, mean: Any = (0.0, 0.0, 0.0), sd: Any = (1.0, 1.0, 1.0)) -> None:
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32).reshape(1, 3, 1, 1))
        self.register_buffer("sd", torch.as_tensor(sd, dtype=torch.float32).reshape(1, 3, 1, 1))

    def set(self, mean: Any, sd: Any) -> None:
        """Take other statistics."""
        self.mean.copy_(torch.as_tensor(mean, dtype=torch.float32).reshape(1, 3, 1, 1))
        self.sd.copy_(torch.as_tensor(sd, dtype=torch.float32).reshape(1, 3, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return float32 of the shape of ``pixels``."""
        return (pixels.float() / 255.0 - self.mean) / self.sd


def count_parameters(module: nn.Module, *, frozen: bool = False) -> int:
    """Return how many numbers of a network are trained; with ``frozen`` those that stay as they are, too."""
    return sum(each.numel() for each in module.parameters() if frozen or each.requires_grad)
