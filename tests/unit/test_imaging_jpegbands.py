"""JPEG by rows: the pixels of the whole file, from no more of it than is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from histobench.errors import UserError
from histobench.imaging.jpeg import read_jpeg
from histobench.imaging.jpegbands import JpegBands, find_layout
from histobench.imaging.patches import cut_patches
from histobench.imaging.slides import open_slide


def photograph(path: Path, width=333, height=287, **options) -> Path:
    """Write a JPEG with sharp colours everywhere, so that wrong neighbours would show."""
    rng = np.random.default_rng(4)
    coarse = rng.integers(0, 256, (height // 7 + 1, width // 5 + 1, 3), dtype=np.uint8)
    image = np.kron(coarse, np.ones((7, 5, 1), np.uint8))[:height, :width]
    image = np.clip(image.astype(int) + rng.integers(-20, 20, image.shape), 0, 255).astype(np.uint8)
    grey = options.pop("grey", False)
    Pillow.fromarray(image[..., 0] if grey else image).save(path, "JPEG", quality=88, **options)
    return path


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("size", [(333, 287), (320, 288), (17, 200), (400, 9)])
def test_rows_equal_those_of_the_whole_file(tmp_path, monkeypatch, subsampling, size):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    path = photograph(tmp_path / "a.jpg", *size, subsampling=subsampling, restart_marker_rows=1)
    whole = read_jpeg(path)
    data = path.read_bytes()
    layout = find_layout(data)
    assert layout is not None and layout.intervals_per_row == 1
    rng = np.random.default_rng(0)
    for _ in range(12):
        bands = JpegBands(path, data, layout)
        for _ in range(3):  # windows one after another, in rows that are partly there
            (left, right), (top, bottom) = (np.sort(rng.choice(n + 1, 2, replace=False)) for n in size)
            part = bands.window(left, top, right, bottom)
            np.testing.assert_array_equal(part, whole[top:bottom, left:right])


def test_several_markers_in_a_row_and_grey_images(tmp_path):
    for options in ({"restart_marker_blocks": 3}, {"restart_marker_rows": 1, "grey": True}):
        path = photograph(tmp_path / "a.jpg", 384, 200, **options)
        layout = find_layout(path.read_bytes())
        assert layout is not None
        part = JpegBands(path, path.read_bytes(), layout).window(10, 90, 300, 130)
        np.testing.assert_array_equal(part, read_jpeg(path)[90:130, 10:300])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"restart_marker_blocks": 5},
        {"restart_marker_rows": 2},
        {"progressive": True, "restart_marker_rows": 1},
    ],
)
def test_other_files_are_decoded_whole(tmp_path, options):
    path = photograph(tmp_path / "a.jpg", **options)
    assert find_layout(path.read_bytes()) is None
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read_region(0, 0, 333, 287), read_jpeg(path))


def test_only_the_rows_of_a_window_are_decoded(tmp_path):
    path = photograph(tmp_path / "a.jpg", 320, 800, subsampling="4:2:0", restart_marker_rows=1)
    data = path.read_bytes()
    bands = JpegBands(path, data, find_layout(data))
    bands.window(0, 320, 50, 352)
    assert sorted(bands._slab_of) == [20, 21]


def test_spots_of_one_line_are_decoded_together(tmp_path, monkeypatch):
    """Spots are never quite level; one by one they would decode single rows, each with its two neighbours."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = photograph(tmp_path / "a.jpg", 640, 1200, subsampling="4:2:0", restart_marker_rows=1)
    decoded = []
    decode = JpegBands._decode
    monkeypatch.setattr(JpegBands, "_decode", lambda self, *a: decoded.append(a[0]) or decode(self, *a))
    x = np.tile(np.arange(60.0, 600, 60), 3)
    y = np.repeat([200.0, 600.0, 1000.0], 9) + np.tile(np.arange(9.0) * 4, 3)
    with open_slide(path) as slide:
        patches = cut_patches(slide, x, y, 100)
    assert decoded == [(9, 18), (34, 43), (59, 68)]
    whole = read_jpeg(path)
    for patch, column, row in zip(patches, x.astype(int) - 50, y.astype(int) - 50, strict=True):
        np.testing.assert_array_equal(patch, whole[row : row + 100, column : column + 100])


def test_memory_stays_bounded_whatever_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("histobench.imaging.jpegbands._KEPT_BYTES", 0)
    path = photograph(tmp_path / "a.jpg", 40, 3000, restart_marker_rows=1, subsampling="4:4:4")
    data, whole = path.read_bytes(), read_jpeg(path)
    bands = JpegBands(path, data, find_layout(data))
    bands.expect([(top, top + 90) for top in range(0, 2900, 100)])  # more than is kept
    assert 1 < len(bands._slabs) <= 8
    for top, bottom in ((0, 3000), (1200, 1800), (0, 40), (2900, 3000)):
        np.testing.assert_array_equal(bands.window(3, top, 40, bottom), whole[top:bottom, 3:40])
        assert len(bands._slabs) <= 5


def test_a_truncated_file_is_refused_although_the_window_would_be_there(tmp_path):
    path = photograph(tmp_path / "a.jpg", 320, 800, restart_marker_rows=1)
    path.write_bytes(path.read_bytes()[:-2000])
    with open_slide(path) as slide, pytest.raises(UserError, match="truncated"):
        slide.read_region(0, 0, 32, 32)
