"""Agreement of spatial patterns on the spot grid, per gene within one section.

ssim
    Structural similarity (Wang et al. 2004) of the maps of prediction and observation: the mean over spots
    of the index in the 7 x 7 block of grid positions around each spot. Positions without a spot are left out
    of a block's means and variances. The data range is that of the observed gene. NaN for a constant
    observation, and where spots fill so little of a grid that there is no map.
moran_truth, moran_prediction
    Moran's I of observation and prediction over the eight neighbours on the grid, rows of the weights
    summing to one. NaN for a constant observation; 0 for a constant prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import sparse

from histobench.expression.smoothing import neighbour_average

SPATIAL_METRICS = ("ssim", "moran_truth", "moran_prediction")
WINDOW = 7
_C1, _C2 = 0.01**2, 0.03**2  # Wang et al. 2004
# A grid with fewer than one spot in so many positions has no map.
_EMPTIEST = 50
_ROUNDING = 1e-6
_BLOCK = 1 << 18


def spatial_metrics(
    truth: np.ndarray, prediction: np.ndarray, array_x: np.ndarray, array_y: np.ndarray, *, threads: int = 1
) -> dict[str, np.ndarray]:
    """Compute the spatial metrics of every gene of one section.

    Parameters
    ----------
    truth, prediction
        (spots, genes). A gene whose truth holds a NaN counts as not measured.
    array_x, array_y
        (spots,) grid coordinates, rounded to integers.
    threads
        Threads that work on blocks of genes.

    Returns
    -------
    dict
        For each name of :data:`SPATIAL_METRICS` a float64 array (genes,).
    """
    n_spots, n_genes = truth.shape
    if n_spots == 0:
        return {name: np.full(n_genes, np.nan) for name in SPATIAL_METRICS}
    box = _Box(array_x, array_y)
    weights = neighbour_average(array_x, array_y, centre=False).astype(np.float32)
    width = max(1, _BLOCK // max(n_spots, box.size))
    blocks = [slice(start, min(start + width, n_genes)) for start in range(0, n_genes, width)]

    def work(block: slice) -> dict[str, np.ndarray]:
        y, f = (np.ascontiguousarray(values[:, block], np.float32) for values in (truth, prediction))
        return _block_metrics(y, f, box, weights)

    if threads > 1 and len(blocks) > 1:
        with ThreadPoolExecutor(threads) as pool:
            parts = list(pool.map(work, blocks))
    else:
        parts = [work(block) for block in blocks]
    return {name: np.concatenate([part[name] for part in parts] or [np.empty(0)]) for name in SPATIAL_METRICS}


class _Box:
    """Means over the square block of grid positions around each spot, over the spots that are there."""

    def __init__(self, array_x: np.ndarray, array_y: np.ndarray) -> None:
        x, y = (np.rint(np.asarray(axis, dtype=np.float64)).astype(np.int64) for axis in (array_x, array_y))
        x, y = x - x.min(), y - y.min()
        self.shape = (int(y.max()) + 1, int(x.max()) + 1)
        self.size = self.shape[0] * self.shape[1]
        self.usable = self.size <= _EMPTIEST * len(x)
        self.size = self.size if self.usable else 1
        self.cell = y * self.shape[1] + x
        # Two spots at one position share a cell; all but the rarest sections have one spot in each.
        self.single = len(np.unique(self.cell)) == len(x)
        if self.usable:
            ones = np.ones((len(x), 1), np.float32)
            self.number = self._sum(ones)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Average float32 (spots, genes) over the block of each spot."""
        return self._sum(values) / self.number

    def _sum(self, values: np.ndarray) -> np.ndarray:
        from scipy.ndimage import uniform_filter1d

        n_genes = values.shape[1]
        cells = np.zeros((self.size, n_genes), np.float32)
        if self.single:
            cells[self.cell] = values
        else:
            np.add.at(cells, self.cell, values)
        grid: np.ndarray = cells.reshape(*self.shape, n_genes)
        for axis in (0, 1):
            grid = uniform_filter1d(grid, WINDOW, axis=axis, mode="constant")
        total: np.ndarray = grid.reshape(self.size, n_genes)[self.cell] * np.float32(WINDOW * WINDOW)
        return total


def _block_metrics(
    truth: np.ndarray, prediction: np.ndarray, box: _Box, weights: sparse.csr_matrix
) -> dict[str, np.ndarray]:
    """All spatial metrics of a block of genes, float32 arrays (spots, genes)."""
    missing = ~np.isfinite(truth).all(axis=0)
    truth = np.where(missing, np.float32(0), truth)
    low, high = truth.min(axis=0), truth.max(axis=0)
    scale = high - low
    constant = ~(scale > _ROUNDING * np.maximum(np.abs(low), np.abs(high)))
    flat = ~(np.ptp(prediction, axis=0) > _ROUNDING * np.abs(prediction).max(axis=0))
    prediction = np.where(flat, prediction[:1], prediction)
    undefined = missing | constant
    result = {
        "ssim": _ssim(truth, prediction, low, np.where(constant, 1, scale), box.mean)
        if box.usable
        else np.full(truth.shape[1], np.nan),
        "moran_truth": _moran(truth, weights),
        "moran_prediction": np.where(flat, 0.0, _moran(prediction, weights)),
    }
    return {name: np.where(undefined, np.nan, values) for name, values in result.items()}


def _ssim(
    truth: np.ndarray,
    prediction: np.ndarray,
    low: np.ndarray,
    scale: np.ndarray,
    mean: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Structural similarity of each gene with the observation's range as data range.

    The index is not invariant to a shift, so values keep their zero; dividing by the range first keeps
    single precision good enough.
    """
    y, f = truth / scale, prediction / scale
    centre = low / scale  # variances are computed around it, because large means would swamp them
    dy, df = y - centre, f - centre
    mean_y, mean_f = mean(dy), mean(df)
    square_y, square_f = mean(dy * dy) - mean_y**2, mean(df * df) - mean_f**2
    product = mean(dy * df) - mean_y * mean_f
    mean_y, mean_f = mean_y + centre, mean_f + centre
    index = (2 * mean_y * mean_f + _C1) * (2 * product + _C2)
    index /= (mean_y**2 + mean_f**2 + _C1) * (np.maximum(square_y, 0) + np.maximum(square_f, 0) + _C2)
    return index.mean(axis=0, dtype=np.float64)


def _moran(values: np.ndarray, weights: sparse.csr_matrix) -> np.ndarray:
    """Moran's I of each column; NaN without neighbours."""
    centred = values - values.mean(axis=0, dtype=np.float64).astype(np.float32)
    lag = weights @ centred
    top = np.einsum("ng,ng->g", centred, lag, dtype=np.float64)
    bottom = np.einsum("ng,ng->g", centred, centred, dtype=np.float64)
    linked = float(weights.sum())
    ratio = np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0)
    return ratio * len(values) / linked if linked else np.full(len(top), np.nan)
