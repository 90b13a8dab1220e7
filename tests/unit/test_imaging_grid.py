"""Kinds of grid and their neighbours, against distances between all pairs of spots."""

from __future__ import annotations

import math

import numpy as np
import pytest
from unit import coordinates

from histobench.errors import UserError
from histobench.imaging.grid import GRIDS, cells, grid_named, neighbour_pairs, places, spacing


def array(kind, rows=9, columns=9):
    """Index positions of a full array, (spots, 2)."""
    y, x = (axis.ravel() for axis in np.mgrid[:rows, :columns])
    return (2 * x + y % 2, y) if kind in ("hexagonal", "diamond") else (x, y)


def brute(kind, x, y, reach):
    """Neighbours of each spot by all distances, in pitches; other spots at the same place count."""
    at = places(kind, x, y)
    near = np.hypot(*(at[:, None] - at).transpose(2, 0, 1)) <= reach
    np.fill_diagonal(near, False)
    return {(int(i), int(j)) for i, j in np.argwhere(near)}


def pairs(kind, x, y, **options):
    return set(zip(*(side.tolist() for side in neighbour_pairs(kind, x, y, **options)), strict=True))


@pytest.mark.parametrize(
    ("kind", "steps"),
    [
        ("square", (1, 1)),
        ("hexagonal", (0.5, math.sqrt(3) / 2)),
        ("diamond", (100 / math.hypot(100, 110), 110 / math.hypot(100, 110))),
        ("irregular", (1, 1)),
    ],
)
def test_steps_are_fractions_of_the_pitch(kind, steps):
    assert GRIDS[kind].steps == pytest.approx(steps, rel=1e-15)


@pytest.mark.parametrize("kind", ["square", "hexagonal", "diamond"])
def test_declared_offsets_are_those_at_one_pitch(kind):
    grid = GRIDS[kind]
    for offsets, low, high in ((grid.nearest, 1, 1), (grid.corners, 1.3, 1.5)):
        for dx, dy in offsets:
            assert low - 1e-12 <= math.hypot(dx * grid.steps[0], dy * grid.steps[1]) <= high + 1e-12


@pytest.mark.parametrize("block", [False, True])
@pytest.mark.parametrize("kind", ["square", "hexagonal", "diamond"])
def test_neighbours_are_those_at_that_distance_also_with_holes_and_two_spots_at_one_place(kind, block):
    chosen = np.random.default_rng(4).permutation(81)[:60]
    x, y = (axis[np.append(chosen, chosen[:2])] for axis in array(kind))
    expected = brute(kind, x, y, 1.5 if block and kind != "hexagonal" else 1.2)
    assert pairs(kind, x, y, block=block) == expected
    assert len(expected) > 100


@pytest.mark.parametrize(
    ("kind", "ring", "block"), [("square", 4, 8), ("hexagonal", 6, 6), ("diamond", 4, 8)]
)
def test_an_inner_spot_has_the_neighbours_of_its_grid(kind, ring, block):
    x, y = array(kind)
    for number, options in ((ring, {}), (block, {"block": True})):
        spot, _ = neighbour_pairs(kind, x, y, **options)
        assert np.bincount(spot)[40] == number


@pytest.mark.parametrize(
    ("kind", "ring", "block"), [("square", 4, 8), ("hexagonal", 6, 6), ("diamond", 4, 8)]
)
@pytest.mark.parametrize("unit", [1.0, 287.3])
def test_a_regular_grid_without_array_columns_has_the_same_neighbours(kind, ring, block, unit):
    at = places(kind, *array(kind)) * unit
    at = at + np.random.default_rng(0).normal(0, 0.002 * unit, at.shape)
    for number, options in ((ring, {}), (block, {"block": True})):
        spot, _ = neighbour_pairs("irregular", *at.T, **options)
        assert np.bincount(spot)[40] == number


def test_spots_strewn_at_random_have_about_as_many_neighbours_and_few_are_alone():
    at = np.random.default_rng(1).uniform(0, 60, (3600, 2))
    for options, low, high in (({}, 3.5, 4.2), ({"block": True}, 5.5, 6.5)):
        number = np.bincount(neighbour_pairs("irregular", *at.T, **options)[0], minlength=3600)
        assert low < number.mean() < high
        assert (number == 0).mean() < 0.05


