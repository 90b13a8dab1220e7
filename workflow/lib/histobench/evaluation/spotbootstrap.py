"""How far a section's correlations depend on which spots were sampled.

Spots are no replicates of patients: these intervals say how exactly a correlation is known within one
section, never whether a method works on another patient.
"""

from __future__ import annotations

import numpy as np

# Resamples whose sums are held at a time.
_BLOCK = 250


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
    parts = [_standardised(values) for values in (truth, prediction)]
    x, y = parts
    products = np.concatenate([x, y, x * x, y * y, x * y], axis=1).astype(np.float32)
    rng = np.random.default_rng(seed)
    found = np.empty((n, n_genes))
    for first in range(0, n, _BLOCK):
        size = min(_BLOCK, n - first)
        weights = rng.multinomial(n_spots, np.full(n_spots, 1.0 / n_spots), size=size).astype(np.float32)
        sums = (weights @ products).astype(np.float64) / n_spots
        mx, my, xx, yy, xy = np.split(sums, 5, axis=1)
        vx, vy = xx - mx * mx, yy - my * my
        # what single precision leaves of the variance of a constant
        fixed = [variance <= 1e-6 for variance in (vx, vy)]
        spread = np.sqrt(np.where(fixed[0], 1.0, vx) * np.where(fixed[1], 1.0, vy))
        r = np.where(fixed[1], 0.0, np.clip((xy - mx * my) / spread, -1, 1))
        found[first : first + size] = np.where(fixed[0], np.nan, r)
    return found


def _standardised(values: np.ndarray) -> np.ndarray:
    centred = np.asarray(values, np.float64)
    centred = centred - centred.mean(axis=0)
    sd = np.sqrt((centred * centred).mean(axis=0))
    return centred / np.where(sd > 0, sd, 1.0)
