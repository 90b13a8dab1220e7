"""Neighbour averages against a loop over spots."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histobench.expression.smoothing import neighbour_average

positions = st.lists(st.tuples(st.integers(-3, 4), st.integers(-3, 4)), min_size=1, max_size=30)


@settings(max_examples=100, deadline=None)
@given(positions, st.booleans(), st.integers(0, 1000))
def test_average_equals_a_loop_over_spots(spots, centre, seed):
    """Holes, edges, isolated spots and two spots at one grid position included."""
    x, y = np.array(spots, dtype=float).T
    values = np.random.default_rng(seed).integers(0, 50, len(spots)).astype(float)
    jitter = np.random.default_rng(seed + 1).uniform(-0.4, 0.4, (2, len(spots)))
    ours = neighbour_average(x + jitter[0], y + jitter[1], centre=centre)
    for i in range(len(spots)):
        near = (np.abs(x - x[i]) <= 1) & (np.abs(y - y[i]) <= 1)
        if not centre:
            near[i] = False
        expected = values[near].mean() if near.any() else 0.0
        assert (ours @ values)[i] == pytest.approx(expected)


def test_a_visium_spot_is_averaged_with_the_six_around_it():
    row, column = (axis.ravel() for axis in np.mgrid[:5, :5])
    x, y = 2 * column + row % 2, row
    values = np.arange(25.0) ** 2
    spot = 12  # the middle
    near = np.hypot(0.5 * (x - x[spot]), np.sqrt(0.75) * (y - y[spot])) < 1.1
    assert near.sum() == 7
    assert (neighbour_average(x, y, grid="hexagonal") @ values)[spot] == pytest.approx(values[near].mean())
    near[spot] = False
    alone = neighbour_average(x, y, centre=False, grid="hexagonal")
    assert (alone @ values)[spot] == pytest.approx(values[near].mean())


def test_no_spots_is_an_empty_matrix():
    assert neighbour_average(np.array([]), np.array([])).shape == (0, 0)
