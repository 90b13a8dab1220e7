from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from unit import described

from histobench.errors import UserError
from histobench.methods.he2gene import HE2Gene
from histobench.networks.backbones import PixelNorm, count_parameters, make_backbone
from histobench.networks.multihead import MultiHead
from histobench.training.augment import apply_symmetry
from histobench.training.conformance import make_study
from histobench.training.contract import Context, SectionData
from histobench.training.data import PatchSource
from histobench.training.inference import central_window, predict_heads
from histobench.training.losses import labelled_bce, spatial_loss
from histobench.training.neighbours import neighbour_table
from histobench.training.study import gather

ENTRY = "histobench.methods.he2gene:HE2Gene"
CONTEXT = Context(tuple("ABCDE"), tuple("ABCDEFGH"), seed=1, device="cpu", weights="none")
TINY = {"backbone": "small_cnn", "input_px": 32, "epochs": 2, "batch_size": 8, "learning_rate": 0.01}
TINY |= {"auxiliary_weight": 1.0}
ARMS = described.method("he2gene")["arms"]
COUNTS = {
    "prim": 24_020_282,
    "aux": 64_383_533,
    "tmr": 24_022_331,
    "spat_only": 24_020_282,
    "base": 64_385_582,
    "spat": 64_385_582,
}


@pytest.mark.parametrize("arm", COUNTS)
def test_every_arm_has_the_published_number_of_parameters(arm) -> None:
    method = HE2Gene(**described.method("he2gene", arm)["params"])
    with torch.device("meta"):
        network = MultiHead(
            PixelNorm(),
            make_backbone(method.backbone),
            genes=250,
            auxiliary=19_699 if method.auxiliary else 0,
            tumour=method.tumour,
        )
    assert count_parameters(network) == COUNTS[arm]


def brute_force(centre, neighbours, valid, form):
    """The penalty spelled out, spot by spot and pair by pair."""
    spots, pairs = [], []
    for i in range(len(centre)):
        near = [neighbours[i, j] for j in range(valid.shape[1]) if valid[i, j]]
        pairs += [((centre[i] - other) ** 2).mean() for other in near]
        if near:
            spots.append(((centre[i] - sum(near) / len(near)) ** 2).mean())
    chosen = spots if form == "mean" else pairs
    return sum(chosen) / len(chosen) if chosen else 0.0


@pytest.mark.parametrize("form", ["mean", "pairwise"])
@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_spatial_loss_equals_a_loop_over_spots_and_neighbours(form, share) -> None:
    rng = np.random.default_rng(0)
    centre, neighbours = rng.normal(size=(7, 5)), rng.normal(size=(7, 8, 5))
    valid = rng.random((7, 8)) < share
    found = spatial_loss(*map(torch.from_numpy, (centre, neighbours, valid)), form)
    assert float(found) == pytest.approx(brute_force(centre, neighbours, valid, form), rel=1e-5)


def test_spatial_loss_is_zero_at_the_mean_of_the_neighbours() -> None:
    neighbours = torch.randn(6, 8, 4)
    valid = torch.rand(6, 8) < 0.6
    valid[2] = False
    weight = valid.float()
    mean = (neighbours * weight[..., None]).sum(1) / weight.sum(1).clamp_min(1)[:, None]
    assert float(spatial_loss(mean, neighbours, valid)) == pytest.approx(0, abs=1e-12)
    assert float(spatial_loss(mean, neighbours, valid, "pairwise")) > 0.1  # variance among the neighbours


