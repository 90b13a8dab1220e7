"""Sums in one pass over the spots of many genes: ranks and quarters, and windows of a grid.

A chain of array operations takes several times as long. Compiled, so that it is imported where it is used:
plans and most jobs do without.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from histobench.expression.correlation import ratio

_POSITION = np.uint64(0xFFFFFFFF)
_SIGN = np.uint32(1 << 31)
_SHIFT = np.uint64(32)


@njit(cache=True, nogil=True)
def _keys(bits: npt.NDArray[np.uint32], keys: npt.NDArray[np.uint64]) -> None:
    """One number per spot: the float's bits, made monotonic, above the position that breaks ties."""
    for gene in range(bits.shape[0]):
        for spot in range(bits.shape[1]):
            value = bits[gene, spot]
            if value == _SIGN:  # -0.0 is 0.0
                value = np.uint32(0)
            value = value ^ np.uint32(0xFFFFFFFF) if value & _SIGN else value | _SIGN
            keys[gene, spot] = (np.uint64(value) << _SHIFT) | np.uint64(spot)


@njit(cache=True, nogil=True)
def _sums(
    observed: npt.NDArray[np.uint64],
    predicted: npt.NDArray[np.uint64],
    squares: npt.NDArray[np.float64],
    product: npt.NDArray[np.float64],
    above: npt.NDArray[np.float64],
) -> None:
    """Walk both sorted rows of every gene: sums over centred mid-ranks, pairs of quarters in order."""
    n_genes, n_spots = observed.shape
    middle, quarter = (n_spots - 1) / 2, n_spots // 4
    rank, side = np.empty(n_spots), np.empty(n_spots, np.int8)
    for gene in range(n_genes):
        first = 0
        while first < n_spots:
            last = first + 1
            while last < n_spots and observed[gene, last] >> _SHIFT == observed[gene, first] >> _SHIFT:
                last += 1
            middle_rank = (first + last - 1) / 2 - middle
            squares[0, gene] += middle_rank * middle_rank * (last - first)
            for place in range(first, last):
                spot = observed[gene, place] & _POSITION
                rank[spot] = middle_rank
                side[spot] = -1 if place < quarter else 1 if place >= n_spots - quarter else 0
            first = last
        first, lower = 0, 0  # lower: spots of the bottom quarter with a smaller prediction
        while first < n_spots:
            last, low, high, ranks = first, 0, 0, 0.0
            while last < n_spots and predicted[gene, last] >> _SHIFT == predicted[gene, first] >> _SHIFT:
                spot = predicted[gene, last] & _POSITION
                ranks += rank[spot]
                low += side[spot] == -1
                high += side[spot] == 1
                last += 1
            middle_rank = (first + last - 1) / 2 - middle
            squares[1, gene] += middle_rank * middle_rank * (last - first)
            product[gene] += middle_rank * ranks
            above[gene] += high * (lower + low / 2)
            lower += low
            first = last


def rank_metrics(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare the order of the spots by prediction with that by observation.

    Parameters
    ----------
    truth, prediction
        float32 (genes, spots), contiguous and without NaN.

    Returns
    -------
    spearman
        (genes,) correlation of mid-ranks, 0 where either is constant.
    auroc
        (genes,) of the top quarter of the spots by observed value against the bottom quarter, scored by the
        prediction; ties of the observation in the order of the spots, those of the prediction count half.
        NaN with fewer than four spots.
    shared
        (genes,) whether the two quarters share a value, so that the order of tied spots decides.
    """
    n_genes, n_spots = truth.shape
    keys = np.empty((2, n_genes, n_spots), np.uint64)
    for values, row in zip((truth, prediction), keys, strict=True):
        _keys(values.view(np.uint32), row)
        row.sort(axis=1)
    squares, product, above = np.zeros((2, n_genes)), np.zeros(n_genes), np.zeros(n_genes)
    _sums(keys[0], keys[1], squares, product, above)
    spearman = ratio(product, np.sqrt(squares[0]) * np.sqrt(squares[1]))
    quarter = n_spots // 4
    if quarter == 0:
        return spearman, np.full(n_genes, np.nan), np.ones(n_genes, dtype=bool)
    value = keys[0] >> _SHIFT
    return spearman, above / quarter**2, value[:, quarter - 1] == value[:, n_spots - quarter]


@njit(cache=True, nogil=True)
def sum_along_rows(cells: npt.NDArray[np.float32], width: int) -> None:
    """Replace (rows, cells, genes) by the sum over ``width`` cells around each, an odd number.

    A running sum in double precision as SciPy's ``uniform_filter1d`` keeps it, but of all genes of a cell
    at once: SciPy filters one gene after the other, and gathering its values takes most of the time.
    """
    n_rows, n_cells, n_genes = cells.shape
    reach = width // 2
    before = np.empty((width, n_genes), np.float32)  # what the sums have overwritten already
    for row in range(n_rows):
        total = np.zeros(n_genes)
        for cell in range(n_cells + reach):
            if cell < n_cells:
                total += cells[row, cell]
            if cell >= width:
                total -= before[cell % width]
            if cell < n_cells:
                before[cell % width] = cells[row, cell]
            if cell >= reach:
                cells[row, cell - reach] = total
