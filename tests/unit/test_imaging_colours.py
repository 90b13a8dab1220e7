"""Colour histograms, weighted percentiles and colour maps against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from histobench.imaging.colours import ColourHistogram, ColourMap, pack, unpack, weighted_percentile

images = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12).map(lambda s: (*s, 3))
) | st.integers(0, 2**32 - 1).map(
    # few colours and long runs, as in a real background
    lambda seed: np.repeat(
        np.random.default_rng(seed).integers(254, 256, (8, 3, 3), dtype=np.uint8), 9, axis=1
    )
)


@settings(max_examples=25, deadline=None)
@given(st.lists(images, min_size=1, max_size=3))
def test_histogram_counts_every_colour(parts):
    histogram = ColourHistogram()
    for part in parts:
        histogram.add(part)
    rgb, counts = histogram.distinct()
    expected, expected_counts = np.unique(
        np.concatenate([p.reshape(-1, 3) for p in parts]), axis=0, return_counts=True
    )
    np.testing.assert_array_equal(rgb, expected)
    np.testing.assert_array_equal(counts, expected_counts)


def test_a_histogram_counts_beyond_four_thousand_million_pixels():
    """White of a slide of 100,000 x 100,000 pixels: as if most of it had been added already."""
    histogram = ColourHistogram()
    histogram.add(np.full((1, 5, 3), 255, np.uint8))
    before = 2**32 - 5
    histogram._table[pack(np.full((1, 3), 255, np.uint8))] = before
    histogram._pixels = before
    histogram.add(np.full((3, 4, 3), 255, np.uint8))
    histogram.add(np.zeros((1, 2, 3), np.uint8))
    rgb, counts = histogram.distinct()
    assert rgb.tolist() == [[0, 0, 0], [255, 255, 255]] and counts.tolist() == [2, before + 12]


@settings(max_examples=40, deadline=None)
@given(images)
def test_pack_and_unpack_are_inverse(image):
    flat = image.reshape(-1, 3)
    np.testing.assert_array_equal(unpack(pack(flat)), flat)


@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(1, 50)), min_size=1, max_size=40),
    st.sampled_from([0.0, 1.0, 50.0, 95.0, 99.0, 100.0]) | st.floats(0, 100),
)
def test_weighted_percentile_equals_numpy_to_the_last_bit(pairs, percent):
    values = np.array([value for value, _ in pairs])
    weights = np.array([weight for _, weight in pairs])
    assert weighted_percentile(values, weights, percent) == np.percentile(np.repeat(values, weights), percent)


@settings(max_examples=40, deadline=None)
@given(images)
def test_colour_map_equals_the_function(image):
    def swirl(rgb):
        return np.stack(
            [rgb[:, 2] ^ 85, rgb[:, 0], (rgb[:, 1].astype(int) * 7 % 256).astype(np.uint8)], axis=1
        )

    mapping = ColourMap(swirl)
    expected = swirl(image.reshape(-1, 3)).reshape(image.shape)
    np.testing.assert_array_equal(mapping(image), expected)
    np.testing.assert_array_equal(mapping(image), expected)  # from the table this time
    inplace = image.copy()
    assert mapping(inplace, out=inplace) is inplace
    np.testing.assert_array_equal(inplace, expected)


def test_colour_map_works_out_each_colour_once_across_pieces(monkeypatch):
    asked = []

    def negative(rgb):
        asked.extend(map(tuple, rgb.tolist()))
        return 255 - rgb

    image = np.random.default_rng(0).integers(0, 4, (50, 40, 3), dtype=np.uint8)
    mapping = ColourMap(negative)
    monkeypatch.setattr(mapping, "_PIECE", 333)
    np.testing.assert_array_equal(mapping(image), 255 - image)
    mapping(image[::-1].copy())
    assert len(asked) == len(set(asked)) == 64


def test_one_thread_or_two_give_the_same_pixels_also_in_place(monkeypatch):
    image = np.random.default_rng(9).integers(0, 256, (61, 37, 3), dtype=np.uint8)
    monkeypatch.setattr(ColourMap, "_PIECE", 100)
    mapped = []
    for threads in ("1", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        place = image.copy()
        colours = ColourMap(lambda rgb: 255 - rgb)
        np.testing.assert_array_equal(colours(image), 255 - image)
        mapped.append(colours(place, out=place))
    np.testing.assert_array_equal(mapped[0], mapped[1])


def test_colour_map_refuses_what_it_cannot_map():
    mapping = ColourMap(lambda rgb: rgb)
    with pytest.raises(ValueError, match="RGB bytes"):
        mapping(np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match="out must be"):
        mapping(np.zeros((4, 4, 3), np.uint8), out=np.zeros((4, 5, 3), np.uint8))
