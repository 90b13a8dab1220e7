"""Hist2ST: sizes of the published network, the three parts of its loss, isolated spots."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from histobench.errors import UserError
from histobench.methods.hist2st import Hist2ST, Hist2STNetwork, augmented, copy_weights, mixed, size_factors
from histobench.networks.backbones import count_parameters
from histobench.networks.graph import mean_weights, nearest_neighbours
from histobench.networks.zinb import zinb_loss
from histobench.training.conformance import ALL_GENES, GENES, make_section, make_study
from histobench.training.contract import Context
from histobench.training.network_method import Shape, Start
from histobench.training.sections import Section

SMALL = {
    "patch_kernel": 4, "mixer_kernel": 3, "channels": 8, "squeeze": 4, "mixer_depth": 1, "depth": 1, "graph_depth": 3,
    "heads": 2, "head_width": 8, "positions": 9,
}  # fmt: skip
TINY = {**SMALL, "input_px": 16, "pixel_divisor": 255, "epochs": 3, "learning_rate": 1e-3, "copies": 2}
CONTEXT = Context(genes=GENES, all_genes=ALL_GENES, seed=7, device="cpu", weights="none", threads=1)


def on_paper(genes):
    with torch.device("meta"):
        return Hist2STNetwork(112, genes)


@pytest.mark.parametrize(("genes", "count"), [(785, 75_789_833), (250, 73_596_333), (171, 73_272_433)])
def test_parameter_counts(genes, count):
    assert count_parameters(on_paper(genes)) == count


def test_the_tutorials_own_counts():
    network = on_paper(785)
    # its log prints 303.159 MB of float32 weights
    assert round(4 * count_parameters(network) / 1e6, 3) == 303.159
    # what it calls the encoder stands between the first convolution, the positions and the heads
    around = (
        network.patches[0],
        network.position,
        network.gene_head,
        network.counts_head,
        network.coefficient_head,
    )
    assert count_parameters(network) - sum(map(count_parameters, around)) == 71_382_852


def test_shapes():
    network = on_paper(785)
    with torch.device("meta"):
        pixels, grid = torch.empty((5, 3, 112, 112)), torch.zeros((5, 2), dtype=torch.long)
        assert network.patches[0](pixels).shape == (5, 32, 16, 16)
        assert network.patches(pixels).shape == (5, (112 // 7) ** 2 * 4) == (5, 1024)
        expression, features = network(pixels, grid, torch.empty((5, 5)))
    assert expression.shape == (5, 785)
    assert features.shape == (5, 1024)


def small(**changes):
    torch.manual_seed(0)
    return Hist2STNetwork(16, 5, **{**SMALL, **changes}).eval()


def section(n=13, seed=0):
    rng = np.random.default_rng(seed)
    cells = rng.permutation(49)[:n]
    grid = np.column_stack([cells % 7, cells // 7])
    pixels = torch.from_numpy(rng.integers(0, 256, (n, 3, 16, 16), dtype=np.uint8))
    weights = mean_weights(torch.from_numpy(nearest_neighbours(grid, 4, reach=2.0)))
    return pixels, torch.from_numpy(grid), weights


def test_patches_become_features_by_their_formula():
    network = small().double()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean)
    first, dropout, block, squeeze, _ = network.patches
    assert (first.kernel_size, first.stride) == ((4, 4), (4, 4)) and dropout.p == 0.2
    pixels, _, _ = section()
    x = block(first(pixels.double()))  # the block: test_convmixer_block_is_its_formula
    wanted = torch.einsum("nchw,oc->nohw", x, squeeze.weight[:, :, 0, 0]) + squeeze.bias[:, None, None]
    torch.testing.assert_close(network.patches(pixels.double()), wanted.flatten(1))


def test_dropout_is_where_it_was_published():
    """On the first map, and in each block after attention and after both layers of the MLP."""
    found = [module.p for module in on_paper(785).modules() if isinstance(module, torch.nn.Dropout)]
    assert found == [0.2] * (1 + 3 * 8)
    assert on_paper(785).lstm.num_layers == 2 and on_paper(785).lstm.hidden_size == 1024


def test_encoding_is_its_formula():
    network = small()
    pixels, grid, weights = section()
    x = network.patches(pixels.float())
    x = network.blocks(x + network.position.x.weight[grid[:, 0]] + network.position.y.weight[grid[:, 1]])
    outputs = []
    for layer in network.graph:
        x = torch.nn.functional.normalize(((weights @ x) @ layer.weight).relu(), dim=1)
        outputs.append(x)
    # spot by spot, the layers are the time steps
    expected = torch.stack(
        [network.lstm(torch.stack([out[spot] for out in outputs]))[0].mean(dim=0) for spot in range(len(x))]
    )
    torch.testing.assert_close(network.encode(pixels, grid, weights), expected, rtol=1e-4, atol=1e-5)


def test_equivariant_to_the_order_of_spots():
    network = small()
    pixels, grid, _ = section()
    order = np.random.default_rng(1).permutation(13)

    def run(pixels, grid):
        graph = nearest_neighbours(grid.numpy(), 4, reach=2.0)
        return network(pixels, grid, mean_weights(torch.from_numpy(graph)))[0]

    torch.testing.assert_close(
        run(pixels, grid)[order], run(pixels[order], grid[order]), rtol=1e-4, atol=1e-5
    )


def test_patches_in_pieces_give_the_same_prediction():
    network = small()
    pixels, grid, weights = section(n=40)
    pixels, grid = pixels.repeat(10, 1, 1, 1), grid.repeat(10, 1)
    weights = torch.eye(400)
    whole = network.patches(pixels.float())
    seen = []
    network.patches[0].register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    expression, _ = network(pixels, grid, weights)
    assert seen == [256, 144]
    across, down = network.position(grid)
    x = network.blocks(whole + across + down)
    layers = []
    for layer in network.graph:
        x = layer(x, weights)
        layers.append(x)
    expected = network.gene_head(network.lstm(torch.stack(layers))[0].mean(dim=0))
    torch.testing.assert_close(expression, expected, rtol=1e-4, atol=1e-5)


def test_an_isolated_spot_gives_no_nan():
    far = make_section("p3", "s4", 11, 3)
    places = far.spots.assign(array_x=far.spots["array_x"].where(np.arange(11) != 4, 8.0))
    places.loc[places.index[4], "array_y"] = 8.0
    far = replace(far, spots=places)
    graph = nearest_neighbours(places[["array_x", "array_y"]].to_numpy(), 4, reach=2.0)
    assert np.flatnonzero(graph[4]).tolist() == [4], "the spot must be out of reach"
    method = Hist2ST(**TINY)
    told = method.fit([far, *make_study()[0][:2]], [], CONTEXT)
    assert np.isfinite([row["loss"] for row in told.history]).all()
    assert all(torch.isfinite(weight).all() for weight in method.fitted.state_dict().values())
    assert np.isfinite(method.predict(far.without_truth()).expression).all()


# -- the loss ---------------------------------------------------------------------------------------


def test_copy_weights_sum_to_one_for_each_spot():
    votes = torch.randn(5, 7, 1) * 10
    weights = copy_weights(votes)
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(7, 1))
    torch.testing.assert_close(weights[2, 3, 0], votes[2, 3, 0].exp() / votes[:, 3, 0].exp().sum())


def test_mixture_by_hand():
    # votes 0 and ln 3 weigh two predictions 1 : 3
    views = torch.tensor([[[4.0, 0.0]], [[8.0, 4.0]]])
    votes = torch.tensor([[[0.0]], [[np.log(3.0)]]])
    torch.testing.assert_close(mixed(views, votes), torch.tensor([[7.0, 3.0]]))


def test_loss_is_the_sum_of_its_three_parts():
    method = Hist2ST(**{**TINY, "copies": 3, "dropout": 0.0, "checkpointing": False})
    pixels, grid, weights = section()
    torch.manual_seed(0)
    network = method.network(Shape(5, 16), Start()).eval()
    rng = np.random.default_rng(0)
    counts = torch.from_numpy(rng.poisson(2.0, (13, 5)).astype(np.float32))
    factor = torch.from_numpy(size_factors(counts.numpy()))
    targets = torch.log10(1 + counts)
    given = Section(np.arange(13), grid, weights, targets, {"counts": counts, "size_factor": factor})
    loss = method.section_loss(network, pixels, given, np.random.default_rng(5))

    predicted, params = network.all_heads(pixels, grid, weights)
    squared = ((predicted - targets) ** 2).mean()
    likelihood = zinb_loss(counts, factor, params).mean()
    same = np.random.default_rng(5)
    views, votes = zip(*(network.vote(augmented(pixels, same), grid, weights) for _ in range(3)), strict=True)
    share = torch.softmax(torch.stack(votes), dim=0)
    mixture = sum(share[copy] * views[copy] for copy in range(3))
    distillation = ((mixture - predicted) ** 2).mean()
    assert min(squared, likelihood, distillation) > 0
    torch.testing.assert_close(loss, squared + 0.25 * likelihood.float() + 0.5 * distillation)


def test_both_sides_of_the_distillation_learn():
    method = Hist2ST(**{**TINY, "zinb_weight": 0.0, "distillation_weight": 1.0})
    pixels, grid, weights = section()
    network = method.network(Shape(5, 16), Start())
    predicted, _ = network(pixels, grid, weights)
    # targets equal to the prediction: all gradient comes from the distillation
    network.eval()
    wanted = network(pixels, grid, weights)[0].detach()
    given = Section(np.arange(13), grid, weights, wanted, {})
    method.section_loss(network, pixels, given, np.random.default_rng(0)).backward()
    assert network.coefficient_head[0].weight.grad.abs().sum() > 0
    assert network.gene_head[1].weight.grad.abs().sum() > 0
    assert network.counts_head.mean.weight.grad is None
    assert predicted.shape == wanted.shape


def test_recomputing_copies_changes_no_number():
    train, test = make_study()
    results = []
    for checkpointing in (True, False):
        method = Hist2ST(**{**TINY, "checkpointing": checkpointing})
        told = method.fit(train, [], CONTEXT)
        results.append(
            ([row["loss"] for row in told.history], method.predict(test.without_truth()).expression)
        )
        state = method.fitted.state_dict()
        # three epochs of four sections, each seen once and in two copies
        assert {int(v) for k, v in state.items() if k.endswith("num_batches_tracked")} == {36}
        results[-1] += tuple(v.numpy() for k, v in state.items() if "running" in k)
    for kept, again in zip(*results, strict=True):
        assert np.array_equal(kept, again)


# -- augmentation -----------------------------------------------------------------------------------


class Draws:
    """A generator that gives wanted draws."""

    def __init__(self, grey, turn, flip):
        self.values, self.turn = iter([grey, flip]), turn

    def random(self):
        return next(self.values)

    def uniform(self, low, high):
        assert (low, high) == (-90.0, 90.0)
        return self.turn


def picture(n=3, width=16):
    return torch.from_numpy(np.random.default_rng(0).integers(1, 256, (n, 3, width, width), dtype=np.uint8))


def test_no_draw_changes_nothing_and_each_draw_its_own():
    pixels = picture()
    assert torch.equal(augmented(pixels, Draws(0.5, 0.0, 0.5)), pixels)
    assert torch.equal(augmented(pixels, Draws(0.5, 0.0, 0.1)), pixels.flip(-1))
    assert torch.equal(augmented(pixels, Draws(0.5, 90.0, 0.5)), torch.rot90(pixels, 1, (-2, -1)))
    grey = augmented(pixels, Draws(0.05, 0.0, 0.5))
    assert torch.equal(grey[:, 0], grey[:, 1]) and torch.equal(grey[:, 1], grey[:, 2])
    assert grey.dtype == torch.uint8


def test_corners_that_turn_in_are_zero():
    turned = augmented(picture(width=21), Draws(0.5, 45.0, 0.5))
    assert (turned[..., 0, 0] == 0).all() and (turned[..., -1, -1] == 0).all()
    assert (turned[..., 10, 10] > 0).all()


def test_one_draw_for_all_spots_and_the_published_rates():
    same = picture(1).repeat(4, 1, 1, 1)
    grey = 0
    for seed in range(400):
        out = augmented(same, np.random.default_rng(seed))
        assert (out == out[:1]).all()
        grey += bool((out[0, 0] == out[0, 1]).all())
    # binomial(400, 0.1): mean 40, sd 6
    assert 16 < grey < 64


# -- inputs -----------------------------------------------------------------------------------------


def test_size_factors_are_panel_counts_over_their_median():
    counts = np.array([[1, 1], [2, 2], [4, 4]])
    assert size_factors(counts).tolist() == [0.5, 1.0, 2.0]
    assert size_factors(np.zeros((3, 2))).tolist() == [0, 0, 0]


def test_counts_follow_the_panel_by_name():
    section = make_section("p", "s", 9, 0)
    context = replace(CONTEXT, genes=("E", "B"))
    extra = Hist2ST().extra(section, context)
    dense = section.counts.toarray()
    assert np.array_equal(extra["counts"].numpy(), dense[:, [4, 1]])
    assert np.allclose(extra["size_factor"].numpy(), size_factors(dense[:, [4, 1]]))


def test_standardised_counts_start_at_their_mean():
    train, _ = make_study()
    method = Hist2ST(standardise=True)
    training = method.begin(train, [], CONTEXT)
    replace(method, standardise=False).examples(training)
    sections = training.more["sections"]
    counts = torch.cat([section.extra["counts"] for section in sections])
    method.standardise_targets(sections)
    factor = torch.cat([section.extra["size_factor"] for section in sections])
    assert factor.shape == counts.shape
    torch.testing.assert_close(factor.sum(dim=0), counts.sum(dim=0))


def test_the_step_size_decays_as_published():
    method = Hist2ST(**{**TINY, "epochs": 5, "decay_epochs": 2, "copies": 0})
    told = method.fit(make_study()[0], [], CONTEXT)
    assert [row["learning_rate"] for row in told.history] == pytest.approx(
        [1e-3, 1e-3, 0.9e-3, 0.9e-3, 0.81e-3]
    )


def test_patches_smaller_than_the_kernel_are_one_sentence():
    with pytest.raises(UserError, match="input_px"):
        Hist2STNetwork(3, 5, **SMALL)
