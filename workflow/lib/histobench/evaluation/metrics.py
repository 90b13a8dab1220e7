"""Agreement of predicted and observed expression, per gene over the spots of a section or a patient.

Everything is vectorised over genes. Definitions:

pearson
    Pearson correlation. A constant observation has no correlation (NaN: not measured); a constant
    prediction scores 0, because it says nothing about where a gene is expressed.
spearman
    Pearson correlation of mid-ranks.
pearson_smoothed
    The same with the observation averaged over a spot and its neighbours, the 3 x 3 block (raw counts
    averaged, then transformed; He et al. 2020, Methods).
pearson_partial_depth
    Partial correlation given the log of the spot's total count: what is left when sequencing depth is
    known. An observation that depth explains fully is NaN, a prediction that depth explains fully is 0.
rmse, mae
    On the scale of the target transform.
auroc_quartiles
    The top quarter of the spots by observed value against the bottom quarter, scored by the prediction
    (He et al. 2020). Quarters are taken by rank, ties in the order of the spots.
auroc_quartiles_strict
    The same, NaN for genes whose two quarters share a value, where the order of tied spots would decide.
mse_to_section_mean
    Mean squared error over that of the section's own mean, the variance: below 1 the prediction beats an
    oracle that knows the mean.
sd_ratio
    Standard deviation of the prediction over that of the observation: below 1 it is over-smoothed.
js_divergence
    Jensen-Shannon divergence, base 2, of the two distributions of a gene over the spots (Li et al. 2022):
    0 for equal shares, 1 for disjoint ones. Values below zero (of the observation: shifted to start at zero)
    have no share; a prediction without any share counts as uniform.
mean_truth, mean_prediction, sd_truth, sd_prediction
    Population moments (division by n). With n and r they are sufficient to pool correlations exactly.

A few spots tell nothing of a pattern: two give r = 1 or -1 for every gene. Below a least number of spots
everything but errors, means and standard deviations is undefined (NaN), see :data:`LEAST_SPOTS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from histobench.expression.correlation import LEAST_SPOTS, ROUNDING, Moments, correlation, ratio
from histobench.expression.transforms import log_depth

METRICS = (
    "pearson",
    "spearman",
    "pearson_smoothed",
    "pearson_partial_depth",
    "rmse",
    "mae",
    "auroc_quartiles",
    "auroc_quartiles_strict",
    "mse_to_section_mean",
    "sd_ratio",
    "js_divergence",
    "mean_truth",
    "mean_prediction",
    "sd_truth",
    "sd_prediction",
)

# With n, enough to pool correlations exactly.
MOMENTS = ("pearson", "mean_truth", "mean_prediction", "sd_truth", "sd_prediction")

# Metrics of METRICS that fewer spots leave undefined.
PATTERNS = (
    "pearson", "spearman", "pearson_smoothed", "pearson_partial_depth", "auroc_quartiles",
    "auroc_quartiles_strict", "mse_to_section_mean", "sd_ratio", "js_divergence",
)  # fmt: skip
# What takes the place of r in sections that have none, for pooling.
COVARIANCE = "covariance"

# Block of genes x spots that stays in a core's cache.
_BLOCK = 1 << 17


def gene_metrics(
    truth: np.ndarray,
    prediction: np.ndarray,
    *,
    total_counts: np.ndarray | None = None,
    smoothed_truth: np.ndarray | None = None,
    least_spots: int = LEAST_SPOTS,
    threads: int = 1,
) -> dict[str, np.ndarray]:
    """Compute all metrics of every gene.

    Parameters
    ----------
    truth, prediction
        (spots, genes), compared in single precision, the precision of stored predictions. A gene whose
        truth holds a NaN counts as not measured.
    total_counts
        (spots,) UMIs per spot; without it pearson_partial_depth is NaN.
    smoothed_truth
        (spots, genes) transformed averages over neighbours; without it pearson_smoothed is NaN.
    least_spots
        With fewer spots :data:`PATTERNS` are NaN.
    threads
        Threads that work on blocks of genes.

    Returns
    -------
    dict
        For each name of :data:`METRICS` a float64 array (genes,).

    Raises
    ------
    ValueError
        Shapes differ or a prediction is not finite.
    """
    truth, prediction = _as_matrix(truth), _as_matrix(prediction)
    smoothed = None if smoothed_truth is None else _as_matrix(smoothed_truth)
    if truth.shape != prediction.shape or (smoothed is not None and smoothed.shape != truth.shape):
        raise ValueError(f"truth {truth.shape} and prediction {prediction.shape} differ in shape")
    n_spots, n_genes = truth.shape
    if n_spots == 0:
        return {name: np.full(n_genes, np.nan) for name in METRICS}
    if total_counts is not None and not np.isfinite(total_counts).all():
        raise ValueError("total_counts must be finite: a depth that is not known explains nothing")
    depth = None if total_counts is None else _standardised(log_depth(total_counts))
    width = max(1, _BLOCK // n_spots)
    blocks = [slice(start, min(start + width, n_genes)) for start in range(0, n_genes, width)]

    def work(block: slice) -> dict[str, np.ndarray]:
        smooth = None if smoothed is None else np.ascontiguousarray(smoothed[:, block].T)
        return _block_metrics(
            np.ascontiguousarray(truth[:, block].T),
            np.ascontiguousarray(prediction[:, block].T),
            depth,
            smooth,
        )

    if threads > 1 and len(blocks) > 1:
        with ThreadPoolExecutor(threads) as pool:
            parts = list(pool.map(work, blocks))
    else:
        parts = [work(block) for block in blocks]
    found = {name: np.concatenate([part[name] for part in parts] or [np.empty(0)]) for name in METRICS}
    return found if n_spots >= least_spots else without_patterns(found)


def without_patterns(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Leave undefined what a few spots do not tell, :data:`PATTERNS`.

    Parameters
    ----------
    values
        Metric -> (genes,).
    """
    return {
        name: np.full_like(array, np.nan) if name in PATTERNS else array for name, array in values.items()
    }


