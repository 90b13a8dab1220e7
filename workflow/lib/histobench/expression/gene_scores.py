"""What is known of a predicted gene in one section without keeping its predictions: n, moments and r.

From these rows, scores over sections and patients pool exactly (tables ``every_gene_scores`` of a run).
"""

from __future__ import annotations

import numpy as np

from histobench.expression.correlation import Moments, correlation

# A gene is of the panel that a method was asked for, or beside it.
TARGET, AUXILIARY = "target", "auxiliary"
NUMBERS = (
    "pearson", "rmse", "mean_truth", "mean_prediction", "sd_truth", "sd_prediction",
    "importance_truth", "importance_prediction",
)  # fmt: skip
COLUMNS = ("patient", "section", "gene", "kind", "n_spots", "n_labelled", *NUMBERS)
_BLOCK = 1024  # genes whose moments are computed at a time


def moments(truth: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Return r, root mean squared error, means and population standard deviations of every gene.

    Parameters
    ----------
    truth, predicted
        float32, (spots, genes) with one spot at least; a gene whose truth holds a NaN is not measured.

    Returns
    -------
    dict
        Name -> (genes,): ``pearson`` (NaN for a constant truth, 0 for a constant prediction), ``rmse``,
        ``mean_truth``, ``mean_prediction``, ``sd_truth``, ``sd_prediction``.
    """
    parts = []
    for first in range(0, truth.shape[1], _BLOCK):
        y, f = (
            np.ascontiguousarray(side[:, first : first + _BLOCK].T, np.float32) for side in (truth, predicted)
        )
        missing: np.ndarray = np.asarray(~np.isfinite(y).all(axis=1))
        y = np.where(missing[:, None], np.float32(0), y)
        observed, guessed = Moments(y), Moments(f)
        error = np.subtract(y, f, dtype=np.float64)
        part = {
            "pearson": correlation(observed, guessed),
            "rmse": np.sqrt(np.einsum("gn,gn->g", error, error) / y.shape[1]),
            "mean_truth": observed.mean,
            "mean_prediction": guessed.mean,
            "sd_truth": observed.sd,
            "sd_prediction": guessed.sd,
        }
        parts.append({name: np.where(missing, np.nan, values) for name, values in part.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
