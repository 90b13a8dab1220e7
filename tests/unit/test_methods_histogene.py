"""HisToGene: sizes of the published network, and what it does with patches and positions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from histobench.methods.histogene import HisToGeneNetwork
from histobench.networks.backbones import count_parameters

SMALL = {"width": 16, "heads": 2, "head_width": 8, "hidden": 24, "depth": 2, "positions": 9}


def on_paper(genes, **changes):
    """The published network without its numbers: only shapes."""
    with torch.device("meta"):
        return HisToGeneNetwork(112, genes, **changes)


@pytest.mark.parametrize(
    ("genes", "depth", "count"),
    [(785, 8, 106_648_337), (250, 8, 106_099_962), (785, 4, 73_061_137)],
)
def test_parameter_counts(genes, depth, count):
    assert count_parameters(on_paper(genes, depth=depth)) == count


def test_the_tutorials_own_count_has_35_positions():
    # its log prints 426.356 MB of float32 weights
    count = count_parameters(on_paper(785, positions=35))
    assert count == 106_588_945
    assert round(4 * count / 1e6, 3) == 426.356


def test_shapes():
    network = on_paper(785)
    assert network.patch.in_features == 37_632
    with torch.device("meta"):
        expression, features = network(torch.empty((5, 3, 112, 112)), torch.zeros((5, 2), dtype=torch.long))
    assert expression.shape == (5, 785)
    assert features.shape == (5, 1024)


def small(**changes):
    torch.manual_seed(0)
    return HisToGeneNetwork(8, 5, **{**SMALL, **changes}).eval()


def section(n=13, seed=0):
    rng = np.random.default_rng(seed)
    pixels = torch.from_numpy(rng.integers(0, 256, (n, 3, 8, 8), dtype=np.uint8))
    return pixels, torch.from_numpy(rng.integers(0, 9, (n, 2)))


def test_forward_is_its_formula():
    network = small()
    pixels, grid = section()
    tokens = pixels.reshape(13, -1).float() @ network.patch.weight.T + network.patch.bias
    tokens = tokens + network.position.x.weight[grid[:, 0]] + network.position.y.weight[grid[:, 1]]
    features = network.blocks(tokens)
    norm, last = network.head
    expected = (
        torch.nn.functional.layer_norm(features, (16,), norm.weight, norm.bias) @ last.weight.T + last.bias
    )
    torch.testing.assert_close(network(pixels, grid)[0], expected)


def test_equivariant_to_the_order_of_spots():
    network = small()
    pixels, grid = section()
    order = torch.randperm(13)
    for before, after in zip(network(pixels, grid), network(pixels[order], grid[order]), strict=True):
        torch.testing.assert_close(before[order], after, rtol=1e-4, atol=1e-4)


def test_position_matters():
    network = small()
    pixels, grid = section()
    assert not torch.allclose(network(pixels, grid)[0], network(pixels, 8 - grid)[0])


def test_dividing_pixels_is_the_network_on_smaller_numbers():
    plain, divided = small(), small(pixel_divisor=255)
    pixels, grid = section()
    torch.testing.assert_close(divided(pixels, grid)[0], plain(pixels / 255, grid)[0])


def test_dropout_is_where_it_was_published():
    """After the embedding, and in each block after attention and after both layers of the MLP; none on attention."""
    found = [module.p for module in on_paper(785).modules() if isinstance(module, torch.nn.Dropout)]
    assert found == [0.1] * (1 + 3 * 8)
