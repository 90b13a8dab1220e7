"""Our networks compute what the authors' own classes do: outputs, losses and gradients against stored numbers.

tests/data/reference/README.md says how the numbers were computed, and from which code.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import nn
from unit.reference_cases import CASES, STORED, Case, fill, in_float32, no_chance, ours

from histobench.networks.backbones import make_backbone
from histobench.networks.released import as_released

# Relative to the largest number of its kind; two ways of writing one function differ by 4e-11 at most, another function by 1e-3.
TOLERANCE = 1e-8
# What float32 loses in networks whose running variances come from a batch of two or three noise images.
SINGLE = 1e-3

NAMES = [pytest.param(name, marks=[pytest.mark.slow] if case.slow else []) for name, case in CASES.items()]


@functools.cache
def expected(name: str) -> dict[str, np.ndarray]:
    with np.load(STORED / f"{name}.npz") as stored:
        return dict(stored)


def differences(found: dict[str, np.ndarray], stored: dict[str, np.ndarray]) -> dict[str, float]:
    """Largest difference of each kind of number, in units of the largest of that kind."""
    assert found.keys() == stored.keys()
    return {
        kind: float(np.abs(found[kind] - values).max() / max(np.abs(values).max(), 1e-300))
        if values.size
        else 0.0
        for kind, values in stored.items()
    }


def too_far(found, stored, tolerance=TOLERANCE):
    return {kind: far for kind, far in differences(found, stored).items() if not far <= tolerance}


@pytest.mark.parametrize("name", NAMES)
def test_outputs_losses_gradients_and_running_statistics_are_those_of_the_authors_class(name) -> None:
    found, network = ours(CASES[name])
    assert not too_far(found, expected(name))
    single = in_float32(CASES[name], network)
    assert not too_far(single, {kind: expected(name)[kind] for kind in single}, SINGLE)


def test_every_architecture_of_the_methods_is_guarded() -> None:
    from unit import described

    deep = {"histogene", "hist2st", "thitogene", "stnet", "he2gene", "he2rna", "histospace", "brstnet"}
    assert {name.split("_")[0] for name in CASES} == deep
    backbones = {described.method(*pair)["params"]["backbone"] for pair in described.arms("brstnet")}
    assert backbones == {CASES[name].settings["architecture"] for name in CASES if name.startswith("brstnet")}
    assert {file.stem for file in STORED.glob("*.npz")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_stored_numbers_are_numbers_of_a_network_that_does_something(name) -> None:
    stored = expected(name)
    assert all(np.isfinite(values).all() for values in stored.values())
    assert stored["loss"] > 0
    lengths = stored["gradients"][:, 0]
    # Hist2ST's heads for counts and copies take part in its whole step only
    assert (lengths > 0).mean() > (0.8 if name.startswith("hist2st") and name != "hist2st_step" else 0.98)
    for kind in stored:
        if kind.startswith("eval"):
            assert stored[kind].std() > 1e-3, kind


# -- the numbers tell a small change of the network from none -----------------------------------------


def changed(name: str, change) -> dict[str, float]:
    case = CASES[name]

    def build() -> nn.Module:
        network = case.build()
        change(network)
        return network

    found, _ = ours(Case(build, case.inputs, case.run))
    return too_far(found, expected(name))


def torchvisions_padding(network) -> None:
    network.backbone = make_backbone("efficientnet_b0").module
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps, layer.momentum = 1e-3, 0.01


def other_epsilon(kind, epsilon):
    def change(network) -> None:
        for layer in network.modules():
            if isinstance(layer, kind):
                layer.eps = epsilon

    return change


def other_activation(network) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.GELU):
            layer.approximate = "tanh"


def other_weight_of_copies(network) -> None:
    own = network.vote
    network.vote = lambda *given: (own(*given)[0], own(*given)[1] * 1.01)


def other_momentum(network) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.2


def neighbours(network) -> None:
    network.graph.inner.over = "neighbours"


@pytest.mark.parametrize(
    ("name", "change", "kinds"),
    [
        pytest.param(
            "brstnet_b0",
            torchvisions_padding,
            {"eval expression", "train expression", "loss", "gradients"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "stnet",
            other_epsilon(nn.BatchNorm2d, 1e-3),
            {"eval expression", "gradients"},
            marks=pytest.mark.slow,
        ),
        ("histogene", other_activation, {"eval expression", "gradients"}),
        ("hist2st_step", other_weight_of_copies, {"loss", "gradients"}),
        ("thitogene", neighbours, {"eval expression", "gradients"}),
        ("histospace_autoencoder", other_momentum, {"running"}),
    ],
)
def test_a_changed_network_is_noticed(name, change, kinds) -> None:
    assert kinds <= changed(name, change).keys()


def test_weights_follow_from_their_place_alone() -> None:
    """So that nobody has to store weights: a renamed layer keeps its numbers, another order does not."""

    def small(first: str, second: str) -> nn.Module:
        network = nn.Module()
        network.add_module(first, nn.Linear(3, 4))
        network.add_module(second, nn.BatchNorm2d(4))
        return network

    one, renamed, turned = small("a", "b"), small("c", "d"), nn.Sequential(nn.BatchNorm2d(4), nn.Linear(3, 4))
    for network in (one, renamed, turned):
        fill(network)
    for mine, other in zip(one.state_dict().values(), renamed.state_dict().values(), strict=True):
        assert torch.equal(mine, other)
    assert not torch.equal(one.a.weight, turned[1].weight)
    assert one.b.running_var.min() >= 1
    assert one.b.weight.min() > 0.9


def test_nothing_is_left_to_chance_in_a_comparison() -> None:
    network = no_chance(as_released(make_backbone("vit_b_32", input_px=32).module, "vit_b_32"))
    x = torch.rand(2, 3, 32, 32)
    network.train()
    assert torch.equal(network(x), network(x))
