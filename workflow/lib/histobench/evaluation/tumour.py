"""Tumour against other tissue: predicted probabilities against labels."""

from __future__ import annotations

import numpy as np

N_BINS = 10


def tumour_metrics(tumour: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """Score tumour probabilities on the spots with a label.

    Returns accuracy at 0.5, AUROC, AUPRC, the Brier score, the number of labelled spots and the share of
    tumour among them; AUROC and AUPRC are NaN where only one class is present. Without any label nothing is
    returned.
    """
    known = np.isfinite(tumour)
    if not known.any():
        return {}
    from sklearn.metrics import average_precision_score, roc_auc_score

    label, score = tumour[known].astype(int), probability[known]
    both = 0 < label.sum() < len(label)
    return {
        "tumour_accuracy": float(np.mean((score >= 0.5) == (label == 1))),
        "tumour_auroc": float(roc_auc_score(label, score)) if both else np.nan,
        "tumour_auprc": float(average_precision_score(label, score)) if both else np.nan,
        "tumour_brier": float(np.mean((score - label) ** 2)),
        "tumour_n_labelled": float(len(label)),
        "tumour_prevalence": float(label.mean()),
    }


def curves(
    tumour: np.ndarray, probability: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """ROC, precision-recall and calibration curve of the spots with a label.

    Returns
    -------
    dict
        ``roc``: false and true positive rate; ``precision_recall``: recall and precision; both thinned to
        at most 201 points, with the threshold. ``calibration``: mean probability and share of tumour in ten
        equal bins of probability, with the number of spots. Empty unless both classes are present.
    """
    known = np.isfinite(tumour) & np.isfinite(probability)
    label, score = tumour[known].astype(int), np.asarray(probability, dtype=np.float64)[known]
    if not 0 < label.sum() < len(label):
        return {}
    from sklearn.metrics import precision_recall_curve, roc_curve

    false, true, limit = roc_curve(label, score)
    precision, recall, limit_pr = precision_recall_curve(label, score)
    limit_pr = np.append(limit_pr, np.nan)  # the last point has no threshold
    chosen, chosen_pr = _thinned(len(false)), _thinned(len(recall))
    which = np.minimum((score * N_BINS).astype(int), N_BINS - 1)
    number = np.bincount(which, minlength=N_BINS)
    filled = number > 0
    mean, share = (
        np.bincount(which, weights=values, minlength=N_BINS)[filled] / number[filled]
        for values in (score, label)
    )
    limit = np.where(np.isinf(limit), np.nan, limit)
    return {
        "roc": (false[chosen], true[chosen], limit[chosen]),
        "precision_recall": (recall[chosen_pr], precision[chosen_pr], limit_pr[chosen_pr]),
        "calibration": (mean, share, number[filled].astype(np.float64)),
    }


def _thinned(n: int, most: int = 201) -> np.ndarray:
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))
