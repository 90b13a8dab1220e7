"""Averages over neighbouring spots of the array grid."""

from __future__ import annotations

import numpy as np
from scipy import sparse

# Keys of grid cells are row * stride + column, so that all nine neighbours of a cell are key + constant.
_STRIDE = 1 << 20


def neighbour_average(array_x: np.ndarray, array_y: np.ndarray, *, centre: bool = True) -> sparse.csr_matrix:
    """Return the matrix that averages over the 3 x 3 block of grid positions around each spot.

    He et al. 2020 (Methods) smooth expression over this block, the centre included. Positions are rounded
    to the integer grid; neighbours that were not measured are left out of the mean.

    Parameters
    ----------
    array_x, array_y
        (spots,) grid coordinates of the spots of one section.
    centre
        Whether a spot is part of its own average.

    Returns
    -------
    scipy.sparse.csr_matrix
        float64, (spots, spots), rows sum to one; a row without any neighbour is empty.
    """
    x = np.rint(np.asarray(array_x, dtype=np.float64)).astype(np.int64)
    y = np.rint(np.asarray(array_y, dtype=np.float64)).astype(np.int64)
    n_spots = len(x)
    if n_spots == 0:
        return sparse.csr_matrix((0, 0))
    key = (y - y.min() + 1) * _STRIDE + (x - x.min() + 1)
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    rows, columns = [], []
    for step in (dy * _STRIDE + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
        # Several spots may round to one position: all of them count.
        first = np.searchsorted(ordered, key + step, side="left")
        number = np.searchsorted(ordered, key + step, side="right") - first
        row = np.repeat(np.arange(n_spots), number)
        within = np.arange(len(row)) - np.repeat(np.cumsum(number) - number, number)
        rows.append(row)
        columns.append(order[np.repeat(first, number) + within])
    row, column = np.concatenate(rows), np.concatenate(columns)
    if not centre:
        row, column = row[row != column], column[row != column]
    degree = np.bincount(row, minlength=n_spots)
    return sparse.csr_matrix((1.0 / degree[row], (row, column)), shape=(n_spots, n_spots))
