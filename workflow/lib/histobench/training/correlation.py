"""Pearson correlations while training, for choosing epochs and for histories."""

from __future__ import annotations

import numpy as np


def pearson(predicted: np.ndarray, observed: np.ndarray, axis: int) -> np.ndarray:
    """Return Pearson's r along an axis: 0 per gene over spots, 1 per spot over genes.

    A constant observation has none (NaN); a constant prediction scores 0.
    """
    a = np.asarray(predicted, np.float64)
    b = np.asarray(observed, np.float64)
    a, b = a - a.mean(axis=axis, keepdims=True), b - b.mean(axis=axis, keepdims=True)
    aa, bb, ab = (a * a).sum(axis=axis), (b * b).sum(axis=axis), (a * b).sum(axis=axis)
    tiny = np.finfo(np.float32).tiny
    r = np.where(aa > tiny, ab / np.sqrt(np.maximum(aa * bb, tiny)), 0.0)
    return np.where(bb > tiny, np.clip(r, -1.0, 1.0), np.nan)


def mean_gene_pearson(predicted: np.ndarray, observed: np.ndarray, groups: np.ndarray) -> float:
    """Return the mean over groups and genes of r over the spots of a group; 0 where nothing is measured."""
    found = [pearson(predicted[groups == name], observed[groups == name], 0) for name in np.unique(groups)]
    values = np.concatenate(found) if found else np.zeros(0)
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else 0.0
