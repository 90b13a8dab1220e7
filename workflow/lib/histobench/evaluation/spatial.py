"""Agreement of spatial patterns on the spot grid, per gene within one section.

ssim
    Structural similarity (Wang et al. 2004) of the maps of prediction and observation: the mean over spots
    of the index in a window around each spot. The window is a square of 7 x 7 pitches: on a square grid the
    block of 7 x 7 positions, on a hexagonal array the nine rows and thirteen half columns whose spots lie
    less than 3.5 pitches away either way (58 or 59 spots, as many as lie on 7 x 7 pitches), on a diamond one
    nine by eleven (49 or 50); on an irregular section the spots within 3.5 spacings either way, at most the
    128 nearest. Nothing is interpolated: positions without a spot are left out of a window's means and
    variances. The data range is that of the observed gene. NaN for a constant observation, and where spots
    fill so little of a grid that there is no map.
moran_truth, moran_prediction
    Moran's I of observation and prediction over the neighbours of each spot (eight on a square grid or a
    diamond one, six on a hexagonal array, those within 1.5 spacings on an irregular section), rows of the
    weights summing to one. NaN for a constant observation; 0 for a constant prediction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import numpy as np

from histobench.evaluation.metrics import LEAST_SPOTS
from histobench.expression.smoothing import neighbour_average
from histobench.imaging.grid import cells, grid_named, places, spacing, within

if TYPE_CHECKING:
    from scipy import sparse

SPATIAL_METRICS = ("ssim", "moran_truth", "moran_prediction")
WINDOW = 7  # pitches
_C1, _C2 = 0.01**2, 0.03**2  # Wang et al. 2004
# A grid with fewer than one spot in so many positions has no map.
_EMPTIEST = 50
_ROUNDING = 1e-6
_BLOCK = 1 << 18
# Spots of an irregular section that a window holds at most; about 42 are usual.
_MOST_IN_WINDOW = 128


def spatial_metrics(
    truth: np.ndarray,
    prediction: np.ndarray,
    array_x: np.ndarray,
    array_y: np.ndarray,
    *,
    grid: str = "square",
    least_spots: int = LEAST_SPOTS,
    threads: int = 1,
) -> dict[str, np.ndarray]:
    """Compute the spatial metrics of every gene of one section.

    Parameters
    ----------
    truth, prediction
        (spots, genes). A gene whose truth holds a NaN counts as not measured.
    array_x, array_y
        (spots,) grid coordinates; those of arrays are rounded to positions that the array has.
    grid
        Kind of grid, see :mod:`histobench.imaging.grid`.
    least_spots
        With fewer spots all are NaN.
    threads
        Threads that work on blocks of genes.

    Returns
    -------
    dict
        For each name of :data:`SPATIAL_METRICS` a float64 array (genes,).
    """
    n_spots, n_genes = truth.shape
    if n_spots < max(least_spots, 1):
        return {name: np.full(n_genes, np.nan) for name in SPATIAL_METRICS}
    regular = grid_named(grid).regular
    box: _Neighbourhood = _Box(array_x, array_y, grid) if regular else _Square(array_x, array_y)
    weights = neighbour_average(array_x, array_y, centre=False, grid=grid).astype(np.float32)
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


class _Neighbourhood(Protocol):
    """Means over a window around each spot."""

    size: int
    usable: bool

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Average float32 (spots, genes) over the window of each spot."""
        ...


class _Box:
    """Means over a block of positions of an array around each spot, over the spots that are there."""

    def __init__(self, array_x: np.ndarray, array_y: np.ndarray, grid: str) -> None:
        step_x, step_y = grid_named(grid).steps
        # an odd number of positions, the outermost less than half a window away
        self.width = tuple(2 * math.ceil(WINDOW / 2 / step) - 1 for step in (step_y, step_x))
        x, y = cells(grid, array_x, array_y).T
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
        from histobench.evaluation.onepass import sum_along_rows

        n_genes = values.shape[1]
        cells = np.zeros((self.size, n_genes), np.float32)
        if self.single:
            cells[self.cell] = values
        else:
            np.add.at(cells, self.cell, values)
        height, width = self.width
        sum_along_rows(cells.reshape(*self.shape, n_genes), width)
        sum_along_rows(cells.reshape(1, self.shape[0], self.shape[1] * n_genes), height)
        total: np.ndarray = cells[self.cell]
        return total


class _Square:
    """Means over the spots of an irregular section in a square around each spot."""

    usable = True

    def __init__(self, array_x: np.ndarray, array_y: np.ndarray) -> None:
        points = places("irregular", array_x, array_y)
        n = self.size = len(points)
        reach = WINDOW / 2 * spacing(points)
        spot, other = within(points, reach, most=_MOST_IN_WINDOW, p=math.inf)
        share = (1.0 / np.bincount(spot, minlength=n)[spot]).astype(np.float32)
        from scipy import sparse  # a plan imports this module, and 20 MB more with it

        self.weights = sparse.csr_matrix((share, (spot, other)), shape=(n, n))

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Average float32 (spots, genes) over the square around each spot."""
        means: np.ndarray = self.weights @ values
        return means


def _block_metrics(
    truth: np.ndarray, prediction: np.ndarray, box: _Neighbourhood, weights: sparse.csr_matrix
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
