"""Averages over neighbouring spots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from histobench.imaging.grid import neighbour_pairs

if TYPE_CHECKING:
    from scipy import sparse


def neighbour_average(
    array_x: np.ndarray, array_y: np.ndarray, *, centre: bool = True, grid: str = "square"
) -> sparse.csr_matrix:
    """Return the matrix that averages over the spots around each spot.

    On a square grid these are the 3 x 3 block of positions, over which He et al. 2020 (Methods) smooth
    expression, the centre included; on other grids what corresponds to it (:mod:`histobench.imaging.grid`),
    such as the six neighbours at one pitch on a hexagonal array. Neighbours that were not measured are left
    out of the mean.

    Parameters
    ----------
    array_x, array_y
        (spots,) grid coordinates of the spots of one section.
    centre
        Whether a spot is part of its own average.
    grid
        Kind of grid.

    Returns
    -------
    scipy.sparse.csr_matrix
        float64, (spots, spots), rows sum to one; a row without any neighbour is empty.
    """
    n_spots = len(array_x)
    row, column = neighbour_pairs(grid, array_x, array_y, block=True)
    if centre:
        itself = np.arange(n_spots)
        row, column = np.concatenate([row, itself]), np.concatenate([column, itself])
    degree = np.bincount(row, minlength=n_spots)
    from scipy import sparse  # a plan imports this module, and 20 MB more with it

    return sparse.csr_matrix((1.0 / degree[row], (row, column)), shape=(n_spots, n_spots))
