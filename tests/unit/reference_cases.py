"""Networks on seeded weights and inputs, for comparison with numbers of the authors' own classes.

Weights and inputs follow from rules here (:func:`fill`, :func:`uniform`), so that only outputs and gradients are stored:
tests/data/reference/README.md says how those were computed. Everything is computed in float64, where two ways of
writing one function agree to about twelve digits on any machine and a different function does not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from histobench.methods import hist2st
from histobench.methods.hist2st import Hist2ST, Hist2STNetwork
from histobench.methods.histogene import HisToGeneNetwork
from histobench.methods.stnet import summed_loss
from histobench.methods.thitogene import THItoGeneNetwork
from histobench.networks.backbones import PixelNorm, make_backbone
from histobench.networks.graph import mean_weights, nearest_neighbours
from histobench.networks.he2rna import he2rna_head
from histobench.networks.heads import Regressor
from histobench.networks.histospace import Autoencoder, Predictor
from histobench.networks.multihead import MultiHead
from histobench.networks.released import as_released
from histobench.training.losses import labelled_bce, spatial_loss
from histobench.training.sections import Section, mean_squared

STORED = Path(__file__).parents[1] / "data" / "reference"
MOST_OUTPUTS = 1000
Tensors = dict[str, torch.Tensor]


@contextlib.contextmanager
def double_precision() -> Iterator[None]:
    """Compute in float64 throughout, also where code asks for float32."""
    with_float32 = torch.Tensor.float
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.Tensor.float = with_float32  # type: ignore[method-assign]
        torch.set_default_dtype(torch.float32)


def uniform(seed: int, *shape: int) -> torch.Tensor:
    """Numbers between -1 and 1 that float32 holds exactly."""
    drawn = np.random.default_rng(seed).random(shape, dtype=np.float32)
    return torch.from_numpy(drawn * np.float32(2) - np.float32(1)).double()


def pixels(seed: int, n: int, px: int) -> torch.Tensor:
    drawn = np.random.default_rng(seed).integers(0, 256, (n, 3, px, px), dtype=np.uint8)
    return torch.from_numpy(drawn)


def filled(network: nn.Module) -> Tensors:
    """Seeded parameters and running statistics of a network, float64.

    The seed is the place in the list of parameters, then of running statistics. Weights of layers are uniform with
    variance 2 / fan-in (fan-in: numbers per entry of the first axis), scales of normalisation lie within 0.1 of 1, biases within
    0.1 of 0, running variances between 1 and 1.2.
    """
    values = {}
    running = [
        (name, b) for name, b in network.named_buffers() if name.endswith(("running_mean", "running_var"))
    ]
    for place, (name, tensor) in enumerate([*network.named_parameters(), *running]):
        drawn = uniform(place, *tensor.shape)
        if name.endswith("running_var"):
            drawn = 1.1 + 0.1 * drawn
        elif tensor.ndim == 1:
            drawn = 0.1 * drawn + (1.0 if name.endswith("weight") else 0.0)
        else:
            drawn = drawn * (6 / (tensor.numel() / len(tensor))) ** 0.5
        values[name] = drawn.float().double()
    return values


def fill(network: nn.Module) -> None:
    with torch.no_grad():
        state = dict(network.named_parameters()) | dict(network.named_buffers())
        for name, value in filled(network).items():
            state[name].copy_(value)


def no_chance(network: nn.Module) -> nn.Module:
    """Switch off everything random: dropout and dropped blocks."""
    for module in network.modules():
        if isinstance(module, nn.Dropout | StochasticDepth):
            module.p = 0.0
        elif isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
    return network


@dataclass(frozen=True)
class Case:
    """One architecture at one size.

    Attributes
    ----------
    build
        Our network.
    inputs
        Seeded inputs and truths by name.
    run
        (network, inputs) -> outputs by name, and the loss of a training step.
    slow
        Takes seconds.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[], dict[str, Any]]
    run: Callable[[Any, dict[str, Any]], tuple[Tensors, torch.Tensor]]
    slow: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


