"""One image under two names is found whatever was done to the file; different images are not confused."""

from __future__ import annotations

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from histobench.errors import UserError
from histobench.files import read_json
from histobench.imaging.phash import (
    SAME_IMAGE_BITS,
    hash_distance,
    hash_image,
    hash_pixels,
    same_images,
    write_hash,
)
from histobench.imaging.thumbnail import thumbnail


def tissue(seed, size=(600, 500)):
    """Blobs of two stains on white, smooth as tissue is."""
    rng = np.random.default_rng(seed)
    field = cv2.GaussianBlur(rng.normal(size=size), (0, 0), 25)
    field = (field - field.mean()) / field.std()
    fine = cv2.GaussianBlur(rng.normal(size=size), (0, 0), 2)
    dark = np.clip(field, 0, 2)[..., None] * [40, 90, 45] + np.abs(fine)[..., None] * 60
    return np.ascontiguousarray(np.clip(245 - dark, 0, 255).astype(np.uint8))


CHANGES = {
    "mirrored": lambda p: p[:, ::-1],
    "upside down": lambda p: p[::-1],
    "a quarter turn": lambda p: np.rot90(p),
    "three quarter turns": lambda p: np.rot90(p, 3),
    "half the size": lambda p: cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "a poor JPEG": lambda p: imagecodecs.jpeg_decode(imagecodecs.jpeg_encode(p, level=30)),
    "darker": lambda p: (p * 0.85).astype(np.uint8),
    "a margin cut off": lambda p: p[8:-5, 6:-8],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_the_same_image(change):
    picture = tissue(1)
    copy = np.ascontiguousarray(CHANGES[change](picture))
    assert hash_distance(hash_pixels(picture), hash_pixels(copy)) <= SAME_IMAGE_BITS


def test_different_images_are_far_apart():
    hashes = {str(seed): hash_pixels(tissue(seed)) for seed in range(24)}
    assert same_images(hashes) == []
    least = min(hash_distance(a, b) for i, a in hashes.items() for j, b in hashes.items() if i < j)
    assert least > SAME_IMAGE_BITS + 20


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 7), st.integers(0, 1000))
def test_any_orientation_is_an_exact_copy(orientation, seed):
    picture = tissue(seed, (128, 128))
    turned = np.rot90(picture, orientation % 4)
    turned = np.ascontiguousarray(turned[:, ::-1] if orientation > 3 else turned)
    assert hash_distance(hash_pixels(picture), hash_pixels(turned)) <= 2  # rounding of the averaged grid


def test_pairs_are_named_and_blank_images_left_out():
    one, other = tissue(1), tissue(2)
    blank = hash_pixels(np.full((90, 80, 3), 240, np.uint8))
    assert blank == ""
    hashes = {
        "a": hash_pixels(one),
        "b": hash_pixels(other),
        "c": hash_pixels(np.ascontiguousarray(one[::-1])),
        "d": blank,
        "e": blank,
    }
    ((first, second, bits),) = same_images(hashes)
    assert (first, second) == ("a", "c") and bits <= SAME_IMAGE_BITS


def test_files_of_any_kind_agree(tmp_path):
    picture = tissue(3, (1900, 1500))
    tifffile.imwrite(tmp_path / "a.tif", picture, tile=(256, 256), photometric="rgb")
    (tmp_path / "a.jpg").write_bytes(imagecodecs.jpeg_encode(picture, level=95))
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(picture))
    for name in ("a.tif", "a.jpg", "a.png"):
        small = thumbnail(tmp_path / name, 300)
        assert small.shape == (300, 237, 3)
        expected = cv2.resize(picture, (237, 300), interpolation=cv2.INTER_AREA)
        assert np.abs(small.astype(int) - expected).mean() < 3
    hashes = [hash_image(tmp_path / name) for name in ("a.tif", "a.jpg", "a.png")]
    assert max(hash_distance(hashes[0], h) for h in hashes) < 10
    write_hash(tmp_path / "a.png", tmp_path / "h.json", "mine", "S1")
    assert read_json(tmp_path / "h.json") == {"cohort": "mine", "section": "S1", "phash": hashes[2]}


def test_a_small_image_stays_as_it_is_and_a_truncated_one_is_refused(tmp_path):
    picture = tissue(4, (64, 48))
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(picture))
    assert (thumbnail(tmp_path / "a.png", 500) == picture).all()
    data = imagecodecs.jpeg_encode(tissue(5))
    (tmp_path / "b.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"b\.jpg.*truncated"):
        thumbnail(tmp_path / "b.jpg", 100)
