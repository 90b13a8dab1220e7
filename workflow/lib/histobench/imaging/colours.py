"""Images as colour histograms, and functions of colour as look-up tables.

A colour is one integer, ``red << 16 | green << 8 | blue``. A section of 90 million pixels has a few hundred
thousand distinct colours, so whatever depends on a pixel's colour alone is worked out once per colour.
The kernels are compiled on first use and cached beside this file (or in ``NUMBA_CACHE_DIR``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from numba import njit

COLOURS = 1 << 24

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

_KNOWN = np.uint32(1 << 24)  # bit that marks a filled entry of a look-up table


@njit(cache=True, nogil=True)
def _count(pixels: npt.NDArray[np.uint8], table: npt.NDArray[np.uint32] | npt.NDArray[np.uint64]) -> None:
    # Equal neighbours are counted together: a white background would otherwise wait, pixel after pixel,
    # for the store to one and the same counter.
    run = np.uint32(0)
    last = np.uint32(0)
    for i in range(pixels.shape[0]):
        colour = (
            (np.uint32(pixels[i, 0]) << np.uint32(16))
            | (np.uint32(pixels[i, 1]) << np.uint32(8))
            | np.uint32(pixels[i, 2])
        )
        if colour == last:
            run += np.uint32(1)
        else:
            table[last] += run
            last = colour
            run = np.uint32(1)
    table[last] += run


@njit(cache=True, nogil=True)
def _collect_unknown(
    pixels: npt.NDArray[np.uint8],
    table: npt.NDArray[np.uint32],
    known: np.uint32,
    found: npt.NDArray[np.uint32],
) -> int:
    # Colours without an entry, each once; they are marked at once and get their value afterwards.
    n = 0
    last = np.uint32(0xFFFFFFFF)
    for i in range(pixels.shape[0]):
        colour = (
            (np.uint32(pixels[i, 0]) << np.uint32(16))
            | (np.uint32(pixels[i, 1]) << np.uint32(8))
            | np.uint32(pixels[i, 2])
        )
        if colour != last:
            last = colour
            if table[colour] == 0:
                table[colour] = known
                found[n] = colour
                n += 1
    return n


@njit(cache=True, nogil=True)
def _look_up(
    pixels: npt.NDArray[np.uint8], table: npt.NDArray[np.uint32], out: npt.NDArray[np.uint8]
) -> None:
    for i in range(pixels.shape[0]):
        value = table[
            (np.uint32(pixels[i, 0]) << np.uint32(16))
            | (np.uint32(pixels[i, 1]) << np.uint32(8))
            | np.uint32(pixels[i, 2])
        ]
        out[i, 0] = (value >> np.uint32(16)) & np.uint32(255)
        out[i, 1] = (value >> np.uint32(8)) & np.uint32(255)
        out[i, 2] = value & np.uint32(255)


def _as_pixels(image: Image) -> Image:
    if image.dtype != np.uint8 or image.shape[-1] != 3:
        raise ValueError(f"expected RGB bytes, got an array of {image.shape} and {image.dtype}")
    return np.ascontiguousarray(image).reshape(-1, 3)


def unpack(colours: npt.NDArray[np.uint32]) -> Image:
    """Colour integers (n) to RGB bytes (n x 3)."""
    return np.stack([colours >> 16 & 255, colours >> 8 & 255, colours & 255], axis=-1).astype(np.uint8)


def pack(rgb: Image) -> npt.NDArray[np.uint32]:
    """RGB bytes (n x 3) to colour integers (n)."""
    wide = rgb.astype(np.uint32)
    return (wide[:, 0] << 16 | wide[:, 1] << 8 | wide[:, 2]).astype(np.uint32, copy=False)


class ColourHistogram:
    """Exact counts of the colours of an image of any size that is added piece by piece."""

    def __init__(self) -> None:
        # Half as large as it would have to be for every image, and in a processor's cache for longer.
        self._table: npt.NDArray[np.uint32] | npt.NDArray[np.uint64] = np.zeros(COLOURS, np.uint32)
        self._pixels = 0

    def add(self, image: Image) -> None:
        """Count the pixels of an array whose last axis is RGB."""
        pixels = _as_pixels(image)
        self._pixels += len(pixels)
        if self._pixels > np.iinfo(self._table.dtype).max:
            self._table = self._table.astype(np.uint64)
        _count(pixels, self._table)

    def distinct(self) -> tuple[Image, npt.NDArray[np.int64]]:
        """Return the colours that occur, in rising order, as RGB bytes (n x 3), and their counts (n)."""
        colours = np.flatnonzero(self._table).astype(np.uint32)
        return unpack(colours), self._table[colours].astype(np.int64)


class ColourMap:
    """A function from colour to colour, applied to images of any size and remembered per colour.

    Only the colours that occur are worked out, so mapping patches, bands or the whole image gives the same
    pixels at the same cost per pixel. The table takes at most 64 MiB.

    Parameters
    ----------
    function
        Maps RGB bytes (n x 3) to RGB bytes (n x 3), each row by itself.
    """

    _PIECE = 1 << 22  # pixels looked up at a time; bounds the list of new colours

    def __init__(self, function: Callable[[Image], Image]) -> None:
        self._function = function
        self._table = np.zeros(COLOURS, np.uint32)

    def __call__(self, image: Image, out: Image | None = None) -> Image:
        """Map an array of RGB bytes (any shape that ends in 3); ``out`` may be the image itself."""
        pixels = _as_pixels(image)
        if out is None:
            out = np.empty(image.shape, np.uint8)
        elif out.shape != image.shape or not out.flags.c_contiguous or out.dtype != np.uint8:
            raise ValueError("out must be a contiguous array of bytes with the shape of the image")
        flat = out.reshape(-1, 3)
        found = np.empty(min(len(pixels), self._PIECE), np.uint32)
        pieces = [slice(start, start + self._PIECE) for start in range(0, len(pixels), self._PIECE)]
        if len(pieces) == 1 or processors() == 1:
            for piece in pieces:
                self._learn(pixels[piece], found)
                _look_up(pixels[piece], self._table, flat[piece])
            return out
        # one thread learns new colours, another looks up those of the piece before, which are other entries
        with ThreadPoolExecutor(1) as pool:
            ready: Future[None] | None = None
            for piece in pieces:
                self._learn(pixels[piece], found)
                if ready is not None:
                    ready.result()
                ready = pool.submit(_look_up, pixels[piece], self._table, flat[piece])
            if ready is not None:
                ready.result()
        return out

    def _learn(self, piece: npt.NDArray[np.uint8], found: npt.NDArray[np.uint32]) -> None:
        """Work out the colours of some pixels that have no entry yet."""
        n = _collect_unknown(piece, self._table, _KNOWN, found)
        if n:
            new = found[:n]
            self._table[new] = pack(self._function(unpack(new))) | _KNOWN


def processors() -> int:
    """Threads that this process should use, as the scheduler or the user says."""
    return max(1, int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))))


def weighted_percentile(values: Floats, weights: npt.NDArray[np.int64], percent: float) -> float:
    """Percentile of the multiset that holds ``values[i]`` ``weights[i]`` times.

    Equal to the last bit to ``numpy.percentile(numpy.repeat(values, weights), percent)``, whose linear
    interpolation it follows.
    """
    order = np.argsort(values, kind="stable")
    upto = np.cumsum(weights[order])
    total = int(upto[-1])
    position = (total - 1) * np.true_divide(percent, 100)
    below = int(np.floor(position))
    at = np.searchsorted(upto, [below, min(below + 1, total - 1)], side="right")
    low, high = values[order[at]]
    fraction = position - below
    # numpy steps back from the nearer end, which keeps the interpolation monotonic.
    if fraction >= 0.5:
        return float(high - (high - low) * (1 - fraction))
    return float(low + (high - low) * fraction)