def some(values: torch.Tensor) -> np.ndarray:
    """All numbers, or evenly spaced ones of many."""
    flat = values.detach().double().reshape(-1)
    return flat[:: -(-len(flat) // MOST_OUTPUTS)].numpy()


def direction(n: int) -> torch.Tensor:
    return torch.cos(0.7 * torch.arange(n, dtype=torch.float64))


def signature(tensors: list[torch.Tensor]) -> np.ndarray:
    """For each tensor its length and its dot product with a fixed direction: (tensors, 2)."""
    flat = [tensor.detach().double().reshape(-1) for tensor in tensors]
    return np.array([[float(t.norm()), float(t @ direction(len(t)))] for t in flat]).reshape(-1, 2)


def running(buffers: Tensors) -> np.ndarray:
    """Running statistics, in the order of the network's buffers."""
    found = [b for name, b in buffers.items() if name.endswith(("running_mean", "running_var"))]
    return signature(found)


def measured(
    run: Callable[[], tuple[Tensors, torch.Tensor]],
    parameters: Tensors,
    buffers: Callable[[], Tensors],
    mode: Callable[[bool], Any],
    remember: Callable[[], Any],
) -> dict[str, np.ndarray]:
    """One training step, then evaluation with the batch statistics of that step as running ones.

    Parameters
    ----------
    run
        Returns outputs and loss.
    parameters
        What gradients are taken of.
    buffers
        The network's buffers.
    mode
        Sets training mode.
    remember
        Makes running statistics forget all but the last batch.
    """
    mode(True)
    outputs, loss = run()
    found = {f"train {name}": some(value) for name, value in outputs.items()}
    found["loss"] = np.array([float(loss.detach())])
    # a parameter may take no part, as a bias of queries that softmax cancels
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    zeros = [
        torch.zeros_like(p) if g is None else g for g, p in zip(gradients, parameters.values(), strict=True)
    ]
    found["gradients"] = signature(zeros)
    found["running"] = running(buffers())
    remember()
    with torch.no_grad():
        run()
        mode(False)
        outputs, _ = run()
    return found | {f"eval {name}": some(value) for name, value in outputs.items()}


def forget(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0


def ours(case: Case) -> tuple[dict[str, np.ndarray], nn.Module]:
    """Measure our network in float64; returns the network, too, which has the running statistics of evaluation."""
    network = no_chance(case.build())
    fill(network)
    network = network.double()
    inputs = case.inputs()
    with double_precision():
        found = measured(
            lambda: case.run(network, inputs),
            {name: p for name, p in network.named_parameters() if p.requires_grad},
            lambda: dict(network.named_buffers()),
            network.train,
            lambda: forget(network),
        )
    return found, network


def in_float32(case: Case, network: nn.Module) -> dict[str, np.ndarray]:
    """Outputs of evaluation as the library computes them."""
    inputs = {
        name: value.to(torch.float32) if getattr(value, "dtype", None) == torch.float64 else value
        for name, value in case.inputs().items()
    }
    with torch.inference_mode():
        outputs, _ = case.run(network.to(torch.float32).eval(), inputs)
    return {f"eval {name}": some(value) for name, value in outputs.items()}


# -- sections -------------------------------------------------------------------------------------


def section(n: int, px: int, genes: int, reach: float | None = None) -> dict[str, Any]:
    """Spots on an 11 x 15 grid with patches, targets, counts and their graph."""
    rng = np.random.default_rng(n)
    place = np.sort(rng.permutation(11 * 15)[:n])
    grid = np.stack([place // 15, place % 15], axis=1)
    counts = rng.poisson(1.5, (n, genes))
    return {
        "pixels": pixels(1, n, px),
        "grid": torch.from_numpy(grid),
        "graph": torch.from_numpy(nearest_neighbours(grid, 4, reach=reach)),
        "targets": uniform(2, n, genes),
        "counts": torch.from_numpy(counts).double(),
        "size_factor": torch.from_numpy(hist2st.size_factors(counts)).double(),
        "copies": [pixels(10 + copy, n, px) for copy in range(5)],
    }


def run_section(network: Any, given: dict[str, Any]) -> tuple[Tensors, torch.Tensor]:
    graph = mean_weights(given["graph"]) if isinstance(network, Hist2STNetwork) else given["graph"]
    if isinstance(network, Hist2STNetwork):
        expression, counts = network.all_heads(given["pixels"], given["grid"], graph)
        outputs = {
            "expression": expression,
            "mean": counts.mean,
            "dispersion": counts.dispersion,
            "dropout": counts.dropout,
        }
    else:
        expression, _ = network(given["pixels"], given["grid"], graph)
        outputs = {"expression": expression}
    return outputs, mean_squared(expression, given["targets"])


def run_whole_step(network: Any, given: dict[str, Any]) -> tuple[Tensors, torch.Tensor]:
    """Hist2ST's loss with given copies in place of drawn ones."""
    copies = iter(given["copies"])
    drawn, hist2st.augmented = hist2st.augmented, lambda *_: next(copies)
    try:
        spots = Section(
            np.arange(len(given["grid"])),
            given["grid"],
            mean_weights(given["graph"]),
            given["targets"],
            {"counts": given["counts"], "size_factor": given["size_factor"]},
        )
        loss = Hist2ST().section_loss(network, given["pixels"], spots, np.random.default_rng(0))
    finally:
        hist2st.augmented = drawn
    return {}, loss


# -- patches --------------------------------------------------------------------------------------

MEAN, SD = (0.5, 0.4, 0.6), (0.25, 0.2, 0.3)


def patches(n: int, px: int, genes: int, auxiliary: int = 0) -> dict[str, Any]:
    given: dict[str, Any] = {"pixels": pixels(3, n, px), "targets": uniform(4, n, genes)}
    if auxiliary:
        given["auxiliary"] = uniform(5, n, auxiliary)
    return given


def regressor(architecture: str, genes: int, head: Callable[[int], nn.Module]) -> Regressor:
    backbone = make_backbone(architecture)
    return Regressor(PixelNorm(MEAN, SD), backbone, head(backbone.dimension))


def run_stnet(network: Any, given: dict[str, Any]) -> tuple[Tensors, torch.Tensor]:
    predicted, _ = network(given["pixels"])
    return {"expression": predicted}, summed_loss(predicted, given["targets"])


def run_regressor(network: Any, given: dict[str, Any]) -> tuple[Tensors, torch.Tensor]:
    predicted, _ = network(given["pixels"])
    return {"expression": predicted}, functional.mse_loss(predicted, given["targets"])


def brstnet(architecture: str, px: int, genes: int, auxiliary: int) -> MultiHead:
    backbone = make_backbone(architecture, input_px=px)
    as_released(backbone.module, architecture)
    return MultiHead(PixelNorm(MEAN, SD), backbone, genes=genes, auxiliary=auxiliary)


def run_brstnet(network: Any, given: dict[str, Any]) -> tuple[Tensors, torch.Tensor]:
    features = network.features(given["pixels"])
    predicted, further = network.primary(features), network.auxiliary(features)
    loss = functional.mse_loss(predicted, given["targets"])
    return {"expression": predicted, "auxiliary": further}, loss + 40 * functional.mse_loss(
        further, given["auxiliary"]
    )


def neighbourhood(n: int, px: int, genes: int, auxiliary: int) -> dict[str, Any]:
    """Spots with eight neighbours each, of which some are missing (black) or have another label."""
    rng = np.random.default_rng(6)
    there = rng.random((n, 8)) < 0.7
    around = pixels(7, 8 * n, px).reshape(n, 8, 3, px, px)
    around[torch.from_numpy(~there)] = 0
    labels, beside = np.arange(n) % 2, rng.integers(0, 2, (n, 8))
    return {
        **patches(n, px, genes, auxiliary),
        "around": around,
        "there": torch.from_numpy(there),
        "labels": torch.from_numpy(labels).double(),
        "beside": torch.from_numpy(beside).double(),
    }


def run_he2gene(network: Any, given: dict[str, Any]) -> tuple[Tensors, torch.Tensor]:
    n = len(given["pixels"])
    shown = given["pixels"]
    if network.training:  # neighbours share the batch, and its statistics
        shown = torch.cat([shown, given["around"].flatten(0, 1)])
    everything = network.features(shown)
    features = everything[:n]
    predicted, further = network.expression(features), network.auxiliary(features)
    logit = network.tumour_logit(features)
    outputs = {"expression": predicted, "auxiliary": further, "tumour": torch.sigmoid(logit)}
    loss = functional.mse_loss(predicted, given["targets"])
    loss = loss + 100 * functional.mse_loss(further, given["auxiliary"])
    loss = loss + labelled_bce(logit, given["labels"])
    if network.training:
        beside = network.expression(everything[n:]).reshape(n, 8, -1)
        valid = given["there"] & (given["beside"] == given["labels"][:, None])
        loss = loss + 0.01 * spatial_loss(predicted, beside, valid, "mean")
    return outputs, loss


def run_head(network: Any, given: dict[str, Any]) -> tuple[Tensors, torch.Tensor]:
    predicted = network(given["features"])
    return {"expression": predicted}, functional.mse_loss(predicted, given["targets"])


def run_predictor(network: Any, given: dict[str, Any]) -> tuple[Tensors, torch.Tensor]:
    predicted, _ = network(given["images"])
    return {"expression": predicted}, functional.mse_loss(predicted, given["targets"])


def run_autoencoder(network: Any, given: dict[str, Any]) -> tuple[Tensors, torch.Tensor]:
    made = network(given["images"])
    return {"image": made}, functional.mse_loss(made, given["images"])


def images(n: int, px: int, genes: int) -> dict[str, Any]:
    return {"images": uniform(8, n, 3, px, px), "targets": uniform(4, n, genes)}


def features(n: int, dimension: int, genes: int) -> dict[str, Any]:
    """Features after a ReLU, which HE2RNA's mask of empty tiles takes for tissue."""
    return {"features": uniform(9, n, dimension).clamp_min(0), "targets": uniform(4, n, genes)}


# -- cases ----------------------------------------------------------------------------------------

HISTOGENE = {"px": 14, "genes": 20, "width": 64, "depth": 2, "spots": 12}
HISTOGENE_FULL = {"px": 112, "genes": 785, "width": 1024, "depth": 8, "spots": 24}
HIST2ST = {"px": 28, "genes": 50, "heads": 4, "mixer_depth": 2, "depth": 2, "graph_depth": 3, "spots": 30}
HIST2ST_FULL = {
    "px": 112,
    "genes": 785,
    "heads": 16,
    "mixer_depth": 2,
    "depth": 8,
    "graph_depth": 4,
    "spots": 24,
}
THITOGENE = {"genes": 20, "n_capsules": 3, "capsule_width": 16, "depth": 1, "heads": 2, "hidden": 32, "graph_heads": 2, "spots": 8}  # fmt: skip
THITOGENE_FULL = {"genes": 785, "n_capsules": 20, "capsule_width": 64, "depth": 4, "heads": 16, "hidden": 2048, "graph_heads": 8, "spots": 24}  # fmt: skip


def histogene(size: dict[str, int], **more: Any) -> Case:
    return Case(
        lambda: HisToGeneNetwork(
            size["px"], size["genes"], width=size["width"], depth=size["depth"], hidden=2 * size["width"]
        ),
        lambda: section(size["spots"], size["px"], size["genes"]),
        run_section,
        settings=size,
        **more,
    )


def hist2st_case(size: dict[str, int], run: Any = run_section, **more: Any) -> Case:
    own = {name: size[name] for name in ("heads", "mixer_depth", "depth", "graph_depth")}
    return Case(
        lambda: Hist2STNetwork(size["px"], size["genes"], **own),  # type: ignore[arg-type]
        lambda: section(size["spots"], size["px"], size["genes"], reach=2.0),
        run,
        settings=size,
        **more,
    )


def thitogene(size: dict[str, int], **more: Any) -> Case:
    own = {name: value for name, value in size.items() if name not in ("genes", "spots")}
    return Case(
        lambda: THItoGeneNetwork(112, size["genes"], graph_attention="as_released", **own),  # type: ignore[arg-type]
        lambda: section(size["spots"], 112, size["genes"]),
        run_section,
        settings=size,
        **more,
    )


def brstnet_case(architecture: str, *, px: int = 64, slow: bool = True) -> Case:
    return Case(
        lambda: brstnet(architecture, px, 10, 20),
        lambda: patches(4, px, 10, 20),
        run_brstnet,
        slow,
        {"architecture": architecture, "px": px},
    )


def two_layers(dimension: int) -> nn.Module:
    return he2rna_head("adapted", dimension, np.zeros(10), 16)


CASES = {
    "histogene": histogene(HISTOGENE),
    "histogene_full": histogene(HISTOGENE_FULL, slow=True),
    "hist2st": hist2st_case(HIST2ST),
    "hist2st_step": hist2st_case(HIST2ST, run_whole_step),
    "hist2st_full": hist2st_case(HIST2ST_FULL, slow=True),
    "thitogene": thitogene(THITOGENE),
    "thitogene_full": thitogene(THITOGENE_FULL, slow=True),
    "stnet": Case(
        lambda: regressor("densenet121", 10, lambda dimension: nn.Linear(dimension, 10)),
        lambda: patches(4, 64, 10),
        run_stnet,
    ),
    "he2gene_spat": Case(
        lambda: MultiHead(
            PixelNorm(MEAN, SD), make_backbone("resnet50"), genes=10, auxiliary=20, tumour=True
        ),
        lambda: neighbourhood(3, 32, 10, 20),
        run_he2gene,
        slow=True,
    ),
    "he2rna_original": Case(
        lambda: he2rna_head("original", 64, np.zeros(10), 32), lambda: features(5, 64, 10), run_head
    ),
    "he2rna_fine_tuned": Case(
        lambda: regressor("resnet50", 10, two_layers), lambda: patches(4, 64, 10), run_regressor, slow=True
    ),
    "histospace": Case(
        lambda: Predictor(Autoencoder(3).encoder, 10, 128, drift=True),
        lambda: images(2, 128, 10),
        run_predictor,
    ),
    "histospace_autoencoder": Case(lambda: Autoencoder(3), lambda: images(2, 64, 10), run_autoencoder),
    "brstnet_b0": brstnet_case("efficientnet_b0", slow=False),
    "brstnet_b1": brstnet_case("efficientnet_b1"),
    "brstnet_b2": brstnet_case("efficientnet_b2"),
    "brstnet_b3": brstnet_case("efficientnet_b3"),
    "brstnet_b4": brstnet_case("efficientnet_b4"),
    "brstnet_b5": brstnet_case("efficientnet_b5"),
    "brstnet_resnet101": brstnet_case("resnet101"),
    "brstnet_inception_v3": brstnet_case("inception_v3", px=96),
    "brstnet_vit_b_16": brstnet_case("vit_b_16"),
    "brstnet_vit_b_32": brstnet_case("vit_b_32"),
}
