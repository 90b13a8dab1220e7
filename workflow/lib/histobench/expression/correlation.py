"""Pearson's r of every gene of a section, as all tables count it."""

from __future__ import annotations

import numpy as np

# Over n independent spots, r of unrelated values has a standard deviation of 1 / sqrt(n - 1): 1 for two
# spots, 0.58 for four, and 1/3 for ten, where one gene in twenty still exceeds 0.63 by chance.
LEAST_SPOTS = 10
# A float32 column whose spread is within a few rounding errors of its magnitude is constant.
ROUNDING = 1e-6
# Where a prediction file has r of every permutation of a null control: ``varm``, (genes, permutations).
PERMUTED = "pearson_permuted"


class Moments:
    """Centred values (genes, spots) in double precision and what follows from them."""

    def __init__(self, values: np.ndarray) -> None:
        wide = values.astype(np.float64)
        self.mean = wide.mean(axis=1)
        highest, lowest = values.max(axis=1), values.min(axis=1)
        self.floor = ROUNDING * np.maximum(np.abs(highest), np.abs(lowest)).astype(np.float64)
        self.constant = ~(highest.astype(np.float64) - lowest > self.floor)
        wide -= self.mean[:, None]
        wide[self.constant] = 0.0
        self.centred = wide
        self.square = np.einsum("gn,gn->g", wide, wide)
        self.sd = np.sqrt(self.square / values.shape[1])


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide, 0 where there is nothing to divide by, and keep what rounding pushed beyond -1 or 1."""
    return np.clip(
        np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0), -1, 1
    )


def correlation(truth: Moments, prediction: Moments) -> np.ndarray:
    """Return Pearson's r of every gene: NaN where the truth is constant, 0 where only the prediction is."""
    product = np.einsum("gn,gn->g", truth.centred, prediction.centred)
    r = ratio(product, np.sqrt(truth.square) * np.sqrt(prediction.square))
    r[truth.constant] = np.nan
    return r


def gene_correlations(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return r of every gene over the spots of a section.

    Parameters
    ----------
    truth, prediction
        (spots, genes), compared in single precision.

    Returns
    -------
    numpy.ndarray
        (genes,), NaN where a gene is not measured, does not vary or is seen in fewer than
        :data:`LEAST_SPOTS` spots; 0 for a constant prediction.
    """
    if len(truth) < LEAST_SPOTS:
        return np.full(truth.shape[1], np.nan)
    sides = [np.ascontiguousarray(np.asarray(side, np.float32).T) for side in (truth, prediction)]
    measured = np.isfinite(sides[0]).all(axis=1)
    r = np.full(truth.shape[1], np.nan)
    r[measured] = correlation(*(Moments(side[measured]) for side in sides))
    return r
