"""Tests, intervals and power. The replicate is the patient throughout: never a spot, never a section.

Arrays of scores are (patients, genes); NaN marks a score that is not defined (constant observation).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

ALPHA = 0.05
N_BOOTSTRAP = 1000
# With at most this many patients all sign flips are enumerated instead of drawn.
_ENUMERATED = 12


def binomial_p(n_positive: np.ndarray, n_trials: np.ndarray | int) -> np.ndarray:
    """One-sided probability of at least ``n_positive`` successes at 1/2 (He et al. 2020).

    NaN where there is no trial.
    """
    from scipy import stats

    trials = np.broadcast_to(np.asarray(n_trials), np.shape(n_positive))
    p = stats.binom.sf(np.asarray(n_positive) - 1, trials, 0.5)
    return np.where(trials > 0, p, np.nan)


def adjust(p: np.ndarray, method: str) -> np.ndarray:
    """Correct for many tests; NaN entries are no tests and stay NaN.

    Parameters
    ----------
    method
        "holm" (family-wise, step-down; what He et al. 2020 print as FDR) or "fdr_bh" (Benjamini-Hochberg).
    """
    p = np.asarray(p, dtype=np.float64)
    known = np.isfinite(p)
    if ((p[known] < 0) | (p[known] > 1)).any():
        raise ValueError("p must lie between 0 and 1")
    adjusted = np.full(p.shape, np.nan)
    if known.any():
        adjusted[known] = {"holm": _holm, "fdr_bh": _benjamini_hochberg}[method](p[known])
    return adjusted


def _holm(p: np.ndarray) -> np.ndarray:
    """Holm (1979): the i-th smallest of m times m - i + 1, no smaller than those before it, at most 1.

    Not statsmodels' function, which collects garbage at every call: half the time of a table of results.
    """
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    return adjusted


def _benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    from scipy import stats

    adjusted: np.ndarray = stats.false_discovery_control(p, method="bh")
    return adjusted


@dataclass(frozen=True)
class Consistency:
    """Per gene: patients with a defined r, patients with r > 0, p, Holm-adjusted p and BH q."""

    n_patients: np.ndarray
    n_positive: np.ndarray
    p: np.ndarray
    p_holm: np.ndarray
    q_bh: np.ndarray


def consistency_from_counts(n_positive: np.ndarray, n_patients: np.ndarray | int) -> Consistency:
    """Test every gene's number of positive patients (He et al. 2020, Statistical analysis)."""
    positive = np.asarray(n_positive, dtype=np.int64)
    trials = np.broadcast_to(np.asarray(n_patients, dtype=np.int64), positive.shape)
    p = binomial_p(positive, trials)
    return Consistency(trials, positive, p, adjust(p, "holm"), adjust(p, "fdr_bh"))


def consistency(r: np.ndarray) -> Consistency:
    """Count patients with r > 0 among those in which r is defined, and test the counts.

    The test takes patients as independent. In cross-validation their models share training patients, which
    correlates the scores of a gene without signal; :mod:`histobench.evaluation.dependence` says how much,
    and what that does to p.
    """
    known = np.isfinite(r)
    return consistency_from_counts((known & (r > 0)).sum(axis=0), known.sum(axis=0))


def smallest_p(n_patients: int) -> float:
    """Smallest one-sided p of the consistency test, 2^-n."""
    return 0.5**n_patients


def patients_needed(n_genes: int, alpha: float = ALPHA) -> int:
    """Patients from which on Holm over ``n_genes`` can reject a gene that is positive in all of them."""
    if n_genes < 1:
        raise ValueError("a test needs at least one gene")
    return max(1, math.ceil(math.log2(n_genes / alpha) - 1e-12))


def genes_needed_bh(n_patients: int, n_genes: int, alpha: float = ALPHA) -> int | None:
    """Genes that must be positive in all patients before Benjamini-Hochberg rejects any; None: never."""
    needed = math.ceil(n_genes * smallest_p(n_patients) / alpha - 1e-12)
    return max(1, needed) if needed <= n_genes else None


def power_statement(n_patients: int, n_genes: int, alpha: float = ALPHA) -> str:
    """Say what the consistency test can show with so many patients and genes."""
    if not n_genes:
        return "No gene has a score, so that nothing can be tested."
    needed = patients_needed(n_genes, alpha)
    holm = (
        f"Holm over {n_genes} genes can reject"
        if n_patients >= needed
        else f"Holm over {n_genes} genes can never reject (it needs {needed} patients)"
    )
    genes = genes_needed_bh(n_patients, n_genes, alpha)
    bh = (
        "Benjamini-Hochberg can never reject"
        if genes is None
        else f"Benjamini-Hochberg rejects once {genes} gene{' is' if genes == 1 else 's are'} positive in all"
    )
    return f"With {n_patients} patients the smallest p is {smallest_p(n_patients):.2g}: {holm}; {bh}."


