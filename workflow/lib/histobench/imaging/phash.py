"""Perceptual hash of an image: equal for copies of a picture, far apart for different ones.

The signs of the lowest frequencies of the discrete cosine transform (after Zauner 2010, "Implementation and
benchmarking of perceptual image hash functions"). Mirroring an image only flips the signs of its odd
frequencies and turning it also exchanges the axes, so one hash tells a copy in any orientation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from histobench.files import write_json
from histobench.imaging.thumbnail import thumbnail

__all__ = ["SAME_IMAGE_BITS", "hash_distance", "hash_image", "hash_pixels", "same_images", "write_hash"]

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
    """Return the hash of the picture in its eight orientations."""
    odd = np.arange(SIDE) % 2 == 1
    for turned in (bits, bits.T):
        for flip_x in (False, True):
            for flip_y in (False, True):
                signs = (odd & flip_x)[None, :] ^ (odd & flip_y)[:, None]
                yield turned ^ signs


def _bits(value: str) -> npt.NDArray[np.bool_]:
    packed = np.frombuffer(bytes.fromhex(value), np.uint8)
    return np.unpackbits(packed).astype(bool).reshape(SIDE, SIDE)


def hash_distance(one: str, other: str) -> int:
    """Return in how many of 255 bits two hashes differ, in the orientation in which they differ least."""
    a, b = _bits(one), _bits(other)
    differences = (a ^ turned for turned in _orientations(b))
    return min(int(np.count_nonzero(difference.ravel()[1:])) for difference in differences)


def same_images(hashes: Mapping[str, str]) -> list[tuple[str, str, int]]:
    """Return the pairs of names whose images are the same: (name, name, bits that differ).

    Parameters
    ----------
    hashes
        Hash by name; names with the hash "" are left out.
    """
    names = [name for name, value in hashes.items() if value]
    if len(names) < 2:
        return []
    bits = np.stack([_bits(hashes[name]).ravel()[1:] for name in names]).astype(np.int32)
    found = []
    for i, name in enumerate(names[:-1]):
        turned = np.stack([o.ravel()[1:] for o in _orientations(_bits(hashes[name]))]).astype(np.int32)
        rest = bits[i + 1 :]
        differ = turned.sum(1)[:, None] + rest.sum(1)[None, :] - 2 * turned @ rest.T
        for j, least in enumerate(differ.min(axis=0).tolist()):
            if least <= SAME_IMAGE_BITS:
                found.append((name, names[i + 1 + j], int(least)))
    return found


def write_hash(image: str | Path, output: str | Path, cohort: str, section: str) -> None:
    """Write the hash of a section's image as JSON: ``cohort``, ``section``, ``phash``."""
    write_json({"cohort": cohort, "section": section, "phash": hash_image(image)}, output)
