"""The kinds of grid on which spots lie, and which spots are neighbours on them.

A stored section names its kind in ``uns["grid"]``, one of the names in :data:`GRIDS`, and in
``uns["pitch_um"]`` the distance of nearest neighbours. ``obs["array_x"]`` and ``obs["array_y"]`` are counted
in steps of the grid, so that a spot lies at (``array_x * step_x``, ``array_y * step_y``) pitches:

square
    Steps of one pitch (legacy Spatial Transcriptomics, bins of Visium HD). Four neighbours share an edge, the
    block of 3 x 3 has eight.
hexagonal
    Columns are counted in half pitches, rows lie sqrt(3)/2 of a pitch apart (Visium). Column and row are both
    even or both odd. Six neighbours lie at one pitch, and the next ones at 1.73: a block is these six.
diamond
    Rows are staggered as on a hexagonal array, but the steps are 100 and 110 µm (Spatial Transcriptomics
    arrays of 2,000 spots). It is nearly a square grid on its corner: the four nearest lie at (±1, ±1), 149 µm
    apart, and the corners of the 3 x 3 block at (±2, 0) and (0, ±2), 200 and 220 µm.
irregular
    There is no array (Slide-seq, segmented bins): ``array_x`` and ``array_y`` are the place of the spot in
    pitches. Neighbours lie within a radius that follows from the section itself, see :func:`spacing`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from histobench.errors import UserError

Offsets = tuple[tuple[int, int], ...]

_EDGES: Offsets = ((1, 0), (-1, 0), (0, 1), (0, -1))
_DIAGONALS: Offsets = ((-1, -1), (-1, 1), (1, -1), (1, 1))

# Reach of an irregular section's neighbours in spacings. As on a regular grid, 1.2 takes in what lies at one
# pitch and 1.5 also the corners of a square (1.41), but not the second ring of a hexagonal array (1.73).
_NEAREST_REACH, _BLOCK_REACH = 1.2, 1.5
# Where spots of an irregular section crowd, so many of the nearest count, which bounds the memory.
_MOST_NEIGHBOURS = 32
_CHUNK = 1 << 14


@dataclass(frozen=True)
class Grid:
    """One kind of grid.

    Attributes
    ----------
    name
        What ``uns["grid"]`` says.
    squared_steps, squared_pitch
        Squares of one step along array_x and array_y, and of the pitch, in a common unit. Whole numbers, so
        that distances that are equal compare equal.
    nearest
        Offsets in index steps (x, y) of the neighbours at one pitch; none for an irregular section.
    corners
        Offsets that the block of 3 x 3 has besides.
    staggered
        Whether array_x + array_y has the same parity at all spots.
    """

    name: str
    squared_steps: tuple[int, int]
    squared_pitch: int
    nearest: Offsets = ()
    corners: Offsets = ()
    staggered: bool = False

    @property
    def steps(self) -> tuple[float, float]:
        """One step of array_x and of array_y, in pitches."""
        x, y = self.squared_steps
        return math.sqrt(x / self.squared_pitch), math.sqrt(y / self.squared_pitch)

    @property
    def block(self) -> Offsets:
        """Offsets of the neighbours that stand for a block of 3 x 3."""
        return self.nearest + self.corners

    @property
    def regular(self) -> bool:
        """Whether spots lie on an array."""
        return bool(self.nearest)


GRIDS = {
    grid.name: grid
    for grid in (
        Grid("square", (1, 1), 1, _EDGES, _DIAGONALS),
        Grid("hexagonal", (1, 3), 4, ((2, 0), (-2, 0), *_DIAGONALS), staggered=True),
        # 100 and 110 µm; 221 = 100 + 121
        Grid("diamond", (100, 121), 221, _DIAGONALS, ((-2, 0), (2, 0), (0, -2), (0, 2)), staggered=True),
        Grid("irregular", (1, 1), 1),
    )
}


def grid_named(name: object, where: str = "") -> Grid:
    """Return the kind of grid of that name.

    Raises
    ------
    UserError
        There is no such kind; ``where`` says which section or file names it.
    """
    found = GRIDS.get(str(name))
    if found is None:
        raise UserError(
            f"{where + ': ' if where else ''}the grid is {str(name)!r}, expected one of {', '.join(GRIDS)}; "
            "correct it, or make the section again."
        )
    return found


def stored_grid(uns: Mapping[str, Any], array_x: npt.ArrayLike, array_y: npt.ArrayLike, where: str) -> str:
    """Return the name of the grid that a stored section or prediction names.

    Files of earlier versions name none. Spots whose positions have both parities lie on no staggered array,
    so that theirs is square.

    Raises
    ------
    UserError
        The name is unknown, or there is none and the grid may be a staggered one.
    """
    if "grid" in uns:
        return grid_named(uns["grid"], where).name
    parity = np.rint(np.asarray(array_x, np.float64)) + np.rint(np.asarray(array_y, np.float64))
    if len(parity) > 1 and len(np.unique(parity % 2)) == 1:
        raise UserError(
            f"{where}: the file does not say what kind of grid its spots lie on, and it may be a hexagonal "
            "one; it was written by an earlier version, so make it again."
        )
    return "square"


def places(grid: str, array_x: npt.ArrayLike, array_y: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return where spots lie, in pitches, (spots, 2)."""
    step_x, step_y = grid_named(grid).steps
    return np.column_stack(
        [np.asarray(array_x, np.float64) * step_x, np.asarray(array_y, np.float64) * step_y]
    )