def wilson_interval(n_hits: int, n_trials: int, alpha: float = ALPHA) -> tuple[float, float]:
    """Wilson score interval of a proportion; (NaN, NaN) without trials."""
    from statsmodels.stats.proportion import proportion_confint

    if n_trials == 0:
        return np.nan, np.nan
    low, high = proportion_confint(n_hits, n_trials, alpha=alpha, method="wilson")
    return float(low), float(high)


def gene_means(r: np.ndarray) -> np.ndarray:
    """Mean over patients of each gene, over the patients in which it is defined; NaN where in none."""
    known = np.isfinite(r)
    number = known.sum(axis=0)
    total = np.where(known, r, 0.0).sum(axis=0)
    return np.divide(total, number, out=np.full(r.shape[1], np.nan), where=number > 0)


def all_equal(values: np.ndarray, scale: np.ndarray | None = None) -> np.ndarray:
    """Whether the finite values of each column are one number but for rounding: no test says what they are.

    Parameters
    ----------
    values
        (n, columns).
    scale
        (m, columns): what the values were computed from, which says how large their rounding is; None: they
        themselves.
    """
    known = np.isfinite(values)
    some = known.any(axis=0)
    high = np.where(known, values, -np.inf).max(axis=0, initial=-np.inf)
    low = np.where(known, values, np.inf).min(axis=0, initial=np.inf)
    size = np.abs(np.nan_to_num(values if scale is None else scale)).max(axis=0, initial=0.0)
    with np.errstate(invalid="ignore"):
        return np.asarray(~some | (high - low <= 1e-12 * size))


def gene_medians(r: np.ndarray) -> np.ndarray:
    """Median over the patients in which a gene's score is defined; NaN where in none."""
    result = np.full(r.shape[1], np.nan)
    some = np.isfinite(r).any(axis=0)
    result[some] = np.nanmedian(r[:, some], axis=0)
    return result


def mean_score(r: np.ndarray) -> float:
    """Average over patients, then over genes; NaN when nothing is defined."""
    means = gene_means(r)
    known = np.isfinite(means)
    return float(means[known].mean()) if known.any() else np.nan


def bootstrap_scores(r: np.ndarray, *, n: int = N_BOOTSTRAP, seed: int = 0) -> np.ndarray:
    """Score (mean over patients, then genes) of ``n`` resamples of the patients; (n,).

    One matrix of resampling counts times the scores replaces the loop over resamples.
    """
    n_patients = r.shape[0]
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n_patients, np.full(n_patients, 1.0 / n_patients), size=n).astype(np.float64)
    known = np.isfinite(r)
    number = weights @ known
    total = weights @ np.where(known, r, 0.0)
    means = np.divide(total, number, out=np.zeros_like(total), where=number > 0)
    genes = (number > 0).sum(axis=1)
    return np.divide(means.sum(axis=1), genes, out=np.full(n, np.nan), where=genes > 0)


