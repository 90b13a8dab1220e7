"""Which genes tell tumour from other tissue: a forest is asked what it used."""

from __future__ import annotations

import numpy as np

# A forest per section; its importances are averaged over sections and patients.
N_TREES = 50


def importances(values: np.ndarray, tumour: np.ndarray, seed: int) -> np.ndarray:
    """Ask a random forest that tells tumour spots of a section which genes it used (Chen et al. 2024).

    Parameters
    ----------
    values
        (spots, genes), observed or predicted.
    tumour
        (spots,) 1, 0 or NaN (left out).
    seed
        Seed of the forest.

    Returns
    -------
    numpy.ndarray
        (genes,) mean decrease of impurity, summing to 1; NaN unless both classes are present, and for genes
        that are not measured (NaN).
    """
    known = np.isfinite(tumour)
    label = tumour[known].astype(int)
    if not 0 < label.sum() < len(label):
        return np.full(values.shape[1], np.nan)
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(N_TREES, random_state=seed, n_jobs=1)
    measured = np.isfinite(values).all(axis=0)
    found = np.full(values.shape[1], np.nan)
    if measured.any():
        used = np.asarray(values, np.float32)[known][:, measured]
        found[measured] = forest.fit(used, label).feature_importances_
    return found