def covariance(moments: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the population covariance that moments and r say, (genes,); 0 for a constant, NaN without truth.

    Where a section has too few spots for an r of its own, its spots still count in pooled correlations.
    """
    product = np.nan_to_num(moments["pearson"]) * moments["sd_truth"] * moments["sd_prediction"]
    return np.where(np.isfinite(moments["mean_truth"]), product, np.nan)


def gene_moments(
    truth: np.ndarray, prediction: np.ndarray, *, least_spots: int = LEAST_SPOTS
) -> dict[str, np.ndarray]:
    """Compute only :data:`MOMENTS` of every gene, arguments as for :func:`gene_metrics`."""
    truth, prediction = _as_matrix(truth), _as_matrix(prediction)
    if len(truth) == 0:
        return {name: np.full(truth.shape[1], np.nan) for name in MOMENTS}
    from histobench.evaluation.moments import centred_moments

    n_spots = len(truth)
    mean_x, mean_y, xx, yy, xy, low_x, high_x, low_y, high_y = centred_moments(truth, prediction)
    missing = ~np.isfinite(mean_x)
    constant = [
        ~(high - low > ROUNDING * np.maximum(np.abs(high), np.abs(low)))
        for low, high in ((low_x, high_x), (low_y, high_y))
    ]
    xx, yy = np.where(constant[0], 0.0, xx), np.where(constant[1], 0.0, yy)
    r = ratio(np.where(missing, 0.0, xy), np.sqrt(xx) * np.sqrt(yy))
    r[constant[0]] = np.nan
    result = {
        "pearson": r,
        "mean_truth": mean_x,
        "mean_prediction": mean_y,
        "sd_truth": np.sqrt(xx / n_spots),
        "sd_prediction": np.sqrt(yy / n_spots),
    }
    found = {name: np.where(missing, np.nan, values) for name, values in result.items()}
    return found if n_spots >= least_spots else without_patterns(found)


def _moment_metrics(observed: Moments, predicted: Moments, r: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "pearson": r,
        "mean_truth": observed.mean,
        "mean_prediction": predicted.mean,
        "sd_truth": observed.sd,
        "sd_prediction": predicted.sd,
    }


def _as_matrix(values: np.ndarray) -> np.ndarray:
    matrix = np.asarray(values, dtype=np.float32)
    if matrix.ndim != 2:
        raise ValueError(f"expected spots x genes, got shape {matrix.shape}")
    return matrix


def _standardised(values: np.ndarray) -> np.ndarray | None:
    """Centre and scale to unit length; None for a constant."""
    centred = values - values.mean()
    length = np.sqrt(centred @ centred)
    return centred / length if length > ROUNDING * np.abs(values).max() * np.sqrt(len(values)) else None


def _partial(truth: Moments, prediction: Moments, r: np.ndarray, depth: np.ndarray | None) -> np.ndarray:
    """Partial correlation given depth; ``r`` is the plain one and ``depth`` has unit length."""
    if depth is None:
        return r.copy()
    n_spots = len(depth)
    along = [moments.centred @ depth for moments in (truth, prediction)]
    rest = [moments.square - a * a for moments, a in zip((truth, prediction), along, strict=True)]
    explained = [
        ~(left > np.maximum(n_spots * moments.floor**2, 1e-11 * moments.square))
        for moments, left in zip((truth, prediction), rest, strict=True)
    ]
    product = np.einsum("gn,gn->g", truth.centred, prediction.centred) - along[0] * along[1]
    length = np.sqrt(np.maximum(rest[0], 0.0)) * np.sqrt(np.maximum(rest[1], 0.0))
    partial = ratio(product, length)
    partial[explained[1]] = 0.0
    partial[explained[0] | np.isnan(r)] = np.nan
    return partial


def _of_varying(top: np.ndarray, bottom: np.ndarray, varies: np.ndarray) -> np.ndarray:
    """Quotient for genes that vary, NaN for the others."""
    return np.divide(top, bottom, out=np.full(len(top), np.nan), where=varies & (bottom > 0))


def _divergence(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence of the shares of spots, rows (genes, spots); NaN without observed share."""
    floor = np.minimum(truth.min(axis=1, keepdims=True), 0)
    y, f = (np.maximum(values - floor, 0).astype(np.float64) for values in (truth, prediction))
    sums = [values.sum(axis=1, keepdims=True) for values in (y, f)]
    f[sums[1][:, 0] <= 0] = 1.0
    sums[1][sums[1] <= 0] = truth.shape[1]
    y /= np.where(sums[0] > 0, sums[0], 1.0)
    f /= sums[1]
    divergence = _entropy((y + f) / 2) - (_entropy(y) + _entropy(f)) / 2
    return np.where(sums[0][:, 0] > 0, np.clip(divergence, 0.0, 1.0), np.nan)


def _entropy(shares: np.ndarray) -> np.ndarray:
    logs = np.log(np.maximum(shares, np.finfo(np.float64).tiny))  # faster than log2
    return -np.einsum("gn,gn->g", shares, logs) / np.log(2)


def _block_metrics(
    truth: np.ndarray, prediction: np.ndarray, depth: np.ndarray | None, smoothed: np.ndarray | None
) -> dict[str, np.ndarray]:
    """All metrics of a block of genes, arrays (genes, spots)."""
    from histobench.evaluation.onepass import rank_metrics

    if not np.isfinite(prediction).all():
        raise ValueError("a prediction is not finite")
    missing = ~np.isfinite(truth).all(axis=1)
    if missing.any():
        truth = np.where(missing[:, None], np.float32(0), truth)
    observed, predicted = Moments(truth), Moments(prediction)
    r = correlation(observed, predicted)
    spearman, auroc, shared = rank_metrics(truth, prediction)
    spearman[predicted.constant] = 0.0
    difference = np.subtract(truth, prediction, dtype=np.float64)
    square = np.einsum("gn,gn->g", difference, difference)
    varies = ~observed.constant
    result = {
        "spearman": np.where(observed.constant, np.nan, spearman),
        "pearson_smoothed": np.full_like(r, np.nan)
        if smoothed is None
        else correlation(Moments(np.where(missing[:, None], np.float32(0), smoothed)), predicted),
        "pearson_partial_depth": _partial(observed, predicted, r, depth),
        "rmse": np.sqrt(square / truth.shape[1]),
        "mae": np.abs(difference, out=difference).mean(axis=1),
        "auroc_quartiles": np.where(observed.constant, np.nan, auroc),
        "auroc_quartiles_strict": np.where(observed.constant | shared, np.nan, auroc),
        "mse_to_section_mean": _of_varying(square, observed.square, varies),
        "sd_ratio": _of_varying(predicted.sd, observed.sd, varies),
        "js_divergence": np.where(varies, _divergence(truth, prediction), np.nan),
        **_moment_metrics(observed, predicted, r),
    }
    for values in result.values():
        values[missing] = np.nan
    return result