def bootstrap_interval(
    r: np.ndarray, *, n: int = N_BOOTSTRAP, seed: int = 0, alpha: float = ALPHA
) -> tuple[float, float]:
    """Percentile interval of the score over patients; (NaN, NaN) for fewer than two patients."""
    if np.isfinite(r).any(axis=1).sum() < 2:
        return np.nan, np.nan
    scores = bootstrap_scores(r[np.isfinite(r).any(axis=1)], n=n, seed=seed)
    low, high = np.nanquantile(scores, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def compare_methods(
    scores: Mapping[str, np.ndarray], *, n: int = N_BOOTSTRAP, seed: int = 0, alpha: float = ALPHA
) -> pd.DataFrame:
    """Compare every pair of methods, paired over patients.

    Parameters
    ----------
    scores
        Method -> (patients, genes), the same patients and genes in the same order for all.

    Returns
    -------
    pandas.DataFrame
        method_a, method_b, n_patients, difference (a minus b, of the mean over patients then genes),
        difference_low, difference_high (bootstrap over patients), p_wilcoxon (signed-rank over the
        patients' mean differences, two-sided), p_holm (over the pairs), smallest_p (the smallest p that the
        patients who differ can give: the test drops the others).
    """
    import pandas as pd

    rows = []
    for a, b in combinations(scores, 2):
        difference = scores[a] - scores[b]
        patients = _row_means(difference)
        patients = patients[np.isfinite(patients)]
        low, high = bootstrap_interval(difference, n=n, seed=seed, alpha=alpha)
        rows.append(
            {
                "method_a": a,
                "method_b": b,
                "n_patients": len(patients),
                "difference": mean_score(difference),
                "difference_low": low,
                "difference_high": high,
                "p_wilcoxon": wilcoxon_p(patients),
                "smallest_p": min(1.0, 2.0 * smallest_p(int(np.count_nonzero(patients)))),
            }
        )
    columns = [
        "method_a", "method_b", "n_patients", "difference", "difference_low", "difference_high",
        "p_wilcoxon", "p_holm", "smallest_p",
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    table["p_holm"] = adjust(table["p_wilcoxon"].to_numpy(dtype=np.float64), "holm")
    return table


def _row_means(values: np.ndarray) -> np.ndarray:
    return gene_means(values.T)


def paired_test(pairs: np.ndarray, *, n: int = N_BOOTSTRAP, seed: int = 0) -> dict[str, float]:
    """Two-sided paired t-test over patients of a second value against a first.

    Parameters
    ----------
    pairs
        (patients, 2), finite.
    n, seed
        Of the bootstrap over patients.

    Returns
    -------
    dict
        ``n_patients``, the means ``first`` and ``second``, their ``difference`` (second - first) with its
        95 % percentile bootstrap (``difference_low``, ``difference_high``), ``t`` and ``p``; NaN for a test
        of one patient, or of differences that are all equal.
    """
    from scipy import stats

    difference = pairs[:, 1] - pairs[:, 0]
    low, high = bootstrap_interval(difference[:, None], n=n, seed=seed)
    t, p = np.nan, np.nan
    if len(pairs) > 1 and not all_equal(difference[:, None], pairs.reshape(-1, 1)):
        test = stats.ttest_rel(pairs[:, 1], pairs[:, 0])
        t, p = float(test.statistic), float(test.pvalue)
    return {
        "n_patients": len(pairs),
        "first": float(pairs[:, 0].mean()),
        "second": float(pairs[:, 1].mean()),
        "difference": float(difference.mean()),
        "difference_low": low,
        "difference_high": high,
        "t": t,
        "p": p,
    }


def wilcoxon_p(differences: np.ndarray) -> float:
    """Two-sided signed-rank p, exact for few patients; 1 where all differences are zero."""
    from scipy import stats

    if len(differences) == 0:
        return np.nan
    if not np.any(differences):
        return 1.0
    return float(stats.wilcoxon(differences, zero_method="wilcox").pvalue)


@dataclass(frozen=True)
class PositiveCurve:
    """Genes positive in at least k patients, k = 0 ... n, beside what chance gives.

    Attributes
    ----------
    k, observed
        Number of patients, and genes with r > 0 in at least so many.
    expected
        Expectation if every patient were a fair coin.
    low, high
        Pointwise envelope under patient-wise sign flips.
    p
        Share of sign flips with at least as many genes.
    """

    k: np.ndarray
    observed: np.ndarray
    expected: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray


def sign_flips(n_patients: int, *, n: int = N_BOOTSTRAP, seed: int = 0) -> np.ndarray:
    """Return sign vectors (flips, patients): all of them for few patients, else the identity and draws."""
    if n_patients <= _ENUMERATED:
        bits = (np.arange(2**n_patients)[:, None] >> np.arange(n_patients)) & 1
        return 1 - 2 * bits
    drawn = np.random.default_rng(seed).integers(0, 2, size=(n - 1, n_patients))
    return np.vstack([np.ones((1, n_patients), dtype=np.int64), 1 - 2 * drawn])


def positive_gene_curve(
    r: np.ndarray, *, n: int = N_BOOTSTRAP, seed: int = 0, alpha: float = ALPHA
) -> PositiveCurve:
    """Count genes by number of positive patients, with an envelope that keeps the dependence of genes.

    Without signal a patient's whole vector of correlations is as likely as its negative. Flipping it as a
    whole keeps genes as correlated as they are, which the binomial expectation ignores.
    """
    known = np.isfinite(r)
    positive, negative = (known & (r > 0)).astype(np.float32), (known & (r < 0)).astype(np.float32)
    n_patients = r.shape[0]
    k = np.arange(n_patients + 1)
    signs = sign_flips(n_patients, n=n, seed=seed)
    curves = np.empty((len(signs), n_patients + 1))
    for row, flip in enumerate((signs > 0).astype(np.float32)):
        counts = flip @ positive + (1 - flip) @ negative
        histogram = np.bincount(counts.astype(np.int64), minlength=n_patients + 1)
        curves[row] = histogram[::-1].cumsum()[::-1]
    observed = curves[0]  # the first flip is the identity
    trials = known.sum(axis=0)
    expected = np.array([np.nansum(_tail(step, trials)) for step in k])
    low, high = np.quantile(curves, [alpha / 2, 1 - alpha / 2], axis=0)
    return PositiveCurve(k, observed.astype(np.int64), expected, low, high, (curves >= observed).mean(axis=0))


def _tail(k: int, trials: np.ndarray) -> np.ndarray:
    """P(at least k of the trials), 1 for k = 0 whatever the trials."""
    return np.ones(len(trials)) if k == 0 else np.nan_to_num(binomial_p(np.full(len(trials), k), trials))
