"""Squash, routing, dynamic convolution and ConvMixer against formulas and hand-computed cases."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from histobench.networks.capsule import AttentionRouting, PrimaryCapsules, map_width, squash
from histobench.networks.convmixer import ConvMixerBlock
from histobench.networks.dynamic_conv import DynamicConv2d
from histobench.networks.norms import BatchNorm2d


def test_squash_of_a_vector_of_length_five():
    # (3, 4) has length 5 and becomes (0.6, 0.8) times 1 - exp(-5)
    shrink = 1 - math.exp(-5)
    torch.testing.assert_close(
        squash(torch.tensor([[3.0, 4.0]])), torch.tensor([[0.6 * shrink, 0.8 * shrink]])
    )


def test_squash_keeps_zero_and_has_a_gradient_there():
    zero = torch.zeros(2, 4, requires_grad=True)
    out = squash(zero)
    out.sum().backward()
    assert (out == 0).all()
    assert torch.isfinite(zero.grad).all()


def test_squash_of_long_vectors_has_length_one():
    assert squash(torch.full((1, 8), 1e3)).norm().item() == pytest.approx(1.0, abs=1e-6)


def test_routing_by_hand():
    # Two capsules below, two above, all of width 1 and with weights 1, 2 / 3, 0: from s = (1, 2) the votes are
    # u = [[1 * 1, 2 * 2], [3 * 1, 0 * 2]] = [[1, 4], [3, 0]]. Agreement is u times the row sum (5 and 3), over
    # sqrt(1): [[5, 20], [9, 0]]. Softmax runs down the columns (capsules above):
    # c(0,0) = e^5 / (e^5 + e^9) = 1 / (1 + e^4), c(1,0) = 1 / (1 + e^-4), c(0,1) = 1 / (1 + e^-20).
    routing = AttentionRouting(below=2, below_width=1, above=2, above_width=1)
    with torch.no_grad():
        routing.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 0.0]]).reshape(2, 2, 1, 1))
        routing.prior.copy_(torch.tensor([[0.5, 0.0], [0.0, 0.25]]))
    out = routing(torch.tensor([[[1.0], [2.0]]]))
    low, high, nearly_one = 1 / (1 + math.exp(4)), 1 / (1 + math.exp(-4)), 1 / (1 + math.exp(-20))
    first = (low + 0.5) * 1 + nearly_one * 4
    second = high * 3 + (1 - nearly_one + 0.25) * 0
    expected = [[[1 - math.exp(-first)], [1 - math.exp(-second)]]]
    torch.testing.assert_close(out, torch.tensor(expected))


def test_routing_is_its_formula():
    torch.manual_seed(0)
    n, below, d, above, e = 3, 4, 5, 6, 7
    routing = AttentionRouting(below, d, above, e)
    torch.nn.init.normal_(routing.prior)
    s = torch.randn(n, below, d)
    for spot in range(n):
        u = [[s[spot, i] @ routing.weight[k, i] for i in range(below)] for k in range(above)]
        c = torch.zeros(above, below)
        for k in range(above):
            for i in range(below):
                c[k, i] = sum(u[k][i] @ u[k][j] for j in range(below)) / math.sqrt(e)
        weights = torch.softmax(c, dim=0) + routing.prior
        rows = [sum(weights[k, i] * u[k][i] for i in range(below)) for k in range(above)]
        expected = torch.stack([(1 - torch.exp(-row.norm())) * row / row.norm() for row in rows])
        torch.testing.assert_close(routing(s)[spot], expected, rtol=1e-4, atol=1e-6)


def test_routing_starts_with_a_fan_in_of_all_three_axes():
    torch.manual_seed(0)
    weight = AttentionRouting(16, 8, 20, 64).weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (16 * 8 * 64)), rel=0.02)


def test_capsule_maps_of_a_112_px_patch():
    assert 112 // 4 == 28 and map_width(28) == 9
    primary = PrimaryCapsules((16, 32, 64, 64, 128), 28, 8)
    widths, x = [], torch.zeros(2, 16, 28, 28)
    for layer in primary.layers:
        x = layer(x)
        if isinstance(layer, torch.nn.Conv2d):
            widths.append((x.shape[1], x.shape[2]))
    assert widths == [(32, 24), (64, 22), (64, 20), (128, 9)]
    assert primary.collapse(x).shape == (2, 128, 1, 1)
    assert primary(torch.zeros(2, 16, 28, 28)).shape == (2, 16, 8)


def test_dynamic_convolution_is_an_ordinary_one_per_image():
    torch.manual_seed(0)
    layer = DynamicConv2d(3, 5, kernel=4, stride=4, candidates=4).eval()
    torch.nn.init.normal_(layer.norm.running_mean)
    x = 255 * torch.rand(6, 3, 17, 12)
    channels, filters, positions, kernels = layer.gates(x)
    torch.testing.assert_close(kernels.sum(dim=1), torch.ones(6))
    for image in range(6):
        kernel = sum(kernels[image, k] * layer.weight[k] for k in range(4)) * positions[image].reshape(4, 4)
        maps = functional.conv2d(x[image : image + 1] * channels[image].reshape(1, 3, 1, 1), kernel, stride=4)
        expected = maps * filters[image].reshape(1, 5, 1, 1)
        torch.testing.assert_close(layer(x)[image : image + 1], expected, rtol=1e-4, atol=1e-3)


def test_gates_of_the_dynamic_convolution_are_three_sigmoids_and_a_softmax():
    torch.manual_seed(0)
    layer = DynamicConv2d(3, 5, kernel=2, stride=2, candidates=4).eval()
    for gate in (layer.channel_gate, layer.filter_gate, layer.position_gate, layer.kernel_gate):
        torch.nn.init.normal_(gate.bias)
    x = torch.rand(6, 3, 8, 8)
    assert layer.squeeze.weight.shape == (16, 3, 1, 1)  # max(int(3 * 0.0625), 16)
    # fresh running statistics: mean 0, variance 1
    hidden = functional.relu(x.mean(dim=(2, 3)) @ layer.squeeze.weight[:, :, 0, 0].T / math.sqrt(1 + 1e-5))
    raw = [
        hidden @ gate.weight[:, :, 0, 0].T + gate.bias
        for gate in (layer.channel_gate, layer.filter_gate, layer.position_gate, layer.kernel_gate)
    ]
    expected = [1 / (1 + torch.exp(-value)) for value in raw[:3]]
    expected.append(torch.exp(raw[3]) / torch.exp(raw[3]).sum(dim=1, keepdim=True))
    for found, wanted in zip(layer.gates(x), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_dynamic_convolution_of_the_published_size():
    layer = DynamicConv2d(3, 16, kernel=4, stride=4)
    assert sum(p.numel() for p in layer.parameters()) == 3815
    assert layer(torch.zeros(2, 3, 112, 112)).shape == (2, 16, 28, 28)
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / (16 * 4 * 4)), rel=0.05)
    assert (layer.kernel_gate.bias == 0).all()


def test_convmixer_block_is_its_formula():
    torch.manual_seed(0)
    block = ConvMixerBlock(4, 5).eval()
    x = torch.randn(2, 4, 9, 9)
    conv1, norm1, _, conv2, norm2, _ = block.depthwise
    y = functional.gelu(norm2(conv2(functional.gelu(norm1(conv1(x))))))
    pointwise, _, norm3 = block.pointwise
    torch.testing.assert_close(block(x), norm3(functional.gelu(pointwise(x + y))))
    assert conv1.groups == 4 and block(x).shape == x.shape


def test_a_single_value_per_channel_takes_the_running_statistics():
    norm = BatchNorm2d(3).train()
    norm.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    before = norm.running_mean.clone()
    x = torch.tensor([2.0, 2.0, 5.0]).reshape(1, 3, 1, 1)
    torch.testing.assert_close(norm(x).flatten(), torch.tensor([1.0, 0.0, 2.0]), atol=1e-4, rtol=1e-4)
    assert torch.equal(norm.running_mean, before)


def test_more_values_take_their_own_statistics():
    torch.manual_seed(0)
    ours, theirs = BatchNorm2d(3).train(), torch.nn.BatchNorm2d(3).train()
    x = torch.randn(4, 3, 2, 2)
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.running_var, theirs.running_var)


def test_the_four_convolutions_start_as_released() -> None:
    """Normal with variance 2 / fan-in, 2.4 times as wide as PyTorch's own start, which the last one keeps."""
    capsules = PrimaryCapsules((16, 32, 64, 64, 128), 28, 8)
    layers = [layer for layer in capsules.layers if isinstance(layer, torch.nn.Conv2d)]
    spread = [layer.weight.std().item() for layer in layers]
    assert spread == pytest.approx([(2 / fan) ** 0.5 for fan in (400, 288, 576, 576)], rel=0.05)
    assert max(layer.weight.abs().max() for layer in layers) > 0.2  # no bound, as a uniform draw would have
    assert capsules.collapse.weight.abs().max() <= 1 / 9
