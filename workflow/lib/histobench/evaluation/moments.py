"""Correlation and moments of very many genes: each number is read from memory once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

# Genes of a block: a row of it is read in one go, and the sums of all of them stay in a core's first cache.
_GENES = 256


@njit(cache=True, nogil=True)
def _block(
    truth: npt.NDArray[np.float32],
    prediction: npt.NDArray[np.float32],
    first: int,
    last: int,
    out: npt.NDArray[np.float64],
) -> None:
    n_spots, width = truth.shape[0], last - first
    mean_x, mean_y = np.zeros(width), np.zeros(width)
    low_x, high_x = np.full(width, np.inf, np.float32), np.full(width, -np.inf, np.float32)
    low_y, high_y = np.full(width, np.inf, np.float32), np.full(width, -np.inf, np.float32)
    for spot in range(n_spots):
        row_x, row_y = truth[spot, first:last], prediction[spot, first:last]
        for gene in range(width):
            x, y = row_x[gene], row_y[gene]
            mean_x[gene] += x
            mean_y[gene] += y
            low_x[gene] = x if x < low_x[gene] else low_x[gene]
            high_x[gene] = x if x > high_x[gene] else high_x[gene]
            low_y[gene] = y if y < low_y[gene] else low_y[gene]
            high_y[gene] = y if y > high_y[gene] else high_y[gene]
    mean_x /= n_spots
    mean_y /= n_spots
    xx, yy, xy = np.zeros(width), np.zeros(width), np.zeros(width)
    for spot in range(n_spots):
        row_x, row_y = truth[spot, first:last], prediction[spot, first:last]
        for gene in range(width):
            dx, dy = row_x[gene] - mean_x[gene], row_y[gene] - mean_y[gene]
            xx[gene] += dx * dx
            yy[gene] += dy * dy
            xy[gene] += dx * dy
    out[0, first:last], out[1, first:last] = mean_x, mean_y
    out[2, first:last], out[3, first:last], out[4, first:last] = xx, yy, xy
    out[5, first:last], out[6, first:last] = low_x, high_x
    out[7, first:last], out[8, first:last] = low_y, high_y


def centred_moments(
    truth: npt.NDArray[np.float32], prediction: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Return, for each gene, sums over spots in double precision.

    Parameters
    ----------
    truth, prediction
        float32, (spots, genes), at least one spot.

    Returns
    -------
    numpy.ndarray
        (9, genes): means of both, centred sums of squares of both, centred sum of products, and least and
        largest value of both, in the order truth, prediction. A gene with a NaN has a NaN mean.
    """
    n_genes = truth.shape[1]
    out = np.empty((9, n_genes))
    for first in range(0, n_genes, _GENES):
        _block(truth, prediction, first, min(first + _GENES, n_genes), out)
    return out
