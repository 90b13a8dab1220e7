"""Perceptual hash of an image: equal for copies of a picture, far apart for different ones.

The signs of the lowest frequencies of the discrete cosine transform (after Zauner 2010, "Implementation and
benchmarking of perceptual image hash functions"). Mirroring an image only flips the signs of its odd
frequencies and turning it also exchanges the axes, so one hash tells a copy in any orientation; exchanging
dark and light flips all signs.

The hash of a picture that was cut or placed anew is another one; for these, landmarks are stored beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from histobench.files import write_json
from histobench.imaging.landmarks import SAME_VIEW, Landmarks, find_landmarks, shared_landmarks
from histobench.imaging.thumbnail import thumbnail

__all__ = [
    "SAME_IMAGE_BITS",
    "describe_image",
    "describe_picture",
    "hash_distance",
    "hash_image",
    "hash_pixels",
    "same_images",
    "write_hash",
    "write_hashes",
]

SIDE = 16  # frequencies per axis: 255 signs, without that of the mean
_GRID = 64  # pixels per axis of the picture that is transformed

SAME_IMAGE_BITS = 40
"""Hashes that differ in at most so many of 255 bits are those of one image.

Images of unrelated sections differ in 127 bits on average, and in hardly less than 90 in the best of eight
orientations; neighbouring serial sections of one block have more in common, but not as much as this.
"""


def hash_pixels(picture: npt.NDArray[np.uint8]) -> str:
    """Hash RGB pixels (height x width x 3); "" for a picture without any contrast."""
    import cv2

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    small = cv2.resize(grey, (_GRID, _GRID), interpolation=cv2.INTER_AREA)
    if float(small.std()) < 0.5:
        return ""
    low = cv2.dct(small)[:SIDE, :SIDE]
    bits = low > 0
    bits[0, 0] = False  # brightness says nothing
    return np.packbits(bits).tobytes().hex()


def hash_image(path: str | Path) -> str:
    """Hash an image file; see :func:`hash_pixels`."""
    return hash_pixels(thumbnail(path, 8 * _GRID))


def _orientations(bits: npt.NDArray[np.bool_]) -> Iterator[npt.NDArray[np.bool_]]:
    """Return the hash of the picture in its eight orientations, and of its negative."""
    odd = np.arange(SIDE) % 2 == 1
    for turned in (bits, bits.T):
        for flip_x in (False, True):
            for flip_y in (False, True):
                signs = (odd & flip_x)[None, :] ^ (odd & flip_y)[:, None]
                yield turned ^ signs
                yield ~(turned ^ signs)


def _bits(value: str) -> npt.NDArray[np.bool_]:
    packed = np.frombuffer(bytes.fromhex(value), np.uint8)
    return np.unpackbits(packed).astype(bool).reshape(SIDE, SIDE)


def hash_distance(one: str, other: str) -> int:
    """Return in how many of 255 bits two hashes differ, in the orientation in which they differ least."""
    a, b = _bits(one), _bits(other)
    differences = (a ^ turned for turned in _orientations(b))
    return min(int(np.count_nonzero(difference.ravel()[1:])) for difference in differences)


def same_images(images: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Return the pairs of names whose images show the same section: (name, name, by what).

    Parameters
    ----------
    images
        By name what :func:`describe_image` says of it; images without contrast are left out.
    """
    names = [name for name, image in images.items() if image["phash"]]
    if len(names) < 2:
        return []
    bits = np.stack([_bits(images[name]["phash"]).ravel()[1:] for name in names]).astype(np.int32)
    marks = [Landmarks.from_json(images[name]["landmarks"]) for name in names]
    found = []
    for i, name in enumerate(names[:-1]):
        views = np.stack([o.ravel()[1:] for o in _orientations(_bits(images[name]["phash"]))]).astype(
            np.int32
        )
        rest = bits[i + 1 :]
        differ = views.sum(1)[:, None] + rest.sum(1)[None, :] - 2 * views @ rest.T
        for j, least in enumerate(differ.min(axis=0).tolist(), start=i + 1):
            if least <= SAME_IMAGE_BITS:
                found.append((name, names[j], f"{least} of {SIDE * SIDE - 1} bits differ"))
            elif (shared := shared_landmarks(marks[i], marks[j])) >= SAME_VIEW:
                found.append((name, names[j], f"{shared} landmarks lie alike"))
    return found


def describe_picture(picture: npt.NDArray[np.uint8]) -> dict[str, Any]:
    """Return what RGB pixels are recognised by: ``phash`` and ``landmarks``."""
    return {"phash": hash_pixels(picture), "landmarks": find_landmarks(picture).as_json()}


def describe_image(path: str | Path) -> dict[str, Any]:
    """Return what an image file is recognised by, see :func:`describe_picture`."""
    return describe_picture(thumbnail(path, 8 * _GRID))


def write_hashes(
    images: Sequence[str | Path], outputs: Sequence[str | Path], cohort: str, sections: Sequence[str]
) -> None:
    """Write what the images of several sections of a cohort are recognised by, each to a file."""
    for image, output, section in zip(images, outputs, sections, strict=True):
        write_hash(image, output, cohort, section)


def write_hash(image: str | Path, output: str | Path, cohort: str, section: str) -> None:
    """Write what a section's image is recognised by as JSON, with the names of its cohort and section."""
    write_json({"cohort": cohort, "section": section, **describe_image(image)}, output)
