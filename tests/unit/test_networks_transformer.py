"""Attention over spots against its formula, and embeddings of grid positions."""

from __future__ import annotations

import math

import pytest
import torch

from histobench.networks.transformer import GridEmbedding, SelfAttention, TransformerBlock, transformer


def test_attention_is_its_formula():
    torch.manual_seed(0)
    layer = SelfAttention(width=6, heads=2, head_width=3, dropout=0.5).eval()
    x = torch.randn(5, 6)
    weight = layer.project.weight
    joined = []
    for head in range(2):
        rows = slice(3 * head, 3 * head + 3)
        query, key, value = (x @ weight[6 * part : 6 * part + 6][rows].T for part in range(3))
        joined.append(torch.softmax(query @ key.T / math.sqrt(3), dim=1) @ value)
    expected = torch.cat(joined, dim=1) @ layer.out.weight.T + layer.out.bias
    torch.testing.assert_close(layer(x), expected)


def test_a_block_normalises_before_and_adds_after():
    torch.manual_seed(0)
    block = TransformerBlock(width=8, heads=2, head_width=4, hidden=12, dropout=0.3).eval()
    x = torch.randn(7, 8)
    middle = x + block.attention(block.attention_norm(x))
    torch.testing.assert_close(block(x), middle + block.mlp(block.mlp_norm(middle)))


def test_spots_are_a_set():
    torch.manual_seed(0)
    network = transformer(8, 2, heads=2, head_width=4, hidden=12, dropout=0.1).eval()
    x, order = torch.randn(9, 8), torch.randperm(9)
    torch.testing.assert_close(network(x)[order], network(x[order]))


def test_only_dropout_makes_training_random():
    torch.manual_seed(0)
    x = torch.randn(9, 8)
    certain = transformer(8, 1, heads=2, head_width=4, hidden=12, dropout=0.0).train()
    assert torch.equal(certain(x), certain(x))
    unsure = transformer(8, 1, heads=2, head_width=4, hidden=12, dropout=0.5).train()
    assert not torch.equal(unsure(x), unsure(x))


def test_positions_look_up_rows_of_two_tables():
    table = GridEmbedding(positions=4, width=2)
    across, down = table(torch.tensor([[3, 0], [1, 1]]))
    assert torch.equal(across, table.x.weight[[3, 1]])
    assert torch.equal(down, table.y.weight[[0, 1]])


def test_positions_start_as_small_as_asked():
    tables = []
    for sd in (1.0, 0.02):
        torch.manual_seed(3)
        tables.append(GridEmbedding(positions=40, width=50, sd=sd))
    torch.testing.assert_close(tables[1].x.weight, 0.02 * tables[0].x.weight)
    assert tables[0].y.weight.std().item() == pytest.approx(1.0, abs=0.05)
    assert tables[1].y.weight.std().item() == pytest.approx(0.02, abs=0.001)
