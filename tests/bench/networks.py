"""Networks: frozen features against eager single precision, training against its bare loop and synthetic input."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from bench.harness import Comparison


def tissue_like(n: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(90, 250, (n, width // 8, width // 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def ceiling(network: Any, width: int, device: str, *, passes: int, reduced: bool) -> float:
    """Images per second if every operation ran as fast as a large matrix product, as measured here and now.

    Parameters
    ----------
    network
        Takes uint8 (1, 3, width, width).
    passes
        How many times the operations of a forward pass: 1, or 3 with the backward pass.
    reduced
        In bfloat16.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    place = torch.device(device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, 3, width, width, dtype=torch.uint8, device=place))
    size = 4096
    matrix = torch.randn(size, size, device=place, dtype=torch.bfloat16 if reduced else torch.float32)
    best = float("inf")
    for _ in range(4):
        begin = time.perf_counter()
        matrix @ matrix
        if place.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 / best / (passes * counter.get_total_flops())


def features(quick: bool, device: str) -> Comparison:
    """Frozen features of ResNet-50."""
    import torch

    from histobench.encoders.build import frozen_encoder
    from histobench.encoders.features import computed_with, describe
    from histobench.encoders.registry import torchvision_recipe
    from histobench.networks.backbones import IMAGENET_MEAN, IMAGENET_SD, PixelNorm, make_backbone
    from histobench.training.device import has_bfloat16

    n, width = (4, 64) if quick else (32, 224)
    pixels = tissue_like(n, width)
    backbone = make_backbone("resnet50", weights="none", seed=0, input_px=width)
    network = torch.nn.Sequential(PixelNorm(IMAGENET_MEAN, IMAGENET_SD), backbone.module).eval().to(device)
    recipe, where = torchvision_recipe("resnet50", pretrained=False), torch.device(device)
    frozen = frozen_encoder(recipe, device=where, width=width)

    def theirs() -> np.ndarray:
        found = []
        with torch.no_grad():
            for first in range(0, n, 16):
                batch = (
                    torch.from_numpy(pixels[first : first + 16]).permute(0, 3, 1, 2).contiguous().to(device)
                )
                found.append(network(batch).cpu().numpy())
        return np.concatenate(found)

    def ours() -> np.ndarray:
        return describe(frozen, pixels, input_px=None, precision=computed_with("bfloat16", where))

    def same(a: object, b: object) -> str:
        cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)  # type: ignore[operator,call-overload]
        assert cosine.min() > 0.999
        return f"least cosine similarity {cosine.min():.6f}"

    return Comparison(
        "frozen features, ResNet-50", "PyTorch in float32, eager", ours, theirs, same, target=4, units=n,
        unit="image", repeats=3, note=f"{width} px, {device}",
        ceiling=None if quick else ceiling(frozen, width, device, passes=1, reduced=has_bfloat16(torch.device(device))),
    )  # fmt: skip


def extraction(folder: Path, quick: bool, device: str) -> Comparison:
    """Extraction from a section's patches on disk against the network alone, on pixels that lie ready.

    ResNet-18: of a network that takes less time an image, everything else is the larger part.
    """
    import torch

    from histobench.encoders.build import frozen_encoder
    from histobench.encoders.features import describe
    from histobench.encoders.registry import torchvision_recipe
    from histobench.training.data import PatchSource

    n, width, where = 48 if quick else 256, 224, torch.device(device)
    batch_size = 128 if device == "cuda" else 16
    np.save(folder / "extraction.npy", tissue_like(n, width))
    frozen = frozen_encoder(torchvision_recipe("resnet18", pretrained=False), device=where, width=width)
    source = PatchSource([np.load(folder / "extraction.npy")], input_px=width, device=where, resident=False)
    ready = [source.batch(np.arange(first, min(first + batch_size, n))) for first in range(0, n, batch_size)]

    def theirs() -> np.ndarray:
        with torch.inference_mode():
            return np.concatenate([frozen(pixels).float().cpu().numpy() for pixels in ready])

    def ours() -> np.ndarray:
        patches = np.load(folder / "extraction.npy", mmap_mode="r")
        return describe(frozen, patches, input_px=width, batch_size=batch_size)

    def same(a: object, b: object) -> str:
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # type: ignore[arg-type]
        return "equal to 1e-4"

    return Comparison(
        "extraction of features", "the encoder's bare forward", ours, theirs, same, target=0.9, units=n,
        unit="image", repeats=3 if quick else 5, note=f"ResNet-18, {width} px, float32, {device}",
    )  # fmt: skip


def training_loop(
    architecture: str, device: str, *, n: int, width: int, batch_size: int, reduced: bool
) -> Any:
    """One epoch of the engine over ``n`` images; ``reduced`` with the forward pass in bfloat16."""
    import torch

    from histobench.networks.backbones import PixelNorm, make_backbone
    from histobench.networks.heads import Regressor, mean_head
    from histobench.training.augment import augment
    from histobench.training.data import PatchSource
    from histobench.training.device import on_device
    from histobench.training.loop import Loop

    place = torch.device(device)
    targets = torch.randn(n, 250, device=place)
    backbone = make_backbone(architecture, weights="none", seed=0, input_px=width)
    network = Regressor(PixelNorm(), backbone, mean_head(backbone.dimension, np.zeros(250)))
    network = network.to(place, memory_format=torch.channels_last)
    source = PatchSource([tissue_like(n, width)], device=place)

    def step(rows: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        wanted = targets.index_select(0, on_device(rows, place))
        return loss_of(network, augment(source.batch(rows), rng), wanted)

    return Loop(
        network=network, optimiser=torch.optim.SGD(network.parameters(), lr=1e-6, momentum=0.9, fused=True), step=step,
        rows=np.arange(n), epochs=1, batch_size=batch_size, seed=0, device=place, summed_loss=True,
        autocast=reduced,
    )  # fmt: skip


def loss_of(network: Any, batch: Any, wanted: Any) -> Any:
    return ((network(batch)[0].float() - wanted) ** 2).mean(dim=1).sum()


def training(quick: bool, device: str, architecture: str) -> Comparison:
    """One epoch of the engine against forward and backward passes of the same network on input that is there."""
    import torch

    gpu = device != "cpu"
    n, width, size = (32, 64, 8) if quick else ((4096, 224, 32) if gpu else (48, 224, 16))
    place = torch.device(device)
    loop = training_loop(architecture, device, n=n, width=width, batch_size=size, reduced=gpu)
    network, optimiser = loop.network, loop.optimiser

    def ours() -> int:
        loop.run()
        return n

    pixels = torch.from_numpy(tissue_like(size, width)).permute(0, 3, 1, 2)
    fixed, wanted = pixels.to(place), torch.randn(size, 250, device=place)

    def theirs() -> int:
        network.train()
        for _ in range(n // size):
            optimiser.zero_grad(set_to_none=True)
            with torch.autocast(place.type, torch.bfloat16, enabled=gpu):
                loss = loss_of(network, fixed, wanted)
            loss.backward()
            optimiser.step()
        if gpu:
            torch.cuda.synchronize()
        return n

    def same(a: object, b: object) -> str:
        assert a == b
        return "the same network, optimiser and number of images"

    return Comparison(
        f"training, {architecture}", "bare passes on synthetic input on the device", ours, theirs, same,
        target=0.7 if gpu else 0.95, units=n, unit="image", repeats=3,
        ceiling=None if quick else ceiling(network, width, device, passes=3, reduced=gpu),
        note=f"{width} px, batches of {size}, {device}; below 1 by what batches, augmentation and records cost",
    )  # fmt: skip
