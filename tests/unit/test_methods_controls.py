"""Controls and oracles: each number is worked out by hand or by a reference implementation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import skew

from histobench.errors import UserError
from histobench.evaluation.permutation_tables import envelope
from histobench.expression.correlation import gene_correlations
from histobench.imaging.patchview import PatchView
from histobench.methods.colour_ridge import ColourRidge, colour_moments
from histobench.methods.depth import Depth
from histobench.methods.neighbour_mean import NeighbourMean
from histobench.methods.section_mean import SectionMean
from histobench.methods.shuffled_image import ShuffledImage, centre_targets, shuffle_images
from histobench.methods.train_mean import TrainMean
from histobench.methods.tumour_label import TumourLabel
from histobench.seeds import seed_for
from histobench.training.conformance import GENES, make_section, make_study
from histobench.training.contract import Context, SectionData
from histobench.training.entry import build_method

CONTEXT = Context(genes=GENES, seed=3, device="cpu", weights="none")


def tiny(targets: list[list[float]], **changes: object) -> SectionData:
    n = len(targets)
    spots = pd.DataFrame(
        {"array_x": np.arange(n) * 1.0, "array_y": 0.0, "pixel_x": 0.0, "pixel_y": 0.0},
        index=[f"{i}x0" for i in range(n)],
    )
    return replace(SectionData("c", "s", "p", spots, targets=np.array(targets, np.float32)), **changes)


def test_training_mean_weighs_every_spot_the_same() -> None:
    method = TrainMean()
    method.fit([tiny([[1.0], [2.0]]), tiny([[9.0]], section="t")], [], CONTEXT)
    np.testing.assert_allclose(method.predict(tiny([[0.0], [0.0]])).expression, [[4.0], [4.0]])


def test_section_mean_is_that_of_the_section_itself() -> None:
    method = SectionMean()
    method.fit([tiny([[100.0, 1.0]])], [], CONTEXT)
    np.testing.assert_allclose(method.predict(tiny([[1.0, 5.0], [3.0, 5.0]])).expression, [[2, 5], [2, 5]])


@pytest.mark.parametrize(
    ("neighbours", "expected"),
    # spots on a grid:  a b .      values  1 2 .
    #                   c . .              3 . .
    #                   . . e              . . 9
    [(4, [2.5, 1.0, 1.0, 50.0]), (8, [2.5, 2.0, 1.5, 50.0])],
)
def test_neighbour_mean_by_hand(neighbours: int, expected: list[float]) -> None:
    section = tiny([[1.0], [2.0], [3.0], [9.0]])
    section.spots["array_x"] = [0.0, 1.02, -0.04, 2.0]  # adjusted coordinates are fractional
    section.spots["array_y"] = [0.0, 0.01, 0.97, 2.03]
    method = NeighbourMean(neighbours)
    method.fit([tiny([[50.0]])], [], CONTEXT)
    np.testing.assert_allclose(method.predict(section).expression[:, 0], expected)


def test_neighbour_mean_of_a_visium_array_is_that_of_six() -> None:
    around = [(5, 3), (3, 3), (7, 3), (4, 2), (6, 2), (4, 4), (6, 4), (5, 1), (2, 4)]
    section = tiny([[100.0], [1.0], [2.0], [3.0], [4.0], [5.0], [6.0], [70.0], [80.0]], grid="hexagonal")
    section.spots[["array_x", "array_y"]] = np.array(around, float)
    for neighbours in (4, 8):
        method = NeighbourMean(neighbours)
        method.fit([tiny([[50.0]])], [], CONTEXT)
        assert method.predict(section).expression[0, 0] == pytest.approx(3.5)


def test_neighbour_mean_without_an_array_follows_positions() -> None:
    values = np.arange(25.0)
    section = tiny(values[:, None].tolist(), grid="irregular")
    section.spots["array_x"] = np.tile(np.arange(5), 5) * 13.2 + 900
    section.spots["array_y"] = np.repeat(np.arange(5), 5) * 13.2 + 40
    method = NeighbourMean(4)
    method.fit([tiny([[50.0]])], [], CONTEXT)
    predicted = method.predict(section).expression[:, 0]
    assert predicted[[12, 0, 2]] == pytest.approx([12.0, 3.0, (1 + 3 + 7) / 3])


def test_neighbours_are_4_or_8() -> None:
    with pytest.raises(UserError, match="4 or 8"):
        NeighbourMean(6).fit([tiny([[1.0]])], [], CONTEXT)


def test_depth_is_a_straight_line_on_log_umis() -> None:
    umis = np.array([10.0, 100.0, 1000.0, 7.0])
    line = 2.0 * np.log(umis) + 1.0
    train = tiny([[v, 4.0] for v in line], total_counts=umis)
    method = Depth()
    method.fit([train], [], CONTEXT)
    shown = method.predict(tiny([[0.0, 0.0]] * 2, total_counts=np.array([50.0, 0.0])))
    np.testing.assert_allclose(shown.expression[:, 0], [2 * np.log(50) + 1, 1.0], rtol=1e-6)
    np.testing.assert_allclose(shown.expression[:, 1], 4.0, rtol=1e-6)


def test_depth_equals_least_squares() -> None:
    train, test = make_study()
    method = Depth()
    method.fit(train, [], CONTEXT)
    x = np.log(np.concatenate([s.total_counts for s in train]))
    y = np.concatenate([s.targets for s in train]).astype(float)
    slope, intercept = np.polyfit(x, y, 1)
    expected = np.log(test.total_counts)[:, None] * slope + intercept
    np.testing.assert_allclose(method.predict(test).expression, expected, rtol=1e-5, atol=1e-6)


def test_tumour_label_uses_the_spots_own_label() -> None:
    nan = np.nan
    train = tiny([[1.0], [3.0], [10.0], [6.0]], labels=np.array([1, 1, 0, nan], np.float32))
    method = TumourLabel()
    told = method.fit([train], [], CONTEXT)
    shown = method.predict(tiny([[0.0]] * 3, labels=np.array([nan, 0, 1], np.float32)))
    np.testing.assert_allclose(shown.expression[:, 0], [5.0, 10.0, 2.0])
    assert (told.facts["n_train_tumour"], told.facts["n_train_unlabelled"]) == (2, 1)


def test_a_label_that_no_training_spot_has_gets_the_training_mean() -> None:
    method = TumourLabel()
    method.fit([tiny([[1.0], [3.0]], labels=np.array([1, 1], np.float32))], [], CONTEXT)
    assert method.predict(tiny([[0.0]], labels=np.array([0], np.float32))).expression[0, 0] == 2.0


def test_colour_moments_are_mean_sd_and_skewness() -> None:
    patches = np.random.default_rng(0).gamma(2.0, 30.0, (70, 9, 9, 3)).clip(0, 255).astype(np.uint8)
    patches[3, :, :, 1] = 200  # no contrast in one channel
    pixels = patches.reshape(70, -1, 3).astype(float)
    third = skew(pixels + np.random.default_rng(1).normal(0, 1e-7, pixels.shape), axis=1)
    third[3, 1] = 0.0
    expected = np.concatenate([pixels.mean(axis=1), pixels.std(axis=1), third], axis=1)
    np.testing.assert_allclose(colour_moments(patches), expected, rtol=1e-4, atol=1e-4)
    view = PatchView(patches, np.arange(70)[::-1])
    np.testing.assert_allclose(colour_moments(view), expected[::-1], rtol=1e-4, atol=1e-4)


def test_colour_ridge_finds_what_colour_tells() -> None:
    train = [make_section(f"p{i}", f"s{i}", 40, i) for i in range(4)]
    test = make_section("p9", "s9", 60, 9)
    method = ColourRidge()
    told = method.fit(train, [], CONTEXT)
    r = [np.corrcoef(method.predict(test).expression[:, g], test.targets[:, g])[0, 1] for g in (0, 1)]
    assert min(r) > 0.3  # these genes fall with the latent value that brightens the patch
    assert told.facts["selection_unit"] == "patient"
    assert len(told.history) == len(method.alphas)


def test_shuffling_moves_images_within_the_section_only() -> None:
    section = make_section("p", "s", 12, 0)
    moved = shuffle_images(section, 5)
    order = [int(np.flatnonzero((section.features == row).all(axis=1))[0]) for row in moved.features]
    assert sorted(order) == list(range(12)) and order != list(range(12))
    np.testing.assert_array_equal(moved.patches, section.patches[order])  # both in the same way
    np.testing.assert_array_equal(moved.targets, section.targets)
    view = replace(section, patches=PatchView(section.patches, np.arange(12)))
    np.testing.assert_array_equal(np.asarray(shuffle_images(view, 5).patches), moved.patches)
    again = shuffle_images(replace(section, section="t"), 5)
    assert not np.array_equal(again.features, moved.features)  # every section has its own order


def test_shuffled_images_carry_nothing_within_a_section() -> None:
    """Over many drawn studies the score is null, while the same method unshuffled scores high."""
    entry = "histobench.methods.ridge_probe:RidgeProbe"
    shuffled, honest = [], []
    for study in range(40):
        train = [make_section(f"p{i}", f"s{i}", 24, 1000 * study + i) for i in range(3)]
        test = make_section("p9", "s9", 48, 1000 * study + 9)
        for method, scores in ((ShuffledImage(entry, {}), shuffled), (_wrapped(entry), honest)):
            method.fit(train, [], replace(CONTEXT, seed=study))
            predicted = method.predict(test).expression
            scores.append(np.corrcoef(predicted[:, 0], test.targets[:, 0])[0, 1])
    error = np.std(shuffled) / np.sqrt(len(shuffled))
    assert abs(np.mean(shuffled)) < 3 * error
    assert np.mean(honest) > 0.5


def _wrapped(entry: str):
    return build_method(entry, {})


RIDGES = {
    "histobench.methods.ridge_probe:RidgeProbe": {"alphas": [1.0, 10.0, 100.0]},
    "histobench.methods.colour_ridge:ColourRidge": {"alphas": [1.0, 10.0, 100.0]},
    "histobench.methods.hest_probe:HestProbe": {"components": 5, "alphas": [1.0, 10.0, 100.0]},
}


def unequal_sections(n: int, first: int = 0) -> list[SectionData]:
    """Sections of other sizes, given in an order that is not theirs."""
    return [make_section(f"p{i % 3}", f"s{i}", 30 + 7 * i, first + i) for i in range(n)][::-1]


@pytest.mark.parametrize("entry", RIDGES)
def test_the_first_permutation_predicts_what_it_does_alone(entry: str, tmp_path: Path) -> None:
    train, test = unequal_sections(5), make_section("p9", "s9", 60, 9)
    many, one = (ShuffledImage(entry, RIDGES[entry], draws=draws) for draws in (4, 1))
    told = [method.fit(train, [], CONTEXT) for method in (many, one)]
    assert told[0] == told[1]
    expected = one.predict(test)
    assert not list(expected.permuted)
    np.testing.assert_array_equal(many.predict(test).expression, expected.expression)
    # what a permutation is, told once more: rows of images in an order that is drawn for each section
    centred = [
        centre_targets(s, np.concatenate([t.targets for t in train]).mean(axis=0, dtype=np.float64))
        for s in train
    ]
    orders = [
        np.random.default_rng(seed_for(CONTEXT.seed, "shuffle", "tiny", s.section)).permutation(len(s))
        for s in train
    ]
    moved = [
        replace(s, patches=s.patches[order], features=s.features[order])
        for s, order in zip(centred, orders, strict=True)
    ]
    by_hand = build_method(entry, RIDGES[entry])
    by_hand.fit(moved, [], CONTEXT)
    np.testing.assert_allclose(by_hand.predict(test).expression, expected.expression, rtol=1e-5, atol=1e-6)
    # and it is stored whole
    many.save(tmp_path)
    again = ShuffledImage(entry, RIDGES[entry], draws=4)
    again.load(tmp_path)
    for left, right in zip(many.predict(test).permuted, again.predict(test).permuted, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("entry", RIDGES)
@pytest.mark.parametrize("centre", [True, False])
def test_further_permutations_are_those_of_a_training_on_such_images(entry: str, centre: bool) -> None:
    """Moved targets are moved images: each is refitted as what it stands for, at the penalty of the first."""
    train, test = unequal_sections(5), make_section("p9", "s9", 60, 9)
    method = ShuffledImage(entry, RIDGES[entry], centre_sections=centre, draws=6)
    told = method.fit(train, [], CONTEXT)
    mean = np.concatenate([s.targets for s in train]).mean(axis=0, dtype=np.float64)
    shown = [centre_targets(s, mean) for s in train] if centre else train
    found = list(method.predict(test).permuted)
    assert len(found) == 5
    for draw, predicted in enumerate(found, start=1):
        alone = build_method(entry, {**RIDGES[entry], "alphas": [told.facts["alpha"]]})
        alone.fit([shuffle_images(s, CONTEXT.seed, draw) for s in shown], [], CONTEXT)
        expected = alone.predict(test).expression
        expected = expected - expected.mean(axis=0)
        assert np.abs(predicted - expected).max() < 1e-5 * np.abs(expected).max()
    first, second = found[:2]
    assert np.abs(first - second).max() > 0.1 * np.abs(first).max()  # other permutations


def test_a_method_without_a_closed_form_has_one_permutation() -> None:
    with pytest.raises(
        UserError, match=r"`draws: 20` fits .* found histobench\.methods\.knn:KNN, which has no"
    ):
        ShuffledImage("histobench.methods.knn:KNN", {}, draws=20)
    assert ShuffledImage("histobench.methods.knn:KNN", {}).draws == 1


def test_a_closed_form_that_weighs_sections_otherwise_is_refused_when_it_differs() -> None:
    """CGL-Linear is a ridge probe by name, but the error between sections counts less."""
    train = [
        replace(s, features=s.features + 2.0 * i) for i, s in enumerate(unequal_sections(5))
    ]  # sections differ
    method = ShuffledImage(
        "histobench.methods.cgl_linear:CGLLinear", {"rhos": [0.0], "alphas": [1.0]}, draws=3
    )
    with pytest.raises(
        UserError, match="whose fit is another one; wrap a ridge regression, or set `draws: 1`"
    ):
        method.fit(train, [], CONTEXT)


def permuted_r(genes: np.ndarray, draws: int, seed: int = 0, n: int = 120) -> np.ndarray:
    """r of every permutation and gene, (draws, genes), of three patients' features and these maps of theirs.

    ``genes`` (3 n + n, genes): what training spots and tested ones express, of which images say nothing.
    """
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(4 * n, 6)) @ rng.normal(size=(6, 30))  # as features are: few directions
    empty = tiny([[0.0]] * n)
    sections = [
        replace(
            empty,
            section=f"s{i}",
            patient=f"p{i}",
            features=features[i * n : (i + 1) * n].astype(np.float32),
            targets=genes[i * n : (i + 1) * n].astype(np.float32),
        )
        for i in range(4)
    ]
    context = Context(genes=tuple(f"G{i}" for i in range(genes.shape[1])), seed=seed, device="cpu")
    method = ShuffledImage("histobench.methods.ridge_probe:RidgeProbe", {"alphas": [100.0]}, draws=draws)
    method.fit(sections[:3], [], context)
    found = method.predict(sections[3])
    return np.array(
        [gene_correlations(sections[3].targets, each) for each in [found.expression, *found.permuted]]
    )


def test_one_permutation_is_one_number_however_many_genes() -> None:
    """Independent genes average out within a permutation; genes that share a map do not: that is why several are drawn."""
    rng = np.random.default_rng(5)
    alone = rng.normal(size=(480, 100))
    together = 0.95 * rng.normal(size=(480, 1)) + np.sqrt(1 - 0.95**2) * alone
    spread = {}
    for name, genes in (("independent", alone), ("together", together)):
        r = permuted_r(genes, draws=40)
        means, each = r.mean(axis=1), r.std(axis=0).mean()
        low, high = envelope(means)
        print(f"{name}: sd of a gene {each:.3f}, of the mean of 100 genes {means.std():.3f}, "
              f"envelope {low:.3f} to {high:.3f}")  # fmt: skip
        assert low < 0 < high
        assert abs(means.mean()) < 4 * means.std() / np.sqrt(40)
        spread[name] = means.std() / each
    assert 0.06 < spread["independent"] < 0.16  # a tenth: the root of a hundred genes
    assert spread["together"] > 0.8


def test_the_envelope_keeps_its_promise() -> None:
    """So often a further permutation falls outside: 2 in 21 for twenty, 5 % from 39 on."""
    rng = np.random.default_rng(3)
    for n, expected in ((20, 2 / 21), (39, 0.05), (200, 0.05)):
        outside = 0
        for _ in range(4000):
            low, high = envelope(rng.normal(size=n))
            outside += not low <= rng.normal() <= high
        assert abs(outside / 4000 - expected) < 4 * np.sqrt(expected / 4000), n
    assert envelope(np.arange(20.0)) == (0.0, 19.0) and np.isnan(envelope(np.empty(0))).all()


def test_centred_sections_leave_nothing_between_sections_to_learn() -> None:
    """Two kinds of sections: in one all is bright and high. Shuffling alone would learn that."""
    entry = "histobench.methods.ridge_probe:RidgeProbe"
    scores: dict[bool, list[float]] = {True: [], False: []}
    for study in range(20):
        train = []
        for number in range(6):
            section = make_section(f"p{number}", f"s{number}", 24, 100 * study + number)
            shift = 3.0 * (number % 2)
            features = section.features + shift * np.linspace(-1, 1, section.features.shape[1])
            # as within sections: the first gene falls along this direction of the features
            targets = section.targets - shift * np.eye(1, len(GENES))
            train.append(replace(section, features=features.astype(np.float32), targets=targets))
        test = make_section("p9", "s9", 48, 100 * study + 9)
        for centre in scores:
            method = ShuffledImage(entry, {"alphas": [10.0]}, centre_sections=centre)
            method.fit(train, [], replace(CONTEXT, seed=study))
            predicted = method.predict(test).expression
            scores[centre].append(float(np.corrcoef(predicted[:, 0], test.targets[:, 0])[0, 1]))
    assert np.mean(scores[False]) > 0.3
    assert abs(np.mean(scores[True])) < 3 * np.std(scores[True]) / np.sqrt(20)
