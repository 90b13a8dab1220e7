"""Typical and atypical spots of a kind of tissue in a latent space (He et al. 2020)."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

NEIGHBOURS = 10


def other_kind_share(vectors: np.ndarray, tumour: np.ndarray) -> np.ndarray:
    """Return which share of a spot's ten nearest labelled neighbours is of the other kind.

    Neighbours are those in latent space.

    Parameters
    ----------
    vectors
        (spots, dimensions).
    tumour
        (spots,): 1 tumour, 0 normal, NaN unknown.

    Returns
    -------
    numpy.ndarray
        (spots,), NaN for spots without a label, and for all where there is only one kind.
    """
    share = np.full(len(vectors), np.nan)
    labelled = np.flatnonzero(np.isfinite(tumour))
    if len(np.unique(tumour[labelled])) < 2:
        return share
    k = min(NEIGHBOURS, len(labelled) - 1)
    near = cKDTree(vectors[labelled]).query(vectors[labelled], k=k + 1)[1]
    kind = tumour[labelled]
    # of spots in one place the spot itself need not be the first
    own = near == np.arange(len(labelled))[:, None]
    other = (kind[near] != kind[:, None]) & ~own
    share[labelled] = other[:, : k + 1].sum(axis=1) / k
    return share


def ranked_by_kind(vectors: np.ndarray, tumour: np.ndarray) -> dict[str, np.ndarray]:
    """Return the spots of each kind, the most typical first: "tumour", "normal".

    Typical is a spot whose neighbours are of its kind, among equal ones that nearest to the centre of its
    kind. Empty where one of the two kinds is missing.
    """
    share = other_kind_share(vectors, tumour)
    if not np.isfinite(share).any():
        return {}
    ranked = {}
    for name, code in (("tumour", 1), ("normal", 0)):
        places = np.flatnonzero(tumour == code)
        distance = np.linalg.norm(vectors[places] - vectors[places].mean(axis=0), axis=1)
        ranked[name] = places[np.lexsort((distance, share[places]))]
    return ranked
