"""What files say of their scale and orientation, written by the programs that write such files."""

from __future__ import annotations

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from histobench.errors import UserError
from histobench.imaging.scale import PLAUSIBLE_UM
from histobench.imaging.statements import scale_statements, stated_scales, turned_as

PIXELS = np.random.default_rng(0).integers(60, 240, (96, 128, 3), dtype=np.uint8)


def tiff(path, **options):
    tifffile.imwrite(path, PIXELS, photometric="rgb", **options)
    return path


def ome(path, **metadata):
    tifffile.imwrite(path, PIXELS, photometric="rgb", tile=(32, 32), ome=True, metadata=metadata)
    return path


def svs(path, properties):
    text = f"Aperio Image Library v1\n128x96 {properties}"
    return tiff(path, tile=(32, 32), description=text, metadata=None)


STATED = {
    "tiff per cm": (lambda p: tiff(p / "a.tif", resolution=(7267, 7267), resolutionunit=3), 10000 / 7267),
    "tiff per inch": (lambda p: tiff(p / "a.tif", resolution=(50800, 50800), resolutionunit=2), 0.5),
    "pyramid's tiles": (
        lambda p: tiff(p / "a.tif", tile=(32, 32), resolution=(20000, 20000), resolutionunit=3), 0.5,
    ),
    "ImageJ in micron": (
        lambda p: tiff(p / "a.tif", imagej=True, resolution=(2, 2), metadata={"unit": "micron"}), 0.5,
    ),
    "ImageJ in um": (
        lambda p: tiff(p / "a.tif", imagej=True, resolution=(4, 4), metadata={"unit": "um"}), 0.25,
    ),
    "OME": (lambda p: ome(p / "a.ome.tif", PhysicalSizeX=0.3, PhysicalSizeY=0.3), 0.3),
    "OME in nm": (
        lambda p: ome(p / "a.ome.tif", PhysicalSizeX=325.0, PhysicalSizeXUnit="nm", PhysicalSizeY=325.0,
                      PhysicalSizeYUnit="nm"), 0.325,
    ),
    "OME in mm": (
        lambda p: ome(p / "a.ome.tif", PhysicalSizeX=0.0005, PhysicalSizeXUnit="mm", PhysicalSizeY=0.0005,
                      PhysicalSizeYUnit="mm"), 0.5,
    ),
    "svs": (lambda p: svs(p / "a.svs", "|AppMag = 20|MPP = 0.4942"), 0.4942),
    "png": (lambda p: _save(p / "a.png", dpi=(50800, 50800)), 0.5),
    "jpeg": (lambda p: _save(p / "a.jpg", dpi=(25400, 25400)), 1.0),
}  # fmt: skip


def _save(path, **options):
    Image.fromarray(PIXELS).save(path, **options)
    return path


@pytest.mark.parametrize("kind", STATED)
def test_a_stated_scale_is_read_with_its_source(kind, tmp_path):
    write, expected = STATED[kind]
    (scale,) = stated_scales(write(tmp_path))
    assert scale.um_per_px == pytest.approx(expected, rel=1e-3)
    assert scale.um_per_px_x == pytest.approx(scale.um_per_px_y)
    assert f"{scale.um_per_px:.4g} µm per pixel ({scale.source})" == str(scale)


def test_the_resolution_of_a_tiled_tiff_is_the_scale_that_openslide_tells(tmp_path):
    path = tiff(tmp_path / "a.tif", tile=(32, 32), resolution=(7267, 7267), resolutionunit=3)
    with openslide.OpenSlide(path) as slide:
        theirs = float(slide.properties["openslide.mpp-x"])
    assert stated_scales(path)[0].um_per_px == pytest.approx(theirs)


@pytest.mark.parametrize("dpi", [1, 72, 96, 150, 300, 600, 1200, 2400])
@pytest.mark.parametrize("suffix", ["tif", "png", "jpg"])
def test_an_editors_resolution_is_no_scale(dpi, suffix, tmp_path):
    path = _save(tmp_path / f"a.{suffix}", dpi=(dpi, dpi))
    said = scale_statements(path)
    assert said.scales == () and len(said.ignored) == 1
    assert "no histology has" in said.ignored[0]


@pytest.mark.parametrize(
    "write",
    [
        lambda p: tiff(p / "a.tif"),
        lambda p: tiff(p / "a.tif", resolution=(20000, 20000), resolutionunit=1),  # a ratio only
        lambda p: tiff(p / "a.tif", imagej=True, resolution=(2, 2)),  # pixels
        lambda p: tiff(p / "a.tif", resolution=(0, 0), resolutionunit=3),
        lambda p: _save(p / "a.png"),
        lambda p: _save(p / "a.jpg"),
    ],
)
def test_a_file_that_says_nothing_states_nothing(write, tmp_path):
    said = scale_statements(write(tmp_path))
    assert (said.scales, said.ignored, said.magnification) == ((), (), None)