@pytest.mark.parametrize("form", ["mean", "pairwise"])
def test_spatial_loss_ignores_what_is_not_valid_and_moves_both_sides(form) -> None:
    centre = torch.randn(4, 3, requires_grad=True)
    neighbours = torch.randn(4, 8, 3, requires_grad=True)
    valid = torch.zeros(4, 8, dtype=torch.bool)
    valid[0, 1] = valid[0, 5] = valid[3, 7] = True
    spatial_loss(centre, neighbours, valid, form).backward()
    assert (neighbours.grad.abs().sum(dim=2) > 0).equal(valid)
    assert (centre.grad.abs().sum(dim=1) > 0).tolist() == [True, False, False, True]
    moved = neighbours.detach().clone()
    moved[~valid] = 1e6
    assert spatial_loss(centre, moved, valid, form).equal(spatial_loss(centre, neighbours, valid, form))


def grid_section(name, positions, labels):
    spots = pd.DataFrame(positions, columns=["array_x", "array_y"], dtype=float)
    spots.index = [f"{x:g}x{y:g}" for x, y in positions]
    return SectionData("c", name, "p", spots, labels=np.array(labels, np.float32))


def test_neighbours_are_the_eight_around_in_the_same_section_with_the_same_known_label() -> None:
    nan = np.nan
    first = grid_section("a", [(0, 0), (1.02, 0.96), (1, 0), (3, 0), (0, 1)], [1, 1, 0, 1, nan])
    second = grid_section("b", [(0, 0), (1, 1), (9, 9)], [1, 1, 1])
    labels = np.concatenate([first.labels, second.labels])
    table = neighbour_table([first, second], labels)
    near = [set(row[row >= 0].tolist()) for row in table.numbers]
    assert near == [{1, 2, 4}, {0, 2, 4}, {0, 1, 4}, set(), {0, 1, 2}, {6}, {5}, set()]
    like = [set(row[kept].tolist()) for row, kept in zip(table.numbers, table.alike, strict=True)]
    assert like == [{1}, {0}, set(), set(), set(), {6}, {5}, set()]
    assert table.numbers.shape == (8, 8)


def test_a_visium_spot_has_six_neighbours_and_no_place_for_more() -> None:
    places = [(5, 3), (3, 3), (7, 3), (4, 2), (6, 2), (4, 4), (6, 4), (5, 1), (2, 4)]
    section = replace(grid_section("a", places, [1] * 9), grid="hexagonal")
    table = neighbour_table([section], np.ones(9))
    assert table.numbers.shape == (9, 6) and set(table.numbers[0]) == {1, 2, 3, 4, 5, 6}
    assert neighbour_table([section, replace(section, grid="square")], np.ones(18)).numbers.shape == (18, 8)


@pytest.mark.parametrize("form", ["mean", "pairwise"])
@pytest.mark.parametrize("dummy", [False, True])
def test_the_penalty_of_a_step_equals_a_loop_over_sections_positions_and_labels(form, dummy) -> None:
    """What training adds for the penalty, from grid positions and labels to the loss, against a loop over pairs."""
    train, _ = make_study()
    train = [replace(s, labels=np.where(np.arange(len(s)) % 5 == 2, np.nan, s.labels)) for s in train]
    params = {
        **TINY,
        "spatial": form,
        "dummy_neighbours": dummy,
        "augmentation": False,
        "validation": "spots",
    }
    params |= {"auxiliary": False, "tumour": False, "window_share": 1.0, "epochs": 0}
    losses = {}

    class Watched(HE2Gene):
        def loop(self, training):
            study, loop = training.study, super().loop(training)
            loop.network.eval()  # the features of an image no longer depend on the others of its batch
            batch = study.learn[::2]
            for weight in (0.0, 1e6):  # large, because an untrained network tells spots hardly apart
                other = replace(self, spatial_weight=weight)
                loss = other.batch_loss(loop.network, training, batch, np.random.default_rng(0))
                losses[weight] = float(loss.detach())
            with torch.inference_mode():
                pixels = torch.from_numpy(np.concatenate(study.patches())).permute(0, 3, 1, 2)
                losses["loop"] = penalty(study.sections, loop.network(pixels)[0].numpy(), batch, form)
            return loop

    Watched(**params).fit(train, [], CONTEXT)
    assert losses["loop"] > 1e-6
    assert losses[1e6] - losses[0.0] == pytest.approx(1e6 * losses["loop"], rel=1e-3)


