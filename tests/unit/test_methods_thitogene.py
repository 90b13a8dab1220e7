"""THItoGene: sizes of the published network and its ablations, attention in both forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from unit import described

from histobench.errors import UserError
from histobench.methods.thitogene import GraphEncoder, PlainEncoder, THItoGeneNetwork
from histobench.networks.backbones import count_parameters
from histobench.networks.capsule import AttentionRouting
from histobench.networks.dynamic_conv import DynamicConv2d
from histobench.networks.graph import nearest_neighbours

SMALL = {
    "stem_channels": 4, "kernels": 2, "capsule_channels": [8, 8, 8, 16], "primary_width": 4, "n_capsules": 4,
    "capsule_width": 8, "depth": 1, "heads": 2, "head_width": 8, "hidden": 32, "graph_heads": 2, "graph_width": 8,
    "graph_out": 16, "head_hidden": 16, "positions": 9,
}  # fmt: skip


def on_paper(genes=785, **changes):
    with torch.device("meta"):
        return THItoGeneNetwork(112, genes, **changes)


@pytest.mark.parametrize(
    ("genes", "depth", "count"),
    [(785, 4, 63_586_712), (250, 4, 63_038_337), (171, 8, 109_136_690)],
)
def test_parameter_counts(genes, depth, count):
    assert count_parameters(on_paper(genes, depth=depth)) == count


def test_parameter_counts_of_the_parts():
    network = on_paper()
    stem, _, primary, routing, _ = network.patches
    assert count_parameters(stem) == 3_815
    assert count_parameters(primary) + count_parameters(routing) == 317_344
    assert count_parameters(network.position) == 8_192
    assert count_parameters(network.blocks) == 46_179_328
    assert count_parameters(network.graph) == 15_746_048
    assert count_parameters(network.head) == 1_331_985


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        # 3 x 16 kernels of 4 x 4 and 16 biases for the dynamic convolution
        ({"dynamic_conv": False}, (3 * 16 * 16 + 16) - 3_815),
        # 16 channels, or 16 x 28 x 28 positions, to 20 x 64 numbers for the capsules
        ({"capsules": "pooled"}, (16 * 1280 + 1280) - 317_344),
        ({"capsules": "flattened"}, (12_544 * 1280 + 1280) - 317_344),
        ({"depth": 0}, -46_179_328),
        ({"graph_attention": "none"}, (1408 * 512 + 512) - 15_746_048),
        ({"graph_attention": "as_released"}, 0),
        # per head, own and neighbours' numbers to as many as one of them, with bias
        ({"concatenate": True}, 8 * (2048 * 1024 + 1024) + (1024 * 512 + 512)),
    ],
)
def test_parameter_counts_of_ablations_and_arms(changes, difference):
    assert count_parameters(on_paper(**changes)) == 63_586_712 + difference


def test_shapes():
    network = on_paper()
    with torch.device("meta"):
        pixels, grid = torch.empty((5, 3, 112, 112)), torch.zeros((5, 2), dtype=torch.long)
        stem, _, primary, routing, _ = network.patches
        maps = stem(pixels)
        assert maps.shape == (5, 16, 28, 28)
        assert primary(maps).shape == (5, 16, 8)
        assert routing(primary(maps)).shape == (5, 20, 64)
        x = network.blocks(torch.empty((5, 1408)))
        assert x.shape == (5, 22 * 64) == (5, 1408)
        inner = network.graph.inner(x, torch.ones((5, 5), dtype=torch.bool))
        assert inner.shape == (5, 8_192)
        expression, features = network(pixels, grid, torch.ones((5, 5), dtype=torch.bool))
    assert expression.shape == (5, 785)
    assert features.shape == (5, 512)


def test_the_ablations_and_the_released_form_differ_from_the_method_in_one_parameter():
    expected = {
        "as_released": {"graph_attention": "as_released"},
        "no_dynamic_conv": {"dynamic_conv": False},
        "no_capsules_weak": {"capsules": "pooled"},
        "no_capsules_strong": {"capsules": "flattened"},
        "no_transformer": {"depth": 0},
        "no_graph_attention": {"graph_attention": "none"},
    }
    arms = described.method("thitogene")["arms"]
    assert {name: arms[name]["params"] for name in expected} == expected


def small(**changes):
    torch.manual_seed(0)
    return THItoGeneNetwork(44, 5, **{**SMALL, **changes}).eval()


def section(n=13, seed=0):
    rng = np.random.default_rng(seed)
    cells = rng.permutation(49)[:n]
    grid = np.column_stack([cells % 7, cells // 7])
    pixels = torch.from_numpy(rng.integers(0, 256, (n, 3, 44, 44), dtype=np.uint8))
    return pixels, torch.from_numpy(grid), torch.from_numpy(nearest_neighbours(grid, 4))


def elu(x):
    return torch.where(x > 0, x, torch.exp(x) - 1)


def test_forward_is_its_formula():
    network = small()
    for table in (network.position.x, network.position.y):
        torch.nn.init.normal_(table.weight)
    pixels, grid, graph = section()
    stem, _, primary, routing, _ = network.patches
    capsules = routing(primary(stem(pixels.float()).relu()))  # (spots, 4, 8)
    # the positions are two more capsules, of x and of y, behind the others
    places = [network.position.x.weight[grid[:, 0]], network.position.y.weight[grid[:, 1]]]
    tokens = torch.cat([capsules, *(place[:, None] for place in places)], dim=1).flatten(1)
    assert tokens.shape == (13, (4 + 2) * 8)
    x = network.blocks(tokens)

    def attend(layer, x):
        heads = []
        for head in range(layer.heads):
            h = x @ layer.weight[:, head]
            rows = []
            for i in range(len(x)):
                near = graph[i].nonzero().flatten()
                score = h[i] @ layer.receiver[head] + h[near] @ layer.sender[head]
                rows.append(torch.softmax(torch.where(score > 0, score, 0.01 * score), dim=0) @ h[near])
            heads.append(elu(torch.stack(rows)))
        return torch.cat(heads, dim=1)

    features = attend(network.graph.outer, attend(network.graph.inner, x))
    first, _, norm, last = network.head
    hidden = torch.nn.functional.layer_norm(first(features).relu(), (16,), norm.weight, norm.bias)
    expression, embedding = network(pixels, grid, graph)
    torch.testing.assert_close(embedding, features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(expression, hidden @ last.weight.T + last.bias, rtol=1e-4, atol=1e-5)


def test_dropout_is_where_it_was_published():
    """After the embedding, after attention and in the MLP of each block, before and on both graph attentions."""
    found = [module.p for module in on_paper().modules() if isinstance(module, torch.nn.Dropout)]
    assert found == [0.2] * (1 + 3 * 4 + 1 + 2)


def attention_in(network, *given):
    """The attention weights of both graph layers during one pass."""
    seen = []
    for layer in (network.graph.inner, network.graph.outer):
        layer.register_forward_hook(
            lambda layer, given, _: seen.append(layer.attention(layer.project(given[0]), given[1]))
        )
    network(*given)
    assert len(seen) == 2
    return seen


def test_rows_of_the_papers_attention_sum_to_one_over_four_neighbours():
    for weights in attention_in(small(), *section()):
        torch.testing.assert_close(weights.sum(dim=2), torch.ones(weights.shape[:2]))
        assert ((weights > 0).sum(dim=2) <= 4).all()


def test_columns_of_the_released_attention_sum_to_one():
    for weights in attention_in(small(graph_attention="as_released"), *section()):
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(weights.shape[::2]))
        assert (weights.sum(dim=2) - 1).abs().max() > 0.1


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"graph_attention": "as_released"},
        {"graph_attention": "none"},
        {"concatenate": True},
        {"depth": 0},
        {"dynamic_conv": False},
        {"capsules": "pooled"},
        {"capsules": "flattened"},
    ],
    ids=str,
)
def test_equivariant_to_the_order_of_spots(changes):
    network = small(**changes, pixel_divisor=255)
    pixels, grid, graph = section()
    order = np.random.default_rng(1).permutation(13)
    moved = torch.from_numpy(nearest_neighbours(grid.numpy()[order], 4))
    assert torch.equal(moved, graph[order][:, order])
    before, _ = network(pixels, grid, graph)
    after, _ = network(pixels[order], grid[order], moved)
    torch.testing.assert_close(before[order], after, rtol=1e-4, atol=1e-5)


def test_ablations_leave_out_what_they_say():
    full = small()
    assert isinstance(full.patches[0], DynamicConv2d) and isinstance(full.graph, GraphEncoder)
    assert any(isinstance(part, AttentionRouting) for part in full.patches)
    assert not isinstance(small(dynamic_conv=False).patches[0], DynamicConv2d)
    for kind in ("pooled", "flattened"):
        assert not any(isinstance(part, AttentionRouting) for part in small(capsules=kind).patches)
    bare = small(depth=0).blocks
    x = torch.randn(3, 48)
    assert torch.equal(bare.train()(x), x)
    assert isinstance(small(graph_attention="none").graph, PlainEncoder)


def test_without_attention_and_transformer_a_spot_stands_alone():
    network = small(depth=0, graph_attention="none")
    pixels, grid, graph = section()
    changed = pixels.clone()
    changed[4] = 255 - changed[4]
    moved = (network(pixels, grid, graph)[0] != network(changed, grid, graph)[0]).any(dim=1)
    assert moved.nonzero().flatten().tolist() == [4]


def test_messages_travel_two_edges():
    network = small(depth=0)
    pixels, grid, graph = section(n=30)
    changed = pixels.clone()
    changed[4] = 255 - changed[4]
    moved = (network(pixels, grid, graph)[0] != network(changed, grid, graph)[0]).any(dim=1)
    hops = graph.float() + graph.float() @ graph.float()
    assert moved.any()
    assert set(moved.nonzero().flatten().tolist()) <= set((hops[:, 4] > 0).nonzero().flatten().tolist())
    assert not moved.all()


@pytest.mark.parametrize(
    ("px", "changes", "word"),
    [
        (40, {}, "at least 44"),
        (44, {"capsules": "none"}, "routing, pooled, flattened"),
        (44, {"graph_attention": "rows"}, "as_released"),
        (44, {"primary_width": 5}, "primary_width"),
    ],
)
def test_wrong_settings_are_one_sentence(px, changes, word):
    with pytest.raises(UserError, match=word):
        THItoGeneNetwork(px, 5, **{**SMALL, **changes})