def test_both_axes_are_told_where_they_differ(tmp_path):
    (scale,) = stated_scales(tiff(tmp_path / "a.tif", resolution=(20000, 10000), resolutionunit=3))
    assert (scale.um_per_px_x, scale.um_per_px_y) == pytest.approx((0.5, 1.0))
    assert str(scale).startswith("0.5 x 1 µm per pixel (TIFF resolution")


@pytest.mark.parametrize("mpp", ["0", "-0.5", "nan", "inf", "1000", "0.0001"])
def test_an_absurd_mpp_is_ignored_with_words(mpp, tmp_path):
    said = scale_statements(svs(tmp_path / "a.svs", f"|AppMag = 20|MPP = {mpp}"))
    assert said.scales == () and said.magnification == 20
    assert said.assumed_um_per_px == (None if mpp in ("1000", "0.0001") else 0.5)  # perhaps another unit
    assert len(said.ignored) == 1 and "MPP" in said.ignored[0]


def test_a_magnification_is_no_scale(tmp_path):
    said = scale_statements(svs(tmp_path / "a.svs", "|AppMag = 40"))
    assert (said.scales, said.magnification, said.assumed_um_per_px) == ((), 40, 0.25)


def test_two_statements_of_one_file_are_both_told(tmp_path):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        path, PIXELS, photometric="rgb", ome=True, resolution=(40000, 40000), resolutionunit=3,
        metadata={"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5},
    )  # fmt: skip
    assert [round(scale.um_per_px, 4) for scale in stated_scales(path)] == [0.5, 0.25]


def test_an_ome_size_in_no_unit_of_length_is_ignored(tmp_path):
    said = scale_statements(ome(tmp_path / "a.ome.tif", PhysicalSizeX=0.5, PhysicalSizeXUnit="pixel"))
    assert said.scales == () and '"pixel", which is no length' in said.ignored[0]


def test_what_is_plausible_is_one_range():
    assert PLAUSIBLE_UM == (0.1, 5.0)


@pytest.mark.parametrize("suffix", ["tif", "png", "jpg"])
@pytest.mark.parametrize(("value", "words"), [(1, ""), (3, "180 degrees"), (6, "clockwise"), (99, "")])
def test_an_orientation_is_told(suffix, value, words, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = value
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(PIXELS).save(path, exif=exif)
    assert turned_as(path).endswith(words) and bool(turned_as(path)) == bool(words)


def test_a_file_without_pixels_is_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0")
    (tmp_path / "b.tif").write_text("no image")
    for name, what in (("a.tif", "truncated"), ("b.tif", "not an image"), ("c.tif", "does not exist")):
        with pytest.raises(UserError, match=what):
            stated_scales(tmp_path / name)


@pytest.mark.parametrize("mpp", ["0.25 um", "0.25;0.25", "0.25x0.25"])
def test_nothing_is_assumed_against_a_measurement_that_is_no_number(tmp_path, mpp):
    said = scale_statements(svs(tmp_path / "a.svs", f"|AppMag = 20|MPP = {mpp}"))
    assert said.odd and said.assumed_um_per_px is None and not said.scales


@pytest.mark.parametrize("axis", ["X", "Y"])
def test_one_axis_of_ome_stands_for_both(tmp_path, axis):
    sizes = {f"PhysicalSize{axis}": 300, f"PhysicalSize{axis}Unit": "nm"}
    (scale,) = scale_statements(ome(tmp_path / "a.ome.tif", **sizes)).scales
    assert (scale.um_per_px_x, scale.um_per_px_y) == pytest.approx((0.3, 0.3))


@pytest.mark.parametrize(
    ("first", "kept"),
    [
        ("128x96 [0,0 128x96] (32x32) JPEG/RGB Q=70", True),
        ("128x96 [0,0 128x96] -> 128x96 - ", True),
        ("46000x32914 [0,0 46000x32914] (256x256) -> 128x96 - ", False),
        ("256x192 -> 128x96 JPEG/RGB Q=90", False),
    ],
)
def test_the_scale_of_what_a_copy_was_made_from_is_set_apart(tmp_path, first, kept):
    """A reduced copy of a scan that keeps the header of the scan, with its MPP."""
    text = f"Aperio Image Library v1\n{first}|AppMag = 20|MPP = 0.4990"
    path = tiff(tmp_path / "a.svs", tile=(32, 32), description=text, metadata=None)
    said = scale_statements(path)
    if kept:
        assert [scale.um_per_px for scale in said.scales] == [0.499] and not said.ignored
    else:
        assert not said.scales and said.assumed_um_per_px is None
        assert "may be that of the" in said.ignored[0]
