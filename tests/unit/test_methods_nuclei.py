from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from histobench.errors import UserError
from histobench.imaging.nuclei import (
    EOSIN,
    HAEMATOXYLIN,
    NUCLEUS_FEATURES,
    Recipe,
    describe_nuclei,
    haematoxylin_image,
    neighbour_distances,
    segment_nuclei,
)
from histobench.methods.nuclei_forest import NucleiForest, bin_edges, otsu_level, released_numbers, summarise
from histobench.training.conformance import make_study
from histobench.training.contract import Context

ENTRY = "histobench.methods.nuclei_forest:NucleiForest"
CONTEXT = Context(tuple("ABCDE"), tuple("ABCDEFGH"), seed=1, device="cpu")
COLUMN = {name: number for number, name in enumerate(NUCLEUS_FEATURES)}


def stained(haematoxylin, eosin):
    """uint8 pixels of given amounts of two stains."""
    vectors = np.array([HAEMATOXYLIN, EOSIN])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    density = np.asarray(haematoxylin)[..., None] * vectors[0] + np.asarray(eosin)[..., None] * vectors[1]
    return np.rint(255 * np.exp(-density)).astype(np.uint8)


def discs(centres, radii, px=128, hole=False):
    """Dark ellipses (row and column radius in pixels) on weakly stained ground."""
    y, x = np.mgrid[:px, :px]
    amount = np.full((px, px), 0.2)
    for (row, column), (tall, wide) in zip(centres, radii, strict=True):
        inside = ((y - row) / tall) ** 2 + ((x - column) / wide) ** 2
        amount[inside <= 1] = 2.0
        if hole:
            amount[inside <= 0.2] = 0.2
    return stained(amount, np.full((px, px), 0.3))


def test_haematoxylin_image_undoes_the_mixture() -> None:
    amounts = np.array([[0.0, 0.5, 1.0, 1.45, 2.0]])
    found = haematoxylin_image(stained(amounts, np.array([[0.0, 0.4, 0.1, 0.6, 0.2]])))
    np.testing.assert_allclose(found, 255 * np.exp(-amounts), rtol=0.05)
    # the published threshold of 60 is an optical density of ln(255 / 60) = 1.447
    assert haematoxylin_image(np.zeros((1, 1, 3), np.uint8)).min() >= 0


def test_isolated_nuclei_are_found_with_their_size_and_shape() -> None:
    centres, radii = [(30, 30), (30, 90), (90, 60)], [(7, 7), (9, 9), (6, 12)]
    labels = segment_nuclei(discs(centres, radii), 0.67)
    assert labels.max() == 3
    table = describe_nuclei(discs(centres, radii), 0.67)
    order = np.argsort([labels[c] for c in centres])
    tall, wide = np.array(radii, float)[order].T
    np.testing.assert_allclose(table[:, COLUMN["area"]], np.pi * tall * wide * 0.67**2, rtol=0.08)
    np.testing.assert_allclose(table[:, COLUMN["major_axis"]], 2 * np.maximum(tall, wide) * 0.67, rtol=0.05)
    np.testing.assert_allclose(table[:, COLUMN["minor_axis"]], 2 * np.minimum(tall, wide) * 0.67, rtol=0.05)
    ratio = np.maximum(tall, wide) / np.minimum(tall, wide)
    np.testing.assert_allclose(table[:, COLUMN["axis_ratio"]], ratio, rtol=0.06)
    inside = stained(2.0, 0.3) / 255
    for channel, name in enumerate(("mean_red", "mean_green", "mean_blue")):
        np.testing.assert_allclose(table[:, COLUMN[name]], inside[channel], atol=0.01)


def test_axes_agree_with_scikit_image() -> None:
    from skimage.measure import regionprops

    patch = discs([(40, 40), (80, 90)], [(8, 13), (12, 7)])
    table = describe_nuclei(patch, 1.0)
    for row, region in zip(table, regionprops(segment_nuclei(patch, 1.0)), strict=True):
        assert row[COLUMN["area"]] == region.area
        # scikit-image's pixels are points, ours are squares: 1/12 more variance, which axes see times 16
        for name, axis in (
            ("major_axis", region.axis_major_length),
            ("minor_axis", region.axis_minor_length),
        ):
            assert row[COLUMN[name]] == pytest.approx(np.sqrt(axis**2 + 16 / 12), rel=1e-4)


def test_holes_are_filled_and_specks_dropped() -> None:
    filled = describe_nuclei(discs([(64, 64)], [(14, 14)], hole=True), 0.67)
    assert len(filled) == 1
    assert filled[0, COLUMN["area"]] == pytest.approx(np.pi * 14**2 * 0.67**2, rel=0.05)
    # 80 px at 0.67 um/px: radius 5.05 px
    assert len(describe_nuclei(discs([(64, 64)], [(4.5, 4.5)]), 0.67)) == 0
    assert len(describe_nuclei(discs([(64, 64)], [(5.6, 5.6)]), 0.67)) == 1


def test_touching_nuclei_are_cut_apart() -> None:
    patch = discs([(64, 44), (64, 82)], [(20, 20), (20, 20)])
    labels = segment_nuclei(patch, 0.67)
    assert labels.max() == 2
    assert labels[64, 44] != labels[64, 82]
    assert abs(int((labels == 1).sum()) - int((labels == 2).sum())) < 200


