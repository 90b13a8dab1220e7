"""Cross-validated scores are not independent: what models that share training patients do to tests.

Under leave-one-patient-out the models of two tested patients share all training patients but one, and each
patient trains the other's model. The scores of a gene without signal are then correlated by 1 / (n - 1)
between patients, so that a test which takes patients as independent (the binomial consistency test of He et
al. 2020, patient-wise sign flips) rejects too often. Here are that correlation and two tests that allow for
it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from histobench.evaluation.statistics import ALPHA, all_equal, binomial_p, gene_means

# Nodes of the Gauss-Hermite rule; 64 give four digits up to 100 patients.
_NODES = 64
NOTE = (
    "Patients' scores of a gene without signal correlate by {shared:.2g}, because their models share "
    "training patients. p_binomial and the sign-flip envelope take them as independent and reject too often; "
    "p_shared allows for the correlation."
)
INDEPENDENT = "No two tested patients train each other's model: p_binomial and p_shared agree."


def dependence_note(shared: float) -> str:
    """Say what the shared training patients do to the tests of a table."""
    return NOTE.format(shared=shared) if shared > 0 else INDEPENDENT


def shared_binomial_p(n_positive: np.ndarray, n_trials: np.ndarray | int, shared: float) -> np.ndarray:
    """One-sided probability of so many positive patients when their null scores are correlated.

    The scores of a gene without signal are taken as normal with correlation ``shared`` between any two
    patients: given their common part z, patients are positive independently with probability
    Phi(z sqrt(shared / (1 - shared))). The binomial tail is averaged over z (Gauss-Hermite).

    Parameters
    ----------
    n_positive, n_trials
        As in :func:`statistics.binomial_p`, which this equals for ``shared`` = 0.
    shared
        Correlation of two patients, see :func:`shared_training`. With 1 all patients agree.

    Returns
    -------
    numpy.ndarray
        p; NaN where there is no trial.
    """
    from scipy import stats

    positive = np.asarray(n_positive)
    trials = np.broadcast_to(np.asarray(n_trials), positive.shape)
    if shared <= 0:
        return binomial_p(positive, trials)
    if shared >= 1:
        p = np.where(positive > 0, 0.5, 1.0)
        return np.where(trials > 0, p, np.nan)
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    chance = stats.norm.cdf(nodes * math.sqrt(shared / (1.0 - shared)))
    pairs, place = np.unique(np.stack([positive.ravel(), trials.ravel()]), axis=1, return_inverse=True)
    tails = stats.binom.sf(pairs[0][:, None] - 1, pairs[1][:, None], chance)
    p = np.clip(tails @ (weights / weights.sum()), 0.0, 1.0)[place.ravel()].reshape(positive.shape)
    return np.where(trials > 0, p, np.nan)


def smallest_p_shared(n_patients: int, shared: float) -> float:
    """Smallest p of the consistency test when patients' scores are correlated: all patients positive."""
    return float(shared_binomial_p(np.array([n_patients]), n_patients, shared)[0]) if n_patients else 1.0


def patients_needed_shared(n_genes: int, alpha: float = ALPHA, most: int = 500) -> int | None:
    """Patients from which on Holm can reject under leave-one-patient-out; None: not with ``most``."""
    needed = (n for n in range(3, most) if n_genes * smallest_p_shared(n, 1 / (n - 1)) <= alpha)
    return next(needed, None)


def shared_training(training: Sequence[tuple[set[str], set[str]]]) -> float:
    """Mean correlation, without signal, between the scores of two tested patients in cross-validation.

    Patient p is scored by a model trained on T(p). For a learner that is linear in its targets with a
    symmetric kernel, the score of a gene without signal is a sum over q in T(p) of terms u_p . u_q. When p
    also trains the model of q, both scores contain u_p . u_q, which correlates them by
    1 / sqrt(|T(p)| |T(q)|): 1 / (n - 1) under leave-one-patient-out. Nadeau and Bengio (2003) correct the
    t-test for the same effect with a similar factor.

    Parameters
    ----------
    training
        One entry per fold: tested patients and training patients.

    Returns
    -------
    float
        Mean over all pairs of tested patients; 0 for fewer than two.
    """
    model = {patient: trained for tested, trained in training for patient in tested}
    shares = [
        1.0 / math.sqrt(len(model[p]) * len(model[q])) if q in model[p] and p in model[q] else 0.0
        for p, q in combinations(sorted(model), 2)
    ]
    return float(np.mean(shares)) if shares else 0.0


def gene_test(r: np.ndarray, *, shared: float = 0.0) -> np.ndarray:
    """One-sided t-test per gene that the mean score over patients is above zero.

    Parameters
    ----------
    r
        (patients, genes).
    shared
        Correlation between the scores of two patients without signal (:func:`shared_training`). The
        variance of their mean is s^2 (1/n + shared / (1 - shared)).

    Returns
    -------
    numpy.ndarray
        p, (genes,); NaN with fewer than two patients; 0.5 where ``shared`` leaves no information and 1
        where every score is the same and not positive.
    """
    from scipy import stats

    known = np.isfinite(r)
    n = known.sum(axis=0)
    mean = gene_means(r)
    squares = np.where(known, (r - mean) ** 2, 0.0).sum(axis=0)
    variance = np.divide(squares, n - 1, out=np.full(len(n), np.nan), where=n > 1)
    if shared >= 1:
        return np.where(n > 1, 0.5, np.nan)
    inflation = np.divide(1.0, n, out=np.full(len(n), np.nan), where=n > 0) + shared / (1.0 - shared)
    error = np.sqrt(variance * inflation)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = stats.t.sf(mean / error, np.maximum(n - 1, 1))
    p = np.where(all_equal(r), np.where(mean > 0, 0.0, 1.0), p)
    return np.where(n > 1, p, np.nan)
