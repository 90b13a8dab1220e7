"""Scale from the spot grid: recovered exactly, and every way a grid can fail to show one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from histobench.errors import UserError
from histobench.imaging.scale import check_declared, fit_scale, frame_offset


def grid(columns: int = 5, rows: int = 4, first: int = 3) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[first : first + rows, first : first + columns]
    return x.ravel().astype(float), y.ravel().astype(float)


@given(
    pitch_x=st.floats(20, 500),
    ratio=st.floats(0.9, 1.1),
    offset_x=st.floats(-1e4, 1e4),
    offset_y=st.floats(-1e4, 1e4),
    spots=st.lists(st.tuples(st.integers(1, 33), st.integers(1, 35)), min_size=2, max_size=60, unique=True),
)
def test_an_exact_grid_gives_its_scale_back(pitch_x, ratio, offset_x, offset_y, spots):
    x, y = np.array(spots, float).T
    # spots on (or almost on) one line say nothing of the other axis
    assume(np.linalg.eigvalsh(np.cov(x, y))[0] * len(x) > 0.5)
    pitch_y = pitch_x * ratio
    fit = fit_scale(x, y, offset_x + pitch_x * x, offset_y + pitch_y * y, 200)
    assert fit.pitch_px_x == pytest.approx(pitch_x, rel=1e-6)
    assert fit.pitch_px_y == pytest.approx(pitch_y, rel=1e-6)
    assert fit.um_per_px_x == pytest.approx(200 / pitch_x, rel=1e-6)
    assert fit.um_per_px == pytest.approx(200 / math.sqrt(pitch_x * pitch_y), rel=1e-6)
    assert fit.offset_x == pytest.approx(offset_x, abs=1e-3)
    assert fit.max_residual_px < 1e-3
    assert fit.fitted


def test_residuals_are_distances_in_pixels():
    x, y = grid()
    pixel_x = 100 * x
    # The four corners move by 3 px along x in a pattern that leaves slope and offset as they are.
    corner = ((x == 3) | (x == 7)) & ((y == 3) | (y == 6))
    pixel_x = pixel_x + np.where(corner, np.where((x == 3) == (y == 3), 3.0, -3.0), 0.0)
    fit = fit_scale(x, y, pixel_x, 100 * y, 200)
    assert fit.um_per_px_x == pytest.approx(2.0)
    assert fit.max_residual_px == pytest.approx(3.0)
    assert fit.residual_px == pytest.approx(math.sqrt(4 * 9 / 20))


def test_hexagonal_grid_counts_columns_in_half_pitches():
    row, column = np.mgrid[:10, :20]
    keep = (row + column) % 2 == 0
    row, column = row[keep], column[keep]
    pitch_px = 273.0
    fit = fit_scale(
        column, row, column * pitch_px / 2, row * pitch_px * math.sqrt(3) / 2, 100, grid="hexagonal"
    )
    assert fit.um_per_px == pytest.approx(100 / pitch_px)
    assert fit.pitch_px_y == pytest.approx(pitch_px)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_without_two_grid_positions_the_declared_value_is_used_or_asked_for(n):
    values = np.full(n, 7.0)
    with pytest.raises(UserError, match=r"Section S1: the scale cannot be fitted .*declare um_per_px"):
        fit_scale(values, values, 100 * values, 100 * values, 200, section="S1")
    fit = fit_scale(values, values, 100 * values, 100 * values, 200, declared=0.5)
    assert (fit.um_per_px, fit.pitch_px_x, fit.fitted) == (0.5, 400, False)


def test_a_single_row_of_spots_lends_its_pitch_to_the_other_axis():
    x = np.arange(5.0)
    fit = fit_scale(x, np.full(5, 2.0), 250 * x, np.full(5, 40.0), 200)
    assert (fit.um_per_px_x, fit.um_per_px_y) == (0.8, 0.8)
    assert fit.offset_y == pytest.approx(40 - 2 * 250)


def test_swapped_axes_are_found():
    x, y = grid()
    with pytest.raises(UserError, match="axes are swapped"):
        fit_scale(x, y, 100 * y, 100 * x, 200, section="S1")
    # Two spots on a diagonal fit either way and say nothing about swapping.
    assert fit_scale([1, 2], [1, 2], [10, 20], [10, 20], 200).um_per_px == pytest.approx(20)


@pytest.mark.parametrize(("sign_x", "sign_y", "axis"), [(-1, 1, "x"), (1, -1, "y")])
def test_flipped_axes_are_found(sign_x, sign_y, axis):
    x, y = grid()
    pixel = (5000 + sign_x * 100 * x, 5000 + sign_y * 100 * y)
    with pytest.raises(UserError, match=f"the {axis} axis is flipped"):
        fit_scale(x, y, *pixel, 200)
    assert fit_scale(x, y, *pixel, 200, allow_flipped=True).um_per_px == pytest.approx(2.0)


def test_impossible_pixels_are_named():
    x, y = grid()
    with pytest.raises(UserError, match="same pixel_x"):
        fit_scale(x, y, np.zeros_like(x), 100 * y, 200)
    broken = 100 * x
    broken[4] = np.nan
    with pytest.raises(UserError, match="pixel_x of spot number 5 is not a number"):
        fit_scale(x, y, broken, 100 * y, 200)


@pytest.mark.parametrize(
    ("declared", "stops"), [(2.0, False), (1.91, False), (2.09, False), (1.9, True), (2.2, True)]
)
def test_a_declared_scale_may_differ_by_five_percent(declared, stops):
    x, y = grid()
    fit = fit_scale(x, y, 100 * x, 100 * y, 200)  # 2 um per px
    check_declared(fit, None, "S1")
    if stops:
        with pytest.raises(UserError, match=r"Section S1: um_per_px is declared as .* spot grid shows 2"):
            check_declared(fit, declared, "S1")
    else:
        check_declared(fit, declared, "S1")


@pytest.mark.parametrize("declared", [0.0, -1.0, math.nan, math.inf])
def test_a_declared_scale_must_be_positive(declared):
    x, y = grid()
    with pytest.raises(UserError, match="must be a positive number"):
        check_declared(fit_scale(x, y, x, y, 200), declared, "S1")


def test_frame_rule_shows_a_shift_by_one_spot():
    x, y = grid()
    width, height = 3200, 3400  # 100 px per spot on 33 x 35 positions
    pixel = ((x - 1) * 100, (y - 1) * 100)
    assert frame_offset(x, y, *pixel, width, height) == pytest.approx((0, 0, 0), abs=1e-9)
    shifted = frame_offset(x, y, pixel[0] + 100, pixel[1], width, height)
    assert shifted == pytest.approx((100, 0, 1), abs=1e-9)
    assert frame_offset(x, y, pixel[0] + 100, pixel[1]) == pytest.approx((100, 0, 1), abs=1e-6)