def test_crowded_spots_of_an_irregular_section_keep_to_the_nearest():
    rng = np.random.default_rng(2)
    at = np.concatenate(
        [rng.uniform(0, 100, (3000, 2)), rng.normal(50, 0.01, (1000, 2)), np.full((500, 2), 7.0)]
    )
    number = np.bincount(neighbour_pairs("irregular", *at.T, block=True)[0])
    assert 32 <= number.max() <= 33  # 33 where a spot is not among its own nearest


def test_irregular_neighbours_are_those_within_the_radius():
    at = np.random.default_rng(3).uniform(0, 10, (80, 2))
    for options, factor in (({}, 1.2), ({"block": True}, 1.5)):
        assert pairs("irregular", *at.T, **options) == brute("irregular", *at.T, factor * spacing(at))


@pytest.mark.parametrize("kind", list(GRIDS))
def test_few_spots_have_the_neighbours_that_there_are(kind):
    assert [len(side) for side in neighbour_pairs(kind, [], [])] == [0, 0]
    assert [len(side) for side in neighbour_pairs(kind, [5], [7])] == [0, 0]
    x, y = ([5, 6], [7, 8]) if GRIDS[kind].staggered else ([5, 6], [7, 7])
    assert pairs(kind, x, y) == {(0, 1), (1, 0)}
    assert pairs(kind, [5, 5], [7, 7]) == {(0, 1), (1, 0)}


@pytest.mark.parametrize(
    ("kind", "table", "corners"),
    [
        *(("diamond", coordinates.cscc(name), True) for name in coordinates.CSCC),
        *(("hexagonal", coordinates.visium(name), False) for name in coordinates.VISIUM),
    ],
)
def test_neighbours_of_real_spots_are_those_near_in_the_image(kind, table, corners):
    x, y = table["array_x"], table["array_y"]
    pixel = table[["pixel_x", "pixel_y"]].to_numpy(float)
    distance = np.hypot(*(pixel[:, None] - pixel).transpose(2, 0, 1))
    np.fill_diagonal(distance, np.inf)
    # the excerpts leave spots out: pixels of a pitch from all of them, by a straight map of places to pixels
    known = np.column_stack([places(kind, x, y), np.ones(len(x))])
    pitch = np.sqrt(np.abs(np.linalg.det(np.linalg.lstsq(known, pixel, rcond=None)[0][:2])))
    near = {(int(i), int(j)) for i, j in np.argwhere(distance < 1.2 * pitch)}
    assert pairs(kind, x, y) == near
    assert near or kind == "hexagonal"  # one excerpt of Visium has no two spots side by side
    block = {(int(i), int(j)) for i, j in np.argwhere(distance < 1.61 * pitch)} if corners else near
    assert pairs(kind, x, y, block=True) == block


def test_adjusted_positions_belong_to_a_cell_that_a_staggered_array_has():
    x, y = array("diamond", 12, 12)
    rng = np.random.default_rng(5)
    jitter = rng.uniform(-0.7, 0.7, (2, len(x)))  # a third rounds to a position that the array lacks
    jitter *= 0.95 / np.maximum(np.abs(jitter).sum(axis=0), 0.95)  # still nearest to its own cell
    for kind in ("diamond", "hexagonal"):
        assert cells(kind, x + jitter[0], y + jitter[1]).tolist() == np.column_stack([x, y]).tolist()
        shifted = cells(kind, x + 1 + jitter[0], y + jitter[1])  # the other parity
        assert shifted.tolist() == np.column_stack([x + 1, y]).tolist()
    assert cells("square", [1.4, 2.6], [0.6, 7.0]).tolist() == [[1, 1], [3, 7]]


@pytest.mark.parametrize("kind", ["square", "hexagonal", "diamond"])
def test_rows_do_not_run_into_each_other(kind):
    step = 2 if GRIDS[kind].staggered else 1
    assert pairs(kind, [0, 10 * step], [0, 1 if step == 1 else 2], block=True) == set()
    beside = set() if kind == "diamond" else {(0, 1), (1, 0)}
    assert pairs(kind, np.array([0, step]) - 10**6, [-4, -4]) == beside


def test_an_unknown_grid_is_named_with_what_there_is():
    with pytest.raises(
        UserError, match=r"section A1: the grid is 'round', expected one of square, hexagonal"
    ):
        grid_named("round", "section A1")