def test_scale_is_physical() -> None:
    fine = describe_nuclei(discs([(40, 40), (100, 90)], [(14, 14), (18, 12)], 160), 0.5)
    coarse = describe_nuclei(discs([(20, 20), (50, 45)], [(7, 7), (9, 6)], 80), 1.0)
    np.testing.assert_allclose(fine, coarse, rtol=0.1)


def test_a_patch_without_nuclei() -> None:
    for grey in (255, 180):
        assert describe_nuclei(np.full((32, 32, 3), grey, np.uint8), 1.0, Recipe()).shape == (0, 10)
    np.testing.assert_array_equal(summarise(np.zeros((0, 10)), bin_edges(np.zeros((0, 10)))), np.zeros(141))


def test_distances_are_those_to_delaunay_neighbours() -> None:
    # a square with a point off its centre: the point has all corners as neighbours
    corners = np.array([[0.0, 0], [10, 0], [10, 10], [0, 10], [4, 5]])
    found = neighbour_distances(corners)
    to_corners = np.linalg.norm(corners[:4] - corners[4], axis=1)
    np.testing.assert_allclose(found[4], [to_corners.max(), to_corners.mean(), to_corners.min()], rtol=1e-6)
    np.testing.assert_allclose(found[0], [10, (10 + 10 + to_corners[0]) / 3, to_corners[0]], rtol=1e-6)
    np.testing.assert_array_equal(neighbour_distances(np.array([[0.0, 0], [3, 4]])), [[5, 5, 5]] * 2)
    np.testing.assert_array_equal(neighbour_distances(np.array([[1.0, 1]])), [[0, 0, 0]])
    line = np.column_stack([np.arange(5.0), np.zeros(5)])
    assert np.isfinite(neighbour_distances(line)).all()
    same = neighbour_distances(np.ones((4, 2)))
    assert np.isfinite(same).all()


def test_summary_is_141_numbers_that_scipy_agrees_with() -> None:
    rng = np.random.default_rng(0)
    nuclei = rng.gamma(2, 3, (40, 10)).astype(np.float32)
    nuclei[:, 9] = 7.0  # constant: no spread, no higher moments
    edges = bin_edges(rng.gamma(2, 3, (500, 10)))
    found = summarise(nuclei, edges)
    assert found.shape == (14 * 10 + 1,)
    assert found[-1] == 40
    by_feature = found[:-1].reshape(10, 14)
    for feature in range(9):
        values = nuclei[:, feature].astype(float)
        wanted = [values.mean(), values.std(), stats.skew(values), stats.kurtosis(values)]
        np.testing.assert_allclose(by_feature[feature, :4], wanted, rtol=1e-6)
        shares = [
            ((values >= low) & (values < high)).mean()
            for low, high in zip([-np.inf, *edges[feature]], [*edges[feature], np.inf], strict=True)
        ]
        np.testing.assert_allclose(by_feature[feature, 4:], shares)
    np.testing.assert_allclose(by_feature[9, :4], [7, 0, 0, 0])


def test_bins_lie_between_the_first_and_the_ninety_ninth_percentile() -> None:
    nuclei = np.tile(np.arange(101.0)[:, None], (1, 10))
    np.testing.assert_allclose(bin_edges(nuclei)[3], 1 + 98 * np.arange(1, 10) / 10)


def test_released_description_is_eight_numbers() -> None:
    patch = discs([(64, 64)], [(10, 10)])
    nuclei = describe_nuclei(patch, 0.67)
    found = released_numbers(patch, nuclei, 0.67)
    assert found.shape == (8,)
    np.testing.assert_allclose(found[:3], patch.mean(axis=(0, 1)) / 255)
    np.testing.assert_allclose(found[3:6], patch.std(axis=(0, 1)) / 255)
    assert found[6] == 1
    assert found[7] == pytest.approx(np.pi * 100 / 128**2, rel=0.05)


def test_otsu_separates_nuclei_from_ground() -> None:
    train, _ = make_study()
    patches = np.stack([discs([(16, 16)], [(8, 8)], 32)] * 3)
    section = replace(train[0], spots=train[0].spots[:3], patches=patches)
    levels = haematoxylin_image(patches[0])
    assert levels[16, 16] < otsu_level([section]) < levels[0, 0]


@pytest.mark.parametrize("description", ["paper", "released"])
def test_it_is_repeatable_and_survives_saving(description, tmp_path) -> None:
    train, test = make_study()
    params = {"description": description, "trees": 3, "threshold": "otsu", "min_area_um2": 8.0}
    first, second = NucleiForest(**params), NucleiForest(**params)
    first.fit(train, [], CONTEXT)
    second.fit(train[::-1], [], CONTEXT)
    first.save(tmp_path)
    third = NucleiForest(**params)
    third.load(tmp_path)
    for other in (second, third):
        np.testing.assert_array_equal(first.predict(test).expression, other.predict(test).expression)


@pytest.mark.parametrize("wrong", [{"description": "own"}, {"threshold": "mean"}])
def test_wrong_settings_are_refused_with_one_sentence(wrong) -> None:
    train, _ = make_study()
    with pytest.raises(UserError, match=next(iter(wrong.values()))):
        NucleiForest(**wrong).fit(train, [], CONTEXT)


def test_a_section_without_scale_is_refused() -> None:
    train, _ = make_study()
    with pytest.raises(UserError, match="s1: nuclei need um/px"):
        NucleiForest().fit([replace(train[0], um_per_px=float("nan"))], [], CONTEXT)