def penalty(sections, predicted, batch, form):
    """Mean over centres (or pairs) of squared distances to like neighbours in the same section."""
    place = [
        (s.section, *np.rint(spot)) for s in sections for spot in s.spots[["array_x", "array_y"]].to_numpy()
    ]
    label = np.concatenate([s.labels for s in sections])
    centres, pairs = [], []
    for i in batch:
        like = []
        for j, (section, x, y) in enumerate(place):
            beside = max(abs(x - place[i][1]), abs(y - place[i][2])) == 1
            if section == place[i][0] and beside and label[i] == label[j]:
                like.append(predicted[j])
                pairs.append(((predicted[i] - predicted[j]) ** 2).mean())
        if like:
            centres.append(((predicted[i] - np.mean(like, axis=0)) ** 2).mean())
    return float(np.mean(centres if form == "mean" else pairs))


def test_neighbours_of_a_section_without_spots_beside_each_other() -> None:
    table = neighbour_table([grid_section("a", [(0, 0), (5, 5)], [1, 1])], np.array([1.0, 1.0]))
    assert (table.numbers == -1).all()
    assert not table.alike.any()


def test_tumour_loss_counts_labelled_spots_only() -> None:
    logits, labels = torch.tensor([0.3, -2.0, 5.0]), torch.tensor([1.0, 0.0, float("nan")])
    wanted = (np.log1p(np.exp(-0.3)) + np.log1p(np.exp(-2.0))) / 2
    assert float(labelled_bce(logits, labels)) == pytest.approx(wanted, rel=1e-6)
    logits.requires_grad_()
    loss = labelled_bce(logits, torch.full((3,), float("nan")))
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad.abs().sum() == 0


def test_losses_of_the_other_heads_do_not_touch_the_panels_head() -> None:
    network = MultiHead(PixelNorm(), make_backbone("small_cnn"), genes=4, auxiliary=6, tumour=True)
    features = network.features(torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8))
    loss = (network.auxiliary(features) ** 2).mean() + labelled_bce(
        network.tumour_logit(features), torch.ones(3)
    )
    loss.backward()
    assert network.primary.weight.grad is None
    assert network.auxiliary.weight.grad.abs().sum() > 0
    assert network.tumour.weight.grad.abs().sum() > 0


