"""Clusters of spots against a pathologist's labels, and neighbours in a method's latent space.

Domains follow Zeng et al. 2022 and Jia et al. 2023: k-means with as many clusters as the section has labels,
spots without a determined label left out. Purity and the neighbour test are those of He et al. 2020, the two
clusters those of Kumar & Chatterjee 2024.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from histobench.evaluation.metrics import LEAST_SPOTS, gene_moments
from histobench.imaging.grid import neighbour_pairs

NO_LABEL = ("", "undetermined")
# Starts of k-means; the best of them counts (Jia et al. 2023).
N_STARTS = 20


def determined(label: np.ndarray) -> np.ndarray:
    """Return which spots have a label that says something."""
    known: np.ndarray = ~np.isin(np.asarray(label, dtype=str), NO_LABEL)
    return known


def k_means(values: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Cluster spots by k-means on standardised columns.

    Parameters
    ----------
    values
        (spots, dimensions); constant columns say nothing and are left out.
    k
        Number of clusters.
    seed
        Seed of the starts.

    Returns
    -------
    numpy.ndarray
        (spots,) cluster numbers, the largest cluster 0. All zero where nothing varies or there are fewer
        distinct spots than clusters.
    """
    from sklearn.cluster import KMeans

    values = np.asarray(values, dtype=np.float64)
    spread = values.std(axis=0)
    varying = spread > 1e-6 * np.abs(values).max(axis=0, initial=0.0)
    if len(values) <= k or not varying.any():
        return np.zeros(len(values), dtype=np.int64)
    standard = (values[:, varying] - values[:, varying].mean(axis=0)) / spread[varying]
    if len(np.unique(standard, axis=0)) < k:
        return np.zeros(len(values), dtype=np.int64)
    found = KMeans(k, n_init=N_STARTS, random_state=seed).fit(standard).labels_
    size = np.bincount(found, minlength=k)
    rank = np.empty(k, dtype=np.int64)
    rank[np.argsort(-size, kind="stable")] = np.arange(k)
    return rank[found]


def agreement(clusters: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Compute adjusted Rand index and normalised mutual information of two labelings of the same spots."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    return {
        "ari": float(adjusted_rand_score(label, clusters)),
        "nmi": float(normalized_mutual_info_score(label, clusters)),
    }


def purity(clusters: np.ndarray, label: np.ndarray) -> float:
    """Share of spots that bear the most frequent label of their cluster; NaN without spots."""
    _, cluster = np.unique(clusters, return_inverse=True)
    _, code = np.unique(label, return_inverse=True)
    if len(code) == 0:
        return np.nan
    table = np.zeros((cluster.max() + 1, code.max() + 1), dtype=np.int64)
    np.add.at(table, (cluster, code), 1)
    return float(table.max(axis=1).sum() / len(code))


def section_domains(
    truth: np.ndarray, prediction: np.ndarray, label: np.ndarray, seed: int
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Compare k-means domains of observation and prediction with the labels of a section.

    Parameters
    ----------
    truth, prediction
        (spots, genes).
    label
        (spots,) a pathologist's words; those of :data:`NO_LABEL` are left out.
    seed
        Seed of k-means.

    Returns
    -------
    scores : dict
        ``{ari,nmi}_{truth,prediction}``, ``n_domains`` and ``n_domain_spots``; empty with fewer than two
        labels.
    spots : dict
        ``domain_truth``, ``domain_prediction``: (spots,) cluster numbers, NaN for spots without a label.
    """
    known = determined(label)
    k = len(np.unique(np.asarray(label, dtype=str)[known]))
    spots = {f"domain_{side}": np.full(len(known), np.nan) for side in ("truth", "prediction")}
    if k < 2:
        return {}, spots
    scores = {"n_domains": float(k), "n_domain_spots": float(known.sum())}
    for side, values in (("truth", truth), ("prediction", prediction)):
        found = k_means(values[known], k, seed)
        spots[f"domain_{side}"][known] = found
        for name, value in agreement(found, np.asarray(label, dtype=str)[known]).items():
            scores[f"{name}_{side}"] = value
    return scores, spots


def two_clusters(
    values: Mapping[str, np.ndarray], tumour: np.ndarray, seed: int
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Split the labelled spots in two and ask how purely tumour and other tissue fall apart.

    Parameters
    ----------
    values
        Name -> (spots, dimensions), for instance predictions and an embedding.
    tumour
        (spots,) 1, 0 or NaN (unknown, left out).
    seed
        Seed of k-means.

    Returns
    -------
    scores : dict
        ``purity_{name}`` and ``purity_majority``, the purity of a single cluster; empty unless both classes
        are there.
    spots : dict
        ``cluster_{name}``: (spots,) 0 or 1, NaN for spots without a label.
    """
    known = np.isfinite(tumour)
    spots = {f"cluster_{name}": np.full(len(known), np.nan) for name in values}
    label = tumour[known].astype(int)
    if not 0 < label.sum() < len(label):
        return {}, spots
    scores = {"purity_majority": float(max(label.mean(), 1 - label.mean()))}
    for name, array in values.items():
        found = k_means(array[known], 2, seed)
        spots[f"cluster_{name}"][known] = found
        scores[f"purity_{name}"] = purity(found, label)
    return scores, spots


def latent_neighbours(
    truth: np.ndarray,
    embedding: np.ndarray,
    array_x: np.ndarray,
    array_y: np.ndarray,
    *,
    grid: str = "square",
    least_spots: int = LEAST_SPOTS,
) -> dict[str, np.ndarray]:
    """Predict every spot by that of its neighbours which is nearest, or farthest, in latent space.

    If the latent space holds what genes follow, the nearest neighbour predicts better (He et al. 2020).

    Parameters
    ----------
    truth
        (spots, genes) observed values.
    embedding
        (spots, dimensions).
    array_x, array_y
        Grid positions; spots with fewer than two neighbours are left out.
    grid
        Kind of grid: a spot has four neighbours at one pitch on a square or diamond one, six on a hexagonal.
    least_spots
        Least number of spots with two neighbours.

    Returns
    -------
    dict
        ``neighbour_nearest`` and ``neighbour_farthest``: Pearson correlation over spots, (genes,); empty
        where too few spots have two neighbours.
    """
    row, other = neighbour_pairs(grid, array_x, array_y)
    degree = np.bincount(row, minlength=len(truth))
    spot = np.flatnonzero(degree >= 2)
    if len(spot) < max(least_spots, 1):
        return {}
    around = np.full((len(truth), int(degree.max())), -1, dtype=np.int64)
    around[row, np.arange(len(row)) - np.repeat(np.cumsum(degree) - degree, degree)] = other
    around = around[spot]
    vectors = np.asarray(embedding, dtype=np.float64)
    distance = np.linalg.norm(vectors[around] - vectors[spot][:, None], axis=2)
    nearest = np.where(around >= 0, distance, np.inf).argmin(axis=1)
    farthest = np.where(around >= 0, distance, -np.inf).argmax(axis=1)
    rows = np.arange(len(spot))
    return {
        f"neighbour_{name}": gene_moments(truth[spot], truth[around[rows, which]], least_spots=least_spots)[
            "pearson"
        ]
        for name, which in (("nearest", nearest), ("farthest", farthest))
    }