def cells(grid: str, array_x: npt.ArrayLike, array_y: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the position of the array that each spot belongs to, (spots, 2).

    Adjusted positions are fractional and are rounded. On a staggered array a rounded position may be one that
    the array does not have; it is then the nearest that it has, in steps of the index. Positions given as
    whole numbers stay as they are.
    """
    given = np.column_stack([np.asarray(array_x, np.float64), np.asarray(array_y, np.float64)])
    rounded = np.rint(given)
    found = rounded.astype(np.int64)
    if not grid_named(grid).staggered or not len(found):
        return found
    odd = found.sum(axis=1) % 2
    rest = given - rounded
    wrong = np.flatnonzero((odd != (odd.mean() > 0.5)) & (np.abs(rest).max(axis=1) > 1e-6))
    axis = np.abs(rest[wrong]).argmax(axis=1)
    found[wrong, axis] += np.where(rest[wrong, axis] > 0, 1, -1)
    return found


def spacing(points: npt.NDArray[np.float64]) -> float:
    """Return the distance of neighbouring spots of an irregular section: that of the third nearest place.

    The median over spots is one pitch on a square, hexagonal or diamond grid, also where most spots lie at a
    border, and for places strewn at random 0.92 of the side of the square that each has to itself. Spots at
    one place count once. 0 if all are.

    Parameters
    ----------
    points
        (spots, 2), in any unit.
    """
    from scipy.spatial import cKDTree

    distinct = np.unique(points, axis=0)
    if len(distinct) < 2:
        return 0.0
    k = min(4, len(distinct))
    distance, _ = cKDTree(distinct).query(distinct, k=[k])
    return float(np.median(distance))


def neighbour_pairs(
    grid: str, array_x: npt.ArrayLike, array_y: npt.ArrayLike, *, block: bool = False
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return all pairs (spot, neighbour) of one section, in time and memory in proportion to its spots.

    Parameters
    ----------
    grid
        Name of the kind of grid.
    array_x, array_y
        (spots,) positions of one section, see the module's text; they may be fractional.
    block
        Take in the corners of the block of 3 x 3 where the grid has such (square and diamond), and on an
        irregular section what lies within 1.5 instead of 1.2 spacings.

    Returns
    -------
    spot, neighbour
        int64 numbers of spots, in the order of spots; their neighbours in that of the offsets, or the nearest
        first. A spot is not its own neighbour, but other spots at its place are.
    """
    kind = grid_named(grid)
    if kind.regular:
        cell = cells(grid, array_x, array_y)
        offsets = ((0, 0), *(kind.block if block else kind.nearest))
        spot, other = _pairs_at(cell, offsets)
    else:
        points = places(grid, array_x, array_y)
        reach = spacing(points) * (_BLOCK_REACH if block else _NEAREST_REACH)
        spot, other = within(points, reach, most=_MOST_NEIGHBOURS + 1)
    apart = spot != other
    spot, other = spot[apart], other[apart]
    order = np.argsort(spot, kind="stable")
    return spot[order], other[order]


def nearest_pairs(
    grid: str,
    array_x: npt.ArrayLike,
    array_y: npt.ArrayLike,
    k: int,
    *,
    reach: float | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return pairs (spot, one of its ``k`` nearest others), in the order of spots.

    Equally near spots are taken in the order of their x, then y position, then of spots, so that the pairs
    follow from positions alone. Distances of arrays are compared in whole numbers. Takes time and memory in
    proportion to spots times ``k``, unless many share a place.

    Parameters
    ----------
    grid, array_x, array_y
        As for :func:`neighbour_pairs`.
    k
        Others for each spot; fewer where the section has fewer spots.
    reach
        Largest distance in pitches, None for any; on an irregular section in its own :func:`spacing`.
    """
    from scipy.spatial import cKDTree

    kind = grid_named(grid)
    if kind.regular:
        at: npt.NDArray[Any] = cells(grid, array_x, array_y)
        weights, pitch = np.array(kind.squared_steps), float(kind.squared_pitch)
    else:
        at = places(grid, array_x, array_y)
        weights, pitch = np.array([1, 1]), spacing(at) ** 2
    n, k = len(at), min(k, len(at) - 1)
    if k < 1:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    rank = np.empty(n, dtype=np.int64)
    rank[np.lexsort((at[:, 1], at[:, 0]))] = np.arange(n)
    scaled = at * np.sqrt(weights)
    tree = cKDTree(scaled)
    spots, others = [], []
    for start in range(0, n, _CHUNK):
        chunk = scaled[start : start + _CHUNK]
        # all that lie as near as the k-th other spot: ties are broken by exact distances below
        far = tree.query(chunk, k=[k + 1])[0][:, 0] * (1 + 1e-9) + 1e-9
        found = tree.query_ball_point(chunk, far)
        number = np.fromiter(map(len, found), np.int64, len(found))
        spot = np.repeat(np.arange(start, start + len(chunk)), number)
        other = np.fromiter((i for row in found for i in row), np.int64, int(number.sum()))
        apart = spot != other
        spot, other = spot[apart], other[apart]
        squared = ((at[spot] - at[other]) ** 2 * weights).sum(axis=1)
        order = np.lexsort((rank[other], squared, spot))
        spot, other, squared = spot[order], other[order], squared[order]
        degree = np.bincount(spot - start, minlength=len(chunk))
        near = np.arange(len(spot)) - np.repeat(np.cumsum(degree) - degree, degree) < k
        if reach is not None:
            near &= squared <= reach * reach * pitch * (1 + 1e-12)
        spots.append(spot[near])
        others.append(other[near])
    return np.concatenate(spots), np.concatenate(others)


def within(
    points: npt.NDArray[np.float64], reach: float, *, most: int, p: float = 2.0
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return pairs (spot, other) that lie within ``reach`` of each other, each spot with itself among them.

    Parameters
    ----------
    points
        (spots, 2).
    reach
        Largest distance, in the unit of ``points``.
    most
        So many of the nearest count for each spot.
    p
        2 for a circle, infinity for a square.
    """
    from scipy.spatial import cKDTree

    n = len(points)
    spots, others = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    if n:
        tree, k = cKDTree(points), min(most, n)
        for start in range(0, n, _CHUNK):
            # the bound is exclusive; a little more than the reach takes in what lies exactly there
            _, found = tree.query(
                points[start : start + _CHUNK],
                k=np.arange(1, k + 1),
                p=p,
                distance_upper_bound=reach * (1 + 1e-9) + 1e-12,
            )
            row, place = np.nonzero(found < n)
            spots.append(row.astype(np.int64) + start)
            others.append(found[row, place].astype(np.int64))
    return np.concatenate(spots), np.concatenate(others)


def _pairs_at(
    cell: npt.NDArray[np.int64], offsets: Offsets
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return pairs of spots whose cells differ by one of the offsets, by binary search in sorted cells."""
    n = len(cell)
    if n == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    x, y = (cell - cell.min(axis=0)).T
    reach = max(abs(dx) for dx, _ in offsets)
    stride = int(x.max()) + 2 * reach + 1  # wider than any row, so that an offset never leads into the next
    key = y * stride + x + reach
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    spots, others = [], []
    for dx, dy in offsets:
        # Several spots may round to one position: all of them count.
        wanted = key + dy * stride + dx
        first = np.searchsorted(ordered, wanted, side="left")
        number = np.searchsorted(ordered, wanted, side="right") - first
        spot = np.repeat(np.arange(n), number)
        nth = np.arange(len(spot)) - np.repeat(np.cumsum(number) - number, number)
        spots.append(spot)
        others.append(order[np.repeat(first, number) + nth])
    return np.concatenate(spots), np.concatenate(others)
