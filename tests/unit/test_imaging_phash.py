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
from histobench.imaging.landmarks import SAME_VIEW, Landmarks, find_landmarks, shared_landmarks
from histobench.imaging.phash import (
    SAME_IMAGE_BITS,
    describe_picture,
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
    "a negative": lambda p: 255 - p,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_the_same_image(change):
    picture = tissue(1)
    copy = np.ascontiguousarray(CHANGES[change](picture))
    assert hash_distance(hash_pixels(picture), hash_pixels(copy)) <= SAME_IMAGE_BITS


def test_different_images_are_far_apart():
    pictures = {str(seed): describe_picture(tissue(seed)) for seed in range(24)}
    assert same_images(pictures) == []
    hashes = {name: picture["phash"] for name, picture in pictures.items()}
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
    empty = np.full((90, 80, 3), 240, np.uint8)
    pictures = {"a": one, "b": other, "c": np.ascontiguousarray(one[::-1]), "d": empty, "e": empty}
    ((first, second, why),) = same_images({name: describe_picture(p) for name, p in pictures.items()})
    assert (first, second) == ("a", "c") and why.endswith("of 255 bits differ")


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
    stored = read_json(tmp_path / "h.json")
    assert stored["phash"] == hashes[2] and (stored["cohort"], stored["section"]) == ("mine", "S1")
    marks = find_landmarks(thumbnail(tmp_path / "a.png", 512))
    again = Landmarks.from_json(stored["landmarks"])
    assert shared_landmarks(marks, again) == len(marks.places) > 50


def test_a_small_image_stays_as_it_is_and_a_truncated_one_is_refused(tmp_path):
    picture = tissue(4, (64, 48))
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(picture))
    assert (thumbnail(tmp_path / "a.png", 500) == picture).all()
    data = imagecodecs.jpeg_encode(tissue(5))
    (tmp_path / "b.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"b\.jpg.*truncated"):
        thumbnail(tmp_path / "b.jpg", 100)


def turned(picture, degrees):
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return cv2.warpAffine(picture, turn, (width, height), borderValue=(245, 242, 245))


def cropped(picture, share):
    height, width = picture.shape[:2]
    y, x = int(height * share), int(width * share)
    return picture[y : height - y, x : width - x]


def bordered(picture, share):
    y, x = (int(side * share) for side in picture.shape[:2])
    return cv2.copyMakeBorder(picture, y, y, x, x, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def moved(picture, share):
    by = int(share * picture.shape[1])
    onto = np.full_like(picture, 245)
    onto[by:, by:] = picture[: picture.shape[0] - by, : picture.shape[1] - by]
    return onto


def labelled(picture):
    return cv2.putText(picture.copy(), "BT10737_D2 HE 07", (10, 60), 0, 1.2, (0, 0, 0), 3)


NEW_SCANS = {
    "5 % cut off each side": lambda p: cropped(p, 0.05),
    "10 % cut off each side": lambda p: cropped(p, 0.10),
    "20 % cut off each side": lambda p: cropped(p, 0.20),
    "a border of 5 %": lambda p: bordered(p, 0.05),
    "a border of 10 %": lambda p: bordered(p, 0.10),
    "turned by 3 degrees": lambda p: turned(p, 3),
    "turned by 5 degrees": lambda p: turned(p, 5),
    "turned by 33 degrees": lambda p: turned(p, 33),
    "moved by 1 %": lambda p: moved(p, 0.01),
    "moved by 2 %": lambda p: moved(p, 0.02),
    "moved by 10 %": lambda p: moved(p, 0.10),
    "labelled in a corner": labelled,
    "a negative, cut": lambda p: cropped(255 - p, 0.07),
    "mirrored, cut and turned": lambda p: turned(cropped(p[:, ::-1], 0.05), 4),
    "mirrored negative, turned": lambda p: turned(255 - p[::-1], 5),
    "cut, and a poor JPEG": lambda p: imagecodecs.jpeg_decode(
        imagecodecs.jpeg_encode(np.ascontiguousarray(cropped(p, 0.07)), level=40)
    ),
    "cut and blurred": lambda p: cv2.GaussianBlur(cropped(p, 0.07), (0, 0), 1.2),
    "cut, darker and less contrast": lambda p: (255 * (cropped(p, 0.06) / 255.0) ** 1.6).astype(np.uint8),
}


@pytest.mark.parametrize("change", NEW_SCANS)
def test_another_scan_of_a_section_is_the_same_image(change):
    picture = tissue(1)
    scan = np.ascontiguousarray(NEW_SCANS[change](picture))
    assert shared_landmarks(find_landmarks(picture), find_landmarks(scan)) >= 2 * SAME_VIEW
    ((first, second, _),) = same_images({"a": describe_picture(picture), "b": describe_picture(scan)})
    assert (first, second) == ("a", "b")


def test_landmarks_of_different_pictures_do_not_lie_alike():
    marks = [find_landmarks(tissue(seed)) for seed in range(12)]
    alike = [shared_landmarks(a, b) for i, a in enumerate(marks) for b in marks[i + 1 :]]
    assert max(alike) < SAME_VIEW // 2 + 1
