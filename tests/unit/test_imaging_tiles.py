"""Tiles side by side over an image, without the glass."""

from __future__ import annotations

import numpy as np
import pytest

from histobench.imaging.slides import ArraySlide
from histobench.imaging.tiles import cover, iter_tissue


@pytest.mark.parametrize(
    ("size", "native", "target", "expected"),
    [
        ((2048, 1536), 0.42, None, (192, 128)),  # HistoSPACE on BACH
        ((2048, 1536), 0.42, 0.6875, (63, 210)),
        ((1024, 1024), 0.25, 0.5, (16, 256)),
        ((127, 500), None, None, (0, 128)),
    ],
)
def test_number_and_width(size, native, target, expected):
    windows = cover(*size, 128, native, target)
    assert (len(windows), windows.crop_px) == expected


@pytest.mark.parametrize("crop", [3, 4, 128])
def test_tiles_touch_and_stay_inside(crop):
    windows = cover(5 * crop + 2, 3 * crop, crop, None, None)
    places = list(zip(windows.left.tolist(), windows.top.tolist(), strict=True))
    assert places == [(crop * column, crop * row) for row in range(3) for column in range(5)]


def test_glass_is_left_out_at_more_than_half():
    image = np.full((8, 24, 3), 255, np.uint8)
    image[:4, :8] = 100  # exactly half of the first tile is tissue
    image[:3, 8:16] = 100  # less than half of the second
    image[:, 16:] = (220, 220, 220)  # not above the level of white
    slide = ArraySlide(image)
    batches = list(iter_tissue(slide, cover(24, 8, 8, None, None)))
    (batch,) = batches
    assert batch.left.tolist() == [0, 16] and batch.white.tolist() == [0.5, 0.0]
    np.testing.assert_array_equal(batch.pixels[0], image[:, :8])
    everything = list(iter_tissue(slide, cover(24, 8, 8, None, None), max_white=None, batch=1))
    assert [part.left.tolist() for part in everything] == [[0], [8], [16]]


def test_black_where_nothing_was_scanned_is_left_out_with_the_glass():
    image = np.full((8, 32, 3), 100, np.uint8)
    image[:, :8] = 3  # a frame
    image[:3, 8:16], image[3:5, 8:16] = 0, 250  # a corner beside glass
    image[:3, 16:24] = 0
    (batch,) = iter_tissue(ArraySlide(image), cover(32, 8, 8, None, None))
    assert batch.left.tolist() == [16, 24] and batch.white.tolist() == [0.0, 0.0]


def test_batches_hold_what_was_asked_for():
    slide = ArraySlide(np.full((40, 40, 3), 100, np.uint8))
    assert [len(part.left) for part in iter_tissue(slide, cover(40, 40, 8, None, None), batch=10)] == [
        10,
        10,
        5,
    ]
    with pytest.raises(ValueError, match="batch must be at least 1"):
        next(iter_tissue(slide, cover(40, 40, 8, None, None), batch=0))