def test_missing_neighbours_stay_out_of_the_encoder_unless_asked_for() -> None:
    train, _ = make_study()
    seen = {}

    class Watched(HE2Gene):
        def loop(self, training):
            loop = super().loop(training)
            inner = loop.network.features

            def features(pixels):
                seen.setdefault(self.dummy_neighbours, []).append(
                    (len(pixels), int((pixels == 0).all(-1).all(-1).all(-1).sum()))
                )
                return inner(pixels)

            loop.network.features = features
            return loop

    for dummy in (False, True):
        params = {**TINY, "epochs": 1, "spatial": "mean", "dummy_neighbours": dummy, "batch_size": 4}
        Watched(**params).fit(train, [], CONTEXT)
    study = gather(train, [], folds=10)
    table = neighbour_table(study.sections, study.stacked("labels"))
    existing = (table.numbers[study.learn] >= 0).sum()
    steps = -(-len(study.learn) // 4)
    without, with_black = seen[False][:steps], seen[True][:steps]
    assert sum(n for n, _ in without) == len(study.learn) + existing
    assert sum(black for _, black in without) == 0
    assert sum(n for n, _ in with_black) == 9 * len(study.learn)
    assert sum(black for _, black in with_black) == 8 * len(study.learn) - existing


@pytest.mark.parametrize(("mode", "calls"), [("single", 1), ("grid", 3), ("tta", 8), ("grid_tta", 24)])
def test_predictions_average_windows_and_symmetries(mode, calls) -> None:
    train, test = make_study()
    method = HE2Gene(**{**TINY, "epochs": 1, "test_views": mode})
    method.fit(train, [], CONTEXT)
    method.fitted.eval()
    pixels = torch.from_numpy(test.patches).permute(0, 3, 1, 2)
    windows = [pixels[..., 5:26, 5:26], pixels[..., 10:21, 10:21], pixels]  # 21, 11 and 32 of 32 px
    if "grid" not in mode:
        windows = windows[:1]
    total, probability, number = 0.0, 0.0, 0
    with torch.inference_mode():
        for window in windows:
            full = central_window(window, 1.0, 32)
            for turns in range(4 if "tta" in mode else 1):
                for mirrored in (False, True) if "tta" in mode else (False,):
                    view = torch.rot90(full, turns, (-2, -1))
                    features = method.fitted.features(view.flip(-1) if mirrored else view)
                    total += method.fitted.expression(features).double().numpy()
                    probability += torch.sigmoid(method.fitted.tumour_logit(features)).double().numpy()
                    number += 1
    assert number == calls
    found = method.predict(test.without_truth())
    np.testing.assert_allclose(found.expression, total / calls, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.tumour_probability, probability / calls, rtol=1e-4)


def test_main_window_is_150_of_225_pixels() -> None:
    ramp = torch.arange(225, dtype=torch.uint8).reshape(1, 1, 1, 225).expand(1, 3, 225, 225)
    for share, first, last in ((2 / 3, 37, 186), (1 / 3, 75, 149), (1.0, 0, 224)):
        size = last - first + 1
        window = central_window(ramp, share, size)
        assert window.shape[-1] == size
        assert window[0, 0, 0, 0] == first
        assert window[0, 0, 0, -1] == last


def test_embedding_is_that_of_the_main_view() -> None:
    network = MultiHead(PixelNorm(), make_backbone("small_cnn"), genes=2)
    source = PatchSource([np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)])
    rows = np.arange(5)
    single = predict_heads(network, source, rows, width=32, shares=(0.5,)).embedding
    averaged = predict_heads(network, source, rows, width=32, shares=(0.5, 1.0), views=8).embedding
    np.testing.assert_array_equal(single, averaged)


def test_patients_and_spots_can_validate() -> None:
    train, test = make_study()
    by_patient = gather(train, [], folds=10)
    assert by_patient.unit == "patient"
    assert not set(by_patient.groups[by_patient.learn]) & set(by_patient.groups[by_patient.held])
    by_spot = gather(train, [], folds=10, unit="spots", seed=3)
    assert by_spot.unit == "spot"
    assert len(by_spot.held) == 4  # a tenth of 42
    assert sorted([*by_spot.learn, *by_spot.held]) == list(range(42))
    set_aside = gather(train, [test], folds=10)
    assert set(set_aside.groups[set_aside.held]) == {"p4"}
    assert len(set_aside.learn) == 42
    # spot validation as released takes no notice of patients set aside
    assert len(gather(train, [test], folds=10, unit="spots").targets) == 42
    with pytest.raises(UserError, match="sections"):
        gather(train, [], folds=10, unit="sections")


@pytest.mark.parametrize("wrong", [{"spatial": "median"}, {"test_views": "all"}, {"validation": "slides"}])
def test_wrong_settings_are_refused_with_one_sentence(wrong) -> None:
    train, _ = make_study()
    with pytest.raises(UserError, match=next(iter(wrong.values()))):
        HE2Gene(**{**TINY, **wrong}).fit(train, [], CONTEXT)


