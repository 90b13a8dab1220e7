"""Whether methods differ at all, and which: Friedman's test and critical differences of mean ranks.

After Demsar 2006. Blocks are patients. Rank 1 is the best method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from histobench.evaluation.statistics import ALPHA

# Permutations behind Friedman's p; its chi-squared approximation is poor for few patients.
N_PERMUTATIONS = 9999
_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Ranking:
    """Mean ranks of methods over patients.

    Attributes
    ----------
    mean_ranks
        (methods,), 1 is best; NaN without a complete patient.
    n_patients
        Patients in which every method has a score.
    chi2, p
        Friedman's statistic with correction for ties, and its permutation p.
    critical_difference
        Two methods whose mean ranks differ by more are different at 5 % over all pairs (Nemenyi).
    groups
        Runs of methods, best first, none of whose pairs differ: tuples of method indices.
    """

    mean_ranks: np.ndarray
    n_patients: int
    chi2: float
    p: float
    critical_difference: float
    groups: tuple[tuple[int, ...], ...]


def critical_difference(n_methods: int, n_patients: int, alpha: float = ALPHA) -> float:
    """Nemenyi's critical difference of mean ranks, from the studentised range with infinite freedom."""
    from scipy import stats

    if n_methods < 2 or n_patients < 1:
        return np.nan
    q = stats.studentized_range.ppf(1 - alpha, n_methods, np.inf) / np.sqrt(2.0)
    return float(q * np.sqrt(n_methods * (n_methods + 1) / (6.0 * n_patients)))


def friedman(ranks: np.ndarray) -> np.ndarray:
    """Friedman's chi-squared of ranks (..., patients, methods), corrected for ties; 0 where all are tied."""
    n_patients, n_methods = ranks.shape[-2:]
    spread = ((ranks - (n_methods + 1) / 2) ** 2).sum(axis=(-2, -1))
    between = n_patients * ((ranks.mean(axis=-2) - (n_methods + 1) / 2) ** 2).sum(axis=-1)
    ratio = np.divide(between, spread, out=np.zeros_like(np.asarray(between)), where=spread > 0)
    statistic: np.ndarray = n_patients * (n_methods - 1) * ratio
    return statistic


def rank_methods(scores: np.ndarray, *, seed: int = 0, alpha: float = ALPHA) -> Ranking:
    """Rank methods within each patient and test whether they differ.

    Parameters
    ----------
    scores
        (patients, methods), higher is better. Patients with a NaN are left out.
    seed
        Seed of the permutations: within each patient, methods are exchangeable if they do not differ.

    Returns
    -------
    Ranking
        With fewer than two methods or patients nothing is tested: p is NaN.
    """
    from scipy import stats

    complete = scores[np.isfinite(scores).all(axis=1)]
    n_patients, n_methods = complete.shape
    nothing = Ranking(np.full(n_methods, np.nan), n_patients, np.nan, np.nan, np.nan, ())
    if n_patients == 0 or n_methods == 0:
        return nothing
    ranks = stats.rankdata(-complete, axis=1)
    mean = ranks.mean(axis=0)
    if n_patients < 2 or n_methods < 2:
        return Ranking(mean, n_patients, np.nan, np.nan, np.nan, ())
    chi2 = float(friedman(ranks))
    rng = np.random.default_rng(seed)
    as_large, done = 1, 0  # the observed order counts as one permutation
    while done < N_PERMUTATIONS:
        step = min(N_PERMUTATIONS - done, max(1, _AT_ONCE // ranks.size))
        drawn = rng.permuted(np.broadcast_to(ranks, (step, *ranks.shape)), axis=2)
        as_large += int((friedman(drawn) >= chi2 - 1e-9).sum())
        done += step
    difference = critical_difference(n_methods, n_patients, alpha)
    return Ranking(
        mean, n_patients, chi2, as_large / (N_PERMUTATIONS + 1), difference, _groups(mean, difference)
    )


def _groups(mean_ranks: np.ndarray, difference: float) -> tuple[tuple[int, ...], ...]:
    """Longest runs of methods, in the order of their ranks, whose ends differ by no more than allowed."""
    order = np.argsort(mean_ranks, kind="stable")
    ordered = mean_ranks[order]
    groups: list[tuple[int, int]] = []
    for first in range(len(order)):
        last = int(np.flatnonzero(ordered <= ordered[first] + difference + 1e-12)[-1])
        if last > first and (not groups or last > groups[-1][1]):
            groups.append((first, last))
    return tuple(tuple(int(m) for m in order[first : last + 1]) for first, last in groups)
