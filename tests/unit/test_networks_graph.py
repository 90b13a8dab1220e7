"""Neighbour graphs and the layers on them, against loops and hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from histobench.networks.graph import GraphAttention, NeighbourMean, mean_weights, nearest_neighbours

PLUS = np.array([[1, 1], [0, 1], [2, 1], [1, 0], [1, 2], [5, 1]])


def test_the_middle_of_a_cross_listens_to_its_arms():
    graph = nearest_neighbours(PLUS, 4)
    assert graph[0].tolist() == [False, True, True, True, True, False]
    assert not graph.diagonal().any()
    assert graph.sum(axis=1).tolist() == [4] * 6
    assert graph[5, 2] and not graph[2, 5], "the graph is directed"


def test_reach_prunes_long_edges_and_leaves_a_lonely_spot_to_itself():
    graph = nearest_neighbours(PLUS, 4, reach=2.0)
    assert np.flatnonzero(graph[5]).tolist() == [5]
    assert np.flatnonzero(graph[1]).tolist() == [0, 2, 3, 4], "an edge of length 2 stays"
    assert np.flatnonzero(nearest_neighbours(PLUS, 4, reach=1.9)[1]).tolist() == [0, 3, 4]


def test_self_loops_come_on_top_of_the_neighbours():
    graph = nearest_neighbours(PLUS, 4, self_loops=True)
    assert graph.diagonal().all()
    assert (graph.sum(axis=1) == 5).all()


def test_one_spot_listens_to_itself():
    assert nearest_neighbours(np.array([[3, 4]]), 4).tolist() == [[True]]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 25), st.integers(1, 5))
def test_neighbours_are_the_nearest_whatever_the_order_of_spots(seed, n, k):
    rng = np.random.default_rng(seed)
    cells = rng.permutation(36)[:n]
    grid = np.column_stack([cells % 6, cells // 6])
    graph = nearest_neighbours(grid, k)
    for spot in range(n):
        # by distance, then x, then y: a total order, as no two spots share a cell
        rest = sorted(
            (int(((grid[other] - grid[spot]) ** 2).sum()), *map(int, grid[other]), other)
            for other in range(n)
            if other != spot
        )
        assert set(np.flatnonzero(graph[spot])) == {entry[-1] for entry in rest[:k]}
    order = rng.permutation(n)
    assert np.array_equal(nearest_neighbours(grid[order], k), graph[np.ix_(order, order)])


def by_all_pairs(place, k, reach=None):
    """The graph of a square grid from all pairs of spots, in whole numbers."""
    n = len(place)
    rank = np.empty(n, dtype=np.int64)
    rank[np.lexsort((place[:, 1], place[:, 0]))] = np.arange(n)
    squared = ((place[:, None, :] - place[None, :, :]) ** 2).sum(axis=2)
    key = squared * n + rank
    np.fill_diagonal(key, np.iinfo(np.int64).max)
    graph = np.zeros((n, n), dtype=bool)
    np.put_along_axis(graph, np.argsort(key, axis=1)[:, : min(k, n - 1)], True, axis=1)
    if reach is not None:
        graph &= squared <= reach * reach
    alone = np.flatnonzero(~graph.any(axis=1))
    graph[alone, alone] = True
    return graph


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 90), st.integers(1, 8), st.sampled_from([None, 1.0, 1.5, 2.0]))
def test_a_square_grid_has_the_graph_of_all_pairs(seed, n, k, reach):
    """Holes, spots at one place and lonely spots included."""
    place = np.random.default_rng(seed).integers(0, 14, (n, 2))
    assert np.array_equal(nearest_neighbours(place, k, reach=reach), by_all_pairs(place, k, reach))


def test_four_neighbours_are_the_whole_ring_of_a_staggered_array():
    row, column = (axis.ravel() for axis in np.mgrid[:7, :7])
    place = np.column_stack([2 * column + row % 2, row])
    middle = int(np.flatnonzero((place == [7, 3]).all(axis=1))[0])
    rings = {"hexagonal": [(-2, 0), (-1, -1), (-1, 1), (1, -1), (1, 1), (2, 0)],
             "diamond": [(-1, -1), (-1, 1), (1, -1), (1, 1)]}  # fmt: skip
    for grid, ring in rings.items():
        graph = nearest_neighbours(place, 4, grid=grid, reach=2.0)
        offsets = place[graph[middle]] - place[middle]
        assert sorted(map(tuple, offsets.tolist())) == ring
        assert graph.any(axis=1).all() and not graph.diagonal().any()


def test_reach_is_in_pitches_on_every_grid():
    far = np.array([[0, 0], [6, 0], [7, 1], [0, 30], [0, 33]])
    hexagonal = nearest_neighbours(far, 4, grid="hexagonal", reach=2.9)
    assert np.argwhere(hexagonal).tolist() == [[0, 0], [1, 2], [2, 1], [3, 4], [4, 3]]
    loose = np.array([[0.0, 0.0], [100.0, 0.0], [200.0, 0.0], [300.0, 0.0], [400.0, 0.0], [2000.0, 0.0]])
    graph = nearest_neighbours(loose, 4, grid="irregular", reach=1.0)
    assert graph[5].tolist() == [False] * 5 + [True]
    assert graph[:5, :5].any(axis=1).all()


def test_mean_layer_is_its_formula():
    torch.manual_seed(0)
    graph = torch.from_numpy(nearest_neighbours(PLUS, 2))
    weights = mean_weights(graph)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(6))
    layer, x = NeighbourMean(5), torch.randn(6, 5)
    rows = [x[graph[spot]].mean(dim=0) @ layer.weight for spot in range(6)]
    expected = torch.stack([row.relu() / row.relu().norm().clamp_min(1e-12) for row in rows])
    torch.testing.assert_close(layer(x, weights), expected)
    assert (layer(x, weights).norm(dim=1) - 1).abs().max() < 1e-5


def test_mean_layer_survives_a_vector_that_relu_empties():
    layer = NeighbourMean(3)
    x = torch.zeros(2, 3, requires_grad=True)
    layer(x, torch.tensor([[0.0, 1.0], [1.0, 0.0]])).sum().backward()
    assert torch.isfinite(x.grad).all() and torch.isfinite(layer.weight.grad).all()


def reference_scores(layer, x):
    """LeakyReLU(a . [W h_i, W h_j]) by loops, (heads, spots, spots)."""
    n = len(x)
    scores = torch.zeros(layer.heads, n, n)
    for head in range(layer.heads):
        h = x @ layer.weight[:, head]
        a = torch.cat([layer.receiver[head], layer.sender[head]])
        for i in range(n):
            for j in range(n):
                scores[head, i, j] = functional.leaky_relu(torch.cat([h[i], h[j]]) @ a, 0.01)
    return scores


@pytest.fixture
def case():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    cells = rng.permutation(30)[:11]
    grid = np.column_stack([cells % 6, cells // 6])
    grid[-1] = 40, 40  # so far off that nobody listens to it
    graph = torch.from_numpy(nearest_neighbours(grid, 4))
    return torch.randn(11, 7), graph


def test_attention_over_neighbours_sums_to_one_over_at_most_four(case):
    x, graph = case
    layer = GraphAttention(7, 5, heads=3)
    weights = layer.attention(layer.project(x), graph)
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(3, 11))
    assert ((weights > 0).sum(dim=2) <= 4).all()
    assert (weights[:, ~graph] == 0).all()
    scores = reference_scores(layer, x)
    for i in range(11):
        own = graph[i]
        torch.testing.assert_close(weights[:, i, own], torch.softmax(scores[:, i, own], dim=1))


def test_attention_over_receivers_sums_to_one_by_column_and_spreads_unheard_spots(case):
    x, graph = case
    layer = GraphAttention(7, 5, heads=3, over="receivers")
    weights = layer.attention(layer.project(x), graph)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3, 11))
    assert (weights.sum(dim=2) - 1).abs().max() > 0.1, "rows do not sum to one"
    unheard = ~graph.any(dim=0)
    assert unheard[-1]
    torch.testing.assert_close(weights[:, :, unheard], torch.full((3, 11, int(unheard.sum())), 1 / 11))
    scores = reference_scores(layer, x)
    for j in torch.nonzero(~unheard).flatten():
        heard = graph[:, j]
        torch.testing.assert_close(weights[:, heard, j], torch.softmax(scores[:, heard, j], dim=1))


def test_attention_layer_sums_projected_neighbours(case):
    x, graph = case
    layer = GraphAttention(7, 5, heads=3)
    weights = layer.attention(layer.project(x), graph)
    expected = torch.cat([weights[head] @ (x @ layer.weight[:, head]) for head in range(3)], dim=1)
    torch.testing.assert_close(layer(x, graph), expected)


def test_concatenation_mixes_a_spot_with_its_neighbours(case):
    x, graph = case
    layer = GraphAttention(7, 5, heads=2, concatenate=True)
    weights, projected = layer.attention(layer.project(x), graph), layer.project(x)
    expected = []
    for head, mix in enumerate(layer.mix):
        both = torch.cat([projected[head], weights[head] @ projected[head]], dim=1)
        expected.append(both @ mix.weight.T + mix.bias)
    torch.testing.assert_close(layer(x, graph), torch.cat(expected, dim=1))


def test_unknown_form_is_refused():
    with pytest.raises(ValueError, match="over"):
        GraphAttention(2, 2, over="rows")
