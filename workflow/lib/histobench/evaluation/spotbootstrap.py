"""How far a section's correlations depend on which spots were sampled.

Spots are no replicates of patients: these intervals say how exactly a correlation is known within one
section, never whether a method works on another patient.
"""

from __future__ import annotations

import numpy as np

# Sums held at a time, five for each gene and resample: few large products are faster than many small ones.
_SUMS = 2_000_000


def spot_bootstrap(truth: np.ndarray, prediction: np.ndarray, *, n: int = 1000, seed: int = 0) -> np.ndarray:
    """Pearson r of every gene in ``n`` resamples of the spots.

    A resample is known by how often it holds each spot, so all sums of all genes in all resamples are one
    matrix product of those numbers with x, y, x^2, y^2 and xy.

    Parameters
    ----------
    truth, prediction
        (spots, genes).
    n
        Number of resamples, each of as many spots, drawn with replacement.
    seed
        Of the draws.

    Returns
    -------
    numpy.ndarray
        float64, (n, genes). A gene whose observation is constant in a resample has no r there (NaN); a
        constant prediction scores 0.

    Raises
    ------
    ValueError
        Shapes differ, or there is no spot.
    """
    if truth.shape != prediction.shape or truth.ndim != 2 or not len(truth):
        raise ValueError(f"expected spots x genes twice, got {truth.shape} and {prediction.shape}")
    n_spots, n_genes = truth.shape
    # standardised first: the sums then lose no digits to a mean, and single precision is enough for them
    x, y = _standardised(truth), _standardised(prediction)
    products = np.empty((n_spots, 5 * n_genes), np.float32)
    for place, values in enumerate((x, y, x * x, y * y, x * y)):
        products[:, place * n_genes : (place + 1) * n_genes] = values
    rng = np.random.default_rng(seed)
    found = np.empty((n, n_genes))
    block = max(1, _SUMS // (5 * n_genes))
    for first in range(0, n, block):
        weights = _resamples(rng, min(block, n - first), n_spots)
        sums = (weights @ products).reshape(len(weights), 5, n_genes) / float(n_spots)
        mx, my, xx, yy, xy = np.moveaxis(sums.astype(np.float64), 1, 0)
        vx, vy = xx - mx * mx, yy - my * my
        # what single precision leaves of the variance of a constant
        fixed = [variance <= 1e-6 for variance in (vx, vy)]
        spread = np.sqrt(np.where(fixed[0], 1.0, vx) * np.where(fixed[1], 1.0, vy))
        r = np.where(fixed[1], 0.0, np.clip((xy - mx * my) / spread, -1, 1))
        found[first : first + len(weights)] = np.where(fixed[0], np.nan, r)
    return found


def _resamples(rng: np.random.Generator, n: int, n_spots: int) -> np.ndarray:
    """Draw as many spots as there are, ``n`` times: how often each was drawn, float32, (n, spots)."""
    drawn = rng.integers(0, n_spots, (n, n_spots)) + np.arange(n)[:, None] * n_spots
    counts: np.ndarray = np.bincount(drawn.ravel(), minlength=n * n_spots).astype(np.float32)
    return counts.reshape(n, n_spots)


def _standardised(values: np.ndarray) -> np.ndarray:
    centred = np.asarray(values, np.float64)
    centred = centred - centred.mean(axis=0)
    sd = np.sqrt((centred * centred).mean(axis=0))
    return centred / np.where(sd > 0, sd, 1.0)
