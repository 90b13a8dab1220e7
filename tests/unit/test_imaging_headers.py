"""Sizes are judged before pixels are decoded; what is no image file is refused without waiting for it."""

from __future__ import annotations

import os
import struct
import zlib

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from histobench.errors import UserError
from histobench.imaging import memory
from histobench.imaging.memory import available_bytes, require_memory
from histobench.imaging.slides import image_size, open_slide, read_image
from histobench.imaging.statements import stated_scales, turned_as
from histobench.imaging.thumbnail import thumbnail

PIXELS = np.random.default_rng(0).integers(60, 240, (96, 128, 3), dtype=np.uint8)


def window(path):
    with open_slide(path) as slide:
        return slide.read_region(0, 0, 8, 8)


READERS = (image_size, read_image, window, lambda path: thumbnail(path, 64))


def jpeg(path, width, height, **options):
    """A JPEG whose header states another size."""
    Image.fromarray(PIXELS).save(path, quality=90, **options)
    data = bytearray(path.read_bytes())
    at = next(i for i in range(len(data)) if data[i] == 0xFF and data[i + 1] in (0xC0, 0xC2))
    struct.pack_into(">HH", data, at + 5, height, width)
    path.write_bytes(bytes(data))


def png(path, width, height, colours=2, bits=8):
    """A PNG whose header states another size."""
    Image.fromarray(PIXELS).save(path)
    data = bytearray(path.read_bytes())
    struct.pack_into(">IIBB", data, 16, width, height, bits, colours)
    struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    path.write_bytes(bytes(data))


def tiff(path, width, height, **options):
    """A TIFF whose header states another size."""
    tifffile.imwrite(path, PIXELS, photometric="rgb", **options)
    with tifffile.TiffFile(path, mode="r+") as file:
        for name, value in (("ImageWidth", width), ("ImageLength", height), ("RowsPerStrip", height)):
            if name in file.pages.first.tags:
                file.pages.first.tags[name].overwrite(value, dtype="I")


@pytest.mark.parametrize(
    "make",
    [
        lambda p: jpeg(p / "a.jpg", 65535, 65535),
        lambda p: jpeg(p / "a.jpg", 65535, 65535, progressive=True),
        lambda p: jpeg(p / "a.jpg", 65000, 2000),
        lambda p: png(p / "a.png", 200_000, 200_000),
        lambda p: png(p / "a.png", 2**31 - 1, 2**31 - 1),
        lambda p: png(p / "a.png", 60_000, 60_000, colours=0, bits=1),
    ],
)
def test_a_size_that_the_file_cannot_hold_is_refused_by_its_header(make, tmp_path):
    make(tmp_path)
    (path,) = tmp_path.iterdir()
    for read in READERS:
        with pytest.raises(UserError, match=r"header states \d+ x \d+ pixels, which \d+ bytes cannot hold"):
            read(path)


@pytest.mark.parametrize("options", [{"tile": (32, 32)}, {}, {"compression": "deflate"}])
def test_a_tiff_of_gigapixels_without_their_bytes_is_refused(options, tmp_path):
    tiff(tmp_path / "a.tif", 200_000, 200_000, **options)
    for read in READERS[1:]:
        with pytest.raises(UserError, match=r"too few tiles|truncated|cannot be decoded|of memory"):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_what_does_not_fit_into_memory_is_refused_before_decoding(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"a.{suffix}"
    big = np.kron(PIXELS, np.ones((12, 12, 1), np.uint8))
    Image.fromarray(big).save(path)
    assert image_size(path) == big.shape[1::-1]
    monkeypatch.setattr(memory, "available_bytes", lambda: 2 * 10**6)
    with pytest.raises(
        UserError, match=r"decoding 1536 x 1152 pixels takes \d+ MB of memory, but 2 MB are left"
    ):
        read_image(path)
    monkeypatch.undo()
    assert read_image(path).shape == big.shape


def test_memory_of_a_job_counts(monkeypatch):
    free = available_bytes()
    assert free > 10**7
    require_memory("image", 1, 1, free // 2)
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "100")
    assert available_bytes() == 100 * 2**20
    monkeypatch.delenv("SLURM_MEM_PER_NODE")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "40")
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "2")
    assert available_bytes() == 80 * 2**20
    with pytest.raises(UserError, match=r"image: decoding 9 x 9 pixels takes 105 MB"):
        require_memory("image", 9, 9, 105 * 10**6)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "svs"])
def test_pipes_folders_and_empty_files_are_refused_without_waiting(suffix, tmp_path):
    pipe, folder, empty = (tmp_path / f"{name}.{suffix}" for name in ("pipe", "folder", "empty"))
    os.mkfifo(pipe)
    folder.mkdir()
    empty.touch()
    for read in (*READERS, stated_scales, turned_as):
        for path, what in ((pipe, "a pipe or device"), (folder, "a folder"), (empty, "empty")):
            with pytest.raises(UserError, match=what):
                read(path)


def test_an_image_packed_as_tightly_as_can_be_is_read(tmp_path):
    white = np.full((1500, 2000, 3), 255, np.uint8)
    Image.fromarray(white).save(tmp_path / "a.png", compress_level=9)
    Image.fromarray(white).save(tmp_path / "a.jpg", progressive=True, optimize=True, quality=1)
    Image.fromarray(white).convert("1").save(tmp_path / "b.png", compress_level=9)
    cv2.imwrite(str(tmp_path / "c.jpg"), white, [cv2.IMWRITE_JPEG_QUALITY, 1])
    for path in tmp_path.iterdir():
        assert (read_image(path) > 250).all()


def test_inks_in_a_jpeg_get_the_right_advice(tmp_path):
    Image.fromarray(PIXELS).convert("CMYK").save(tmp_path / "a.jpg")
    for read in READERS:
        with pytest.raises(UserError, match=r"4 colour channels.*save the image as RGB"):
            read(tmp_path / "a.jpg")


def test_a_jpeg_of_12_bits_is_also_looked_at(tmp_path):
    smooth = cv2.resize(PIXELS, (512, 384), interpolation=cv2.INTER_CUBIC)
    data = imagecodecs.jpeg_encode(smooth.astype(np.uint16) * 16, bitspersample=12, level=95)
    (tmp_path / "a.jpg").write_bytes(data)
    whole = read_image(tmp_path / "a.jpg")
    assert whole.dtype == np.uint8
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg", out=np.zeros_like(whole)), whole)
    np.testing.assert_array_equal(window(tmp_path / "a.jpg"), whole[:8, :8])
    assert np.abs(whole.astype(int) - smooth).mean() < 6
    small = cv2.resize(whole, (128, 96), interpolation=cv2.INTER_AREA)
    assert np.abs(thumbnail(tmp_path / "a.jpg", 128).astype(int) - small).max() <= 1