def test_without_labels_there_is_no_tumour_probability_and_no_penalty() -> None:
    train, test = make_study()
    bare = [replace(s, labels=np.full(len(s), np.nan, np.float32)) for s in train]
    fitted = []
    for weight in (0.0, 50.0):
        method = HE2Gene(**{**TINY, "spatial": "mean", "spatial_weight": weight})
        method.fit(bare, [], CONTEXT)
        fitted.append(method.predict(test))
    assert fitted[0].tumour_probability is None
    np.testing.assert_array_equal(fitted[0].expression, fitted[1].expression)
    assert HE2Gene(**TINY).fit(train, [], CONTEXT).facts["n_labelled"] > 0


@pytest.mark.parametrize("arm", COUNTS)
def test_every_arm_trains_repeatably(arm) -> None:
    train, test = make_study()
    params = {**ARMS[arm]["params"], **TINY}
    first, second = HE2Gene(**params), HE2Gene(**params)
    history = first.fit(train, [], CONTEXT).history
    second.fit(train[::-1], [], CONTEXT)
    predicted, again = first.predict(test), second.predict(test)
    np.testing.assert_array_equal(predicted.expression, again.expression)
    assert np.isfinite([row["loss"] for row in history]).all()
    assert (predicted.tumour_probability is not None) == first.tumour


def test_an_untrained_network_is_the_random_arm() -> None:
    train, test = make_study()
    method = HE2Gene(**{**TINY, "epochs": 0})
    told = method.fit(train, [], CONTEXT)
    assert told.history == []
    assert told.facts["epochs"] == 0
    assert np.isfinite(method.predict(test).expression).all()


def test_training_under_bfloat16_autocast_stays_finite() -> None:
    train, test = make_study()
    method = HE2Gene(**{**TINY, "precision": "bf16", "spatial": "pairwise"})
    method.fit(train, [], CONTEXT)
    assert np.isfinite(method.predict(test).expression).all()


def test_a_frozen_encoder_keeps_its_weights_and_a_random_start_asks_for_none(monkeypatch) -> None:
    train, _ = make_study()
    asked = []

    def noted(architecture, *, weights="none", **others):
        asked.append(weights)
        return make_backbone(architecture, weights="none", **others)

    monkeypatch.setattr("histobench.training.network_method.make_backbone", noted)
    networks = []
    for changes in ({"learning_rate": 1e-30}, {}, {"pretrained": False}):
        method = HE2Gene(**{**TINY, "trained_layers": "heads", **changes})
        method.fit(train, [], replace(CONTEXT, weights="imagenet"))
        networks.append({name: value.clone() for name, value in method.fitted.named_parameters()})
    moved = {name for name in networks[0] if not torch.equal(networks[0][name], networks[1][name])}
    assert moved and not any(name.startswith("backbone") for name in moved)
    assert asked == ["imagenet", "imagenet", "none"]
    with pytest.raises(UserError, match="trained_layers must be one of all, heads"):
        HE2Gene(**TINY, trained_layers="some").fit(train, [], CONTEXT)


def test_genes_beside_the_panel_are_predicted_as_the_panel_is(tmp_path) -> None:
    """Averaged over the eight symmetries, named, kept in the weights, and left out without the head."""
    train, test = make_study()
    method = HE2Gene(**TINY, window_share=1.0)
    method.fit(train, [], CONTEXT)
    told = method.predict(test)
    assert told.further is not None and set(told.further.genes) <= set("FGH")
    network, views = method.fitted, []
    patches = torch.from_numpy(np.ascontiguousarray(test.patches)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        for code in range(8):
            features = network.features(central_window(apply_symmetry(patches, code), 1.0, 32))
            views.append(network.auxiliary(features).numpy())
    np.testing.assert_allclose(told.further.expression(), np.mean(views, axis=0), atol=1e-5)
    method.save(tmp_path)
    again = HE2Gene(**TINY, window_share=1.0)
    again.load(tmp_path)
    other = again.predict(test).further
    assert other.genes == told.further.genes
    np.testing.assert_array_equal(other.expression(), told.further.expression())
    alone = HE2Gene(**TINY, auxiliary=False)
    alone.fit(train, [], CONTEXT)
    assert alone.predict(test).further is None
