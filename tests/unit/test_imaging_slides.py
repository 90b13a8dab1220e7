"""Opening images: exact pixels, padding, sizes without decoding, and files that end early."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from histobench.errors import UserError
from histobench.imaging.jpeg import find_damage
from histobench.imaging.slides import ArraySlide, image_size, open_slide, read_image


def tissue(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Blocks of random colour: compressible, and every 16-pixel block differs."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((16, 16, 1), np.uint8))[:height, :width]


def coded(height: int, width: int) -> np.ndarray:
    """An image whose pixel says where it is: R = x, G = y (both modulo 256), B = the carries."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x % 256, y % 256, 16 * (x // 256) + y // 256], axis=2).astype(np.uint8)


def jpeg(array: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "JPEG", quality=90, **options)
    return stream.getvalue()


JPEGS = {
    "baseline": jpeg(tissue(70, 90)),
    "full chroma": jpeg(tissue(70, 90), subsampling=0),
    "progressive": jpeg(tissue(70, 90), progressive=True),
    "restart markers": jpeg(tissue(70, 90), restart_marker_rows=1),
    "grey": jpeg(tissue(70, 90)[:, :, 0], restart_marker_rows=1),
    "with a thumbnail": jpeg(tissue(70, 90), exif=b"Exif\0\0" + jpeg(tissue(16, 16))),
}


@pytest.mark.parametrize("kind", JPEGS)
def test_jpeg_pixels_are_those_of_pillow(kind, tmp_path):
    path = tmp_path / "image.jpg"
    path.write_bytes(JPEGS[kind])
    expected = np.asarray(Image.open(path).convert("RGB"))
    assert image_size(path) == (90, 70)
    np.testing.assert_array_equal(read_image(path), expected)
    reused = np.zeros((70, 90, 3), np.uint8)
    assert read_image(path, out=reused) is reused
    np.testing.assert_array_equal(reused, expected)


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_cut_anywhere_is_refused(kind):
    data = JPEGS[kind]
    assert find_damage(data) is None
    for end in range(3, len(data)):
        assert find_damage(data[:end]) is not None, f"cut after {end} of {len(data)} bytes went unnoticed"


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.2, 0.5, 0.9, 0.999])
def test_reading_a_truncated_jpeg_names_the_file_in_one_sentence(fraction, tmp_path):
    path = tmp_path / "section.jpg"
    data = JPEGS["restart markers"]
    path.write_bytes(data[: int(fraction * len(data))])
    with pytest.raises(UserError, match=r"section\.jpg: .+\.$") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError), open_slide(path) as slide:
        slide.read_region(0, 0, 10, 10)


def test_a_jpeg_with_a_hole_is_refused_by_its_restart_markers(tmp_path):
    data = JPEGS["restart markers"]
    markers = [i for i in range(len(data) - 1) if data[i] == 0xFF and 0xD0 <= data[i + 1] <= 0xD7]
    assert len(markers) == 4  # 70 rows are 5 rows of units of 16 pixels
    damage = find_damage(data[: markers[1]] + data[markers[2] :])
    assert damage is not None and "3 of 4 restart markers" in damage


def test_trailing_bytes_after_the_end_marker_do_no_harm():
    assert find_damage(JPEGS["baseline"] + b"\0\0padding") is None


