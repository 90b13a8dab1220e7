"""Where on its array a section was sequenced deeply: a map that knows no name of a spot or gene.

Two sections are compared by laying their maps over each other in every way that an array can lie: shifted,
mirrored, with columns and rows exchanged. Which genes were kept, how they and the spots are called, and how
deep the libraries were read changes the map little.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft, sparse

__all__ = ["DepthMap", "depth_map", "likeness"]

_LARGEST = 256  # cells a side; finer arrays are averaged over squares
_LEAST_SPOTS = 20
_LEAST_SHARE = 0.5  # of the spots of the smaller section must lie on the other one

Map = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DepthMap:
    """Logarithm of the total count (rows x columns, the mean is 0) and where there are spots (0 or 1)."""

    depth: Map
    measured: Map


def depth_map(array_x: npt.ArrayLike, array_y: npt.ArrayLike, counts: sparse.spmatrix) -> DepthMap:
    """Return the map of a section.

    Parameters
    ----------
    array_x, array_y
        (spots,) place on the array; of an irregular section in pitches.
    counts
        (spots, genes) counts.
    """
    depth = np.log1p(np.asarray(counts.sum(axis=1), dtype=np.float64).ravel())
    place = np.column_stack([np.asarray(array_y, np.float64), np.asarray(array_x, np.float64)])
    if not len(place):
        return DepthMap(np.zeros((1, 1)), np.zeros((1, 1)))
    cells = np.rint(place - place.min(axis=0)).astype(np.int64)
    cells //= 1 + int(cells.max()) // _LARGEST
    shape = tuple(cells.max(axis=0) + 1)
    number, total = np.zeros(shape), np.zeros(shape)
    np.add.at(number, tuple(cells.T), 1.0)
    np.add.at(total, tuple(cells.T), depth - depth.mean())
    return DepthMap(total / np.maximum(number, 1.0), (number > 0).astype(np.float64))


def _orientations(values: DepthMap) -> Iterator[DepthMap]:
    for swapped in (values, DepthMap(values.depth.T, values.measured.T)):
        for rows in (1, -1):
            for columns in (1, -1):
                yield DepthMap(swapped.depth[::rows, ::columns], swapped.measured[::rows, ::columns])


def likeness(one: DepthMap, other: DepthMap) -> tuple[float, int]:
    """Return the largest correlation of two maps over all ways to lay them over each other.

    Only ways in which at least half of the smaller section, and 20 spots, lie on the other section count.

    Returns
    -------
    tuple
        The correlation over the common spots (NaN where no way counts), and the number of these spots.
    """
    least = max(_LEAST_SPOTS, _LEAST_SHARE * min(one.measured.sum(), other.measured.sum()))
    side = max(other.depth.shape)
    shape = [fft.next_fast_len(rows + side - 1) for rows in one.depth.shape]

    def spectrum(values: Map) -> npt.NDArray[np.complex128]:
        return fft.rfft2(values, shape)

    mine = {
        "n": spectrum(one.measured),
        "x": spectrum(one.depth),
        "xx": spectrum(one.depth * one.depth),
    }
    best, spots = -np.inf, 0
    for turned in _orientations(other):
        n_, y_, yy_ = (
            spectrum(values[::-1, ::-1])
            for values in (turned.measured, turned.depth, turned.depth * turned.depth)
        )
        n = np.rint(fft.irfft2(mine["n"] * n_, shape))
        counts = n >= least
        if not counts.any():
            continue
        n = n[counts]
        x, y, xx, yy, xy = (
            fft.irfft2(product, shape)[counts]
            for product in (
                mine["x"] * n_,
                mine["n"] * y_,
                mine["xx"] * n_,
                mine["n"] * yy_,
                mine["x"] * y_,
            )
        )
        spread = (xx - x * x / n) * (yy - y * y / n)
        # a constant map correlates with nothing; below the precision of the transform it is constant
        valid = spread > 1e-9 * n * n
        correlation = np.where(valid, (xy - x * y / n) / np.sqrt(np.where(valid, spread, 1.0)), -np.inf)
        at = int(np.argmax(correlation))
        if correlation[at] > best:
            best, spots = float(correlation[at]), int(n[at])
    return (best, spots) if np.isfinite(best) else (float("nan"), 0)