def test_cmyk_jpeg_is_refused(tmp_path):
    path = tmp_path / "cmyk.jpg"
    Image.new("CMYK", (20, 20)).save(path)
    with pytest.raises(UserError, match="4 colour channels"):
        read_image(path)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_jpeg_never_escapes_as_another_error(tmp_path_factory, data):
    """Any bytes behind a JPEG start either decode to the stated size or raise a UserError."""
    whole = bytearray(JPEGS[data.draw(st.sampled_from(sorted(JPEGS)))])
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(3, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.jpg"
    path.write_bytes(bytes(whole[: data.draw(st.integers(3, len(whole)))]))
    try:
        size = image_size(path)
        if size[0] * size[1] > 10**7:  # a damaged header may state gigapixels
            return
        array = read_image(path)
    except UserError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
        return
    assert array.shape == (size[1], size[0], 3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_png_modes(mode, tmp_path):
    path = tmp_path / "image.png"
    image = Image.fromarray(coded(40, 300)).convert(mode)
    image.save(path)
    assert image_size(path) == (300, 40)
    np.testing.assert_array_equal(read_image(path), np.asarray(image.convert("RGB")))


def test_transparency_is_laid_over_white_and_16_bits_keep_the_upper_byte(tmp_path):
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (10, 20, 30, 255)
    rgba[0, 1] = (100, 0, 255, 128)
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    got = read_image(tmp_path / "alpha.png")
    # 128 / 255 of the colour and 127 / 255 of white
    expected = np.rint(np.array([100, 0, 255]) * (128 / 255) + 127)
    assert got[0, 0].tolist() == [10, 20, 30]
    assert got[0, 1].tolist() == expected.tolist()
    assert got[1].tolist() == [[255] * 3] * 2
    grey = (np.arange(65536, dtype=np.uint32).astype(np.uint16)).reshape(256, 256)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png")[:, :, 1], (grey >> 8).astype(np.uint8))


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.7, 0.97])
def test_truncated_png_and_tiff_are_refused(fraction, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    tifffile.imwrite(tmp_path / "whole.tif", noise, tile=(64, 64), photometric="rgb")
    for suffix in ("png", "tif"):
        data = (tmp_path / f"whole.{suffix}").read_bytes()
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(data[: int(fraction * len(data))])
        with pytest.raises(UserError, match=rf"cut\.{suffix}: .+\.$"):
            read_image(cut)


@pytest.mark.parametrize("content", [b"", b"\xff", b"not an image", b"GIF89a......"])
def test_files_that_are_no_images(content, tmp_path):
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    for function in (image_size, read_image, open_slide):
        with pytest.raises(UserError, match=r"image\.jpg"):
            function(path)
    with pytest.raises(UserError, match="does not exist"):
        image_size(tmp_path / "absent.jpg")
    with pytest.raises(UserError, match="cannot be read"):
        image_size(tmp_path)


TIFFS = {
    "tiles": {"tile": (64, 48)},
    "strips": {"rowsperstrip": 16},
    "one strip": {},
    "one compressed strip": {"compression": "deflate", "rowsperstrip": 330},
    "planes in strips": {"planarconfig": "separate"},
    "deflate": {"tile": (64, 64), "compression": "deflate", "predictor": True},
    "planes": {"tile": (64, 64), "planarconfig": "separate"},
    "bigtiff": {"tile": (64, 64), "bigtiff": True},
}


def save_tiff(path: Path, array: np.ndarray, **options: object) -> None:
    stored = np.ascontiguousarray(np.moveaxis(array, 2, 0)) if "planarconfig" in options else array
    tifffile.imwrite(path, stored, photometric="rgb", **options)


@pytest.mark.parametrize("layout", TIFFS)
def test_tiff_windows(layout, tmp_path):
    array, path = coded(330, 500), tmp_path / "image.tif"
    save_tiff(path, array, **TIFFS[layout])
    assert image_size(path) == (500, 330)
    np.testing.assert_array_equal(read_image(path), array)
    with open_slide(path) as slide:
        assert (slide.width, slide.height) == (500, 330)
        for x, y, w, h in [(0, 0, 500, 330), (37, 61, 100, 130), (499, 329, 1, 1), (64, 48, 64, 48)]:
            np.testing.assert_array_equal(slide.read_region(x, y, w, h), array[y : y + h, x : x + w])


def test_svs_windows(tmp_path):
    array, path = coded(330, 500), tmp_path / "slide.svs"
    tifffile.imwrite(
        path,
        array,
        tile=(64, 64),
        photometric="rgb",
        description="Aperio Image Library v1\n500x330 |MPP = 0.4942",
        metadata=None,
    )
    assert openslide.OpenSlide.detect_format(path) == "aperio"
    assert image_size(path) == (500, 330)
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read_region(100, 50, 200, 80), array[50:130, 100:300])
        padded = slide.read_region(-5, 325, 10, 10)
    np.testing.assert_array_equal(padded[:5, 5:], array[325:, :5])
    assert (padded[5:] == 255).all() and (padded[:, :5] == 255).all()


@settings(max_examples=100, deadline=None)
@given(
    st.integers(-60, 110),
    st.integers(-60, 90),
    st.integers(0, 120),
    st.integers(0, 120),
    st.sampled_from([0, 255, 7]),
)
def test_padding_is_that_of_a_padded_image(x, y, w, h, fill):
    array = coded(50, 70)
    padded = np.pad(array, ((200, 200), (200, 200), (0, 0)), constant_values=fill)
    expected = padded[200 + y : 200 + y + h, 200 + x : 200 + x + w]
    np.testing.assert_array_equal(ArraySlide(array).read_region(x, y, w, h, fill=fill), expected)


def test_bands_cover_the_image_once():
    array = coded(101, 40)
    bands = list(ArraySlide(array).bands(rows=25))
    assert [top for top, _ in bands] == [0, 25, 50, 75, 100]
    np.testing.assert_array_equal(np.concatenate([band for _, band in bands]), array)


def test_a_tiff_window_decodes_only_the_tiles_it_touches(tmp_path):
    """A window of a file whose other tiles are broken can be read."""
    path = tmp_path / "image.tif"
    array = coded(256, 256)
    save_tiff(path, array, tile=(64, 64), compression="deflate")
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        spans = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    data = bytearray(path.read_bytes())
    for offset, count in spans[1:]:
        data[offset : offset + count] = b"\xee" * count
    path.write_bytes(bytes(data))
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read_region(3, 5, 50, 50), array[5:55, 3:53])
        with pytest.raises(UserError, match="cannot be decoded"):
            slide.read_region(60, 60, 10, 10)


def test_exif_rotation_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees for display"
    array, path = tissue(48, 96), tmp_path / "image.jpg"
    Image.fromarray(array).save(path, "JPEG", exif=exif)
    assert image_size(path) == (96, 48)
    assert read_image(path).shape == (48, 96, 3)
