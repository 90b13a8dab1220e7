"""Tables of scores: leader board, genes, patients, sections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.evaluation.dependence import shared_binomial_p
from histobench.evaluation.gather import ScoredMethod
from histobench.evaluation.permutation_tables import against, envelope, null_envelope
from histobench.evaluation.results import SectionScores, aligned
from histobench.evaluation.statistics import ALPHA, bootstrap_interval, gene_means, gene_medians, mean_score
from histobench.results.catalogue import columns_of
from histobench.training.card import recorded_terms

if TYPE_CHECKING:
    import pandas as pd

LEADERBOARD_COLUMNS = columns_of("leaderboard")
GENE_COLUMNS = columns_of("genes")
_DETAILS = ("spearman", "pearson_smoothed", "pearson_partial_depth", "rmse", "mae", "auroc_quartiles")


def ceiling_like(ceiling: SectionScores, scores: SectionScores) -> np.ndarray:
    """Ceiling of each (section, gene) of a method; NaN where its score is undefined or nothing is known."""
    rows = list(zip(scores.patients, scores.sections, strict=True))
    own = list(zip(ceiling.patients, ceiling.sections, strict=True))
    known = aligned(ceiling["ceiling"], own, ceiling.genes, rows, scores.genes)
    return np.where(np.isnan(scores["pearson"]), np.nan, known)


def ceiling_fractions(ceiling: SectionScores, scores: SectionScores) -> np.ndarray:
    """Return r over the mean ceiling of the same sections and genes, (patients, genes).

    Where no ceiling is known (a gene with too few molecules to split), r does not count either; all are NaN
    where the mean ceiling is not above zero.
    """
    known = ceiling_like(ceiling, scores)
    limit = _score(scores, known)
    r = scores.per_patient(np.where(np.isnan(known), np.nan, scores["pearson"]))
    return np.asarray(r / (limit if limit > 0 else np.nan))


def neg_log10_p(r: np.ndarray, n_spots: np.ndarray) -> np.ndarray:
    """-log10 of the two-sided p of Pearson correlations over so many independent spots.

    Parameters
    ----------
    r
        (sections, genes).
    n_spots
        (sections,).

    Returns
    -------
    numpy.ndarray
        (sections, genes); NaN where r is not defined or there are fewer than three spots.
    """
    from scipy import special

    freedom = np.asarray(n_spots, dtype=np.float64)[:, None] - 2
    with np.errstate(divide="ignore", invalid="ignore"):
        # The two-sided p is the regularised incomplete beta function of 1 - r^2, here cut off at 2e-308.
        p = special.betainc(freedom / 2, 0.5, np.maximum(1 - r**2, 0.0))
        result = -np.log10(np.maximum(p, np.finfo(np.float64).tiny))
    return np.where((freedom > 0) & np.isfinite(r), result, np.nan)


def _score(scores: SectionScores, values: np.ndarray) -> float:
    """Average (sections, genes) over sections, patients, genes."""
    return mean_score(scores.per_patient(values))


def _mean(values: np.ndarray) -> float:
    known = np.isfinite(values)
    return float(values[known].mean()) if known.any() else np.nan


def leaderboard(
    methods: Sequence[ScoredMethod], ceiling: SectionScores, n_bootstrap: int, seed: int
) -> pd.DataFrame:
    """One row per method, best first.

    pearson is averaged over sections, patients and genes, with a percentile bootstrap interval over
    patients; pearson_pooled correlates over all spots of all sections and rewards telling sections apart,
    pearson_centred does so after each section's mean is taken away;
    ceiling_fraction divides pearson by the ceiling of the same sections and genes. n_positive counts genes
    whose mean r is positive; the consistent genes follow He et al. 2020 (pooled patients, 5 %).
    n_undefined counts gene-section pairs without a correlation: too few spots or a constant observation
    (left out) or a constant prediction (scored 0). train_seconds is the mean of one training,
    peak_memory_mb the largest. weights_terms is the licence of the published weights behind a method, and
    says which allow no commercial use. Of a null control that draws several permutations, pearson is of
    one per seed, null_low and null_high are the envelope of all, against_null says where a method lies
    beside it.
    """
    import pandas as pd

    null = null_envelope(methods)
    rows = [_leaderboard_row(method, ceiling, null, n_bootstrap, seed) for method in methods]
    whole = {"parameters": "Int64", "n_permutations": "Int64"}
    table = pd.DataFrame(rows, columns=list(LEADERBOARD_COLUMNS)).astype(whole)
    return table.sort_values(
        ["pearson", "method"], ascending=[False, True], na_position="last", ignore_index=True
    )


def _leaderboard_row(
    method: ScoredMethod, ceiling: SectionScores, null: tuple[float, float], n_bootstrap: int, seed: int
) -> dict[str, Any]:
    scores = method.scores
    pearson = mean_score(method.by_patient)
    low, high = bootstrap_interval(method.by_patient, n=n_bootstrap, seed=seed)
    means = gene_means(method.by_patient)
    seconds, memory = method.fact("train_seconds", "seconds"), method.fact("peak_memory_mb")
    parameters = method.fact("parameters")
    return {
        "method": method.name,
        "family": method.family,
        "pearson": pearson,
        "pearson_low": low,
        "pearson_high": high,
        "pearson_pooled": _mean(method.pooled),
        "ceiling_fraction": mean_score(ceiling_fractions(ceiling, scores)),
        **{name: _score(scores, scores[name]) for name in ("spearman", "rmse", "mae")},
        "n_genes": int(np.isfinite(means).sum()),
        "n_positive": int((means > 0).sum()),
        "n_consistent_holm": int((method.consistency.p_holm <= ALPHA).sum()),
        "n_consistent_bh": int((method.consistency.q_bh <= ALPHA).sum()),
        "n_undefined": method.count_undefined(),
        "train_seconds": _mean(seconds),
        "peak_memory_mb": float(memory.max()) if len(memory) else np.nan,
        "parameters": float(parameters.max()) if len(parameters) else np.nan,
        "n_folds": method.n_folds,
        "seeds": len(method.runs),
        "weights_terms": ", ".join(recorded_terms(method.facts)),
        "against_null": against(pearson, null),
        **dict(zip(("null_low", "null_high"), envelope(method.permutations), strict=True)),
        "n_permutations": len(method.permutations) or None,
        "pearson_centred": _mean(method.centred),
    }


def gene_table(method: ScoredMethod, ceiling: SectionScores) -> pd.DataFrame:
    """Scores of every gene.

    median_pearson and the test columns use the pooled sections of each patient (He et al. 2020);
    mean_pearson and the other metrics are averaged over sections and patients. pearson_pooled correlates
    over all spots. p_shared allows the binomial for what models of different patients share in training.
    neg_log10_p, by which Jia et al. 2023 rank genes, is the mean over sections of -log10 of the p of
    Pearson's r over spots; it takes spots as independent, which they are not, and is no test.
    """
    import pandas as pd

    scores, test = method.scores, method.consistency
    return pd.DataFrame(
        {
            "method": method.name,
            "gene": list(method.genes),
            "median_pearson": gene_medians(method.pooled_by_patient),
            "mean_pearson": gene_means(method.by_patient),
            "n_patients": test.n_patients,
            "n_positive": test.n_positive,
            "p_binomial": test.p,
            "p_holm": test.p_holm,
            "q_bh": test.q_bh,
            "p_shared": shared_binomial_p(test.n_positive, test.n_patients, method.shared),
            "neg_log10_p": method.genes_over_seeds(
                lambda run: gene_means(neg_log10_p(run["pearson"], run.n_spots))
            ),
            "ceiling": gene_means(scores.per_patient(ceiling_like(ceiling, scores))),
            "pearson_pooled": method.pooled,
            **{name: gene_means(scores.per_patient(scores[name])) for name in _DETAILS},
            "n_undefined": scores.undefined.sum(axis=0),
        }
    )


def patient_table(method: ScoredMethod, ceiling: SectionScores) -> pd.DataFrame:
    """Scores of every patient, averaged over its sections and then over genes."""
    import pandas as pd

    scores = method.scores
    own = np.array(scores.patients)

    def per_patient(values: np.ndarray) -> np.ndarray:
        return gene_means(scores.per_patient(values).T)

    return pd.DataFrame(
        {
            "method": method.name,
            "patient": list(method.patients),
            "pearson": gene_means(method.by_patient.T),
            "pearson_pooled": gene_means(method.pooled_by_patient.T),
            "ceiling": per_patient(ceiling_like(ceiling, scores)),
            **{name: per_patient(scores[name]) for name in _DETAILS},
            "n_sections": [int((own == patient).sum()) for patient in method.patients],
            "n_spots": [int(scores.n_spots[own == patient].sum()) for patient in method.patients],
            "n_genes": np.isfinite(method.by_patient).sum(axis=1),
        }
    )


def section_table(method: ScoredMethod, ceiling: SectionScores) -> pd.DataFrame:
    """Scores of every section, averaged over genes, and what could not be scored."""
    import pandas as pd

    scores = method.scores
    return pd.DataFrame(
        {
            "method": method.name,
            "patient": list(scores.patients),
            "section": list(scores.sections),
            "pearson": gene_means(scores["pearson"].T),
            "ceiling": gene_means(ceiling_like(ceiling, scores).T),
            **{name: gene_means(scores[name].T) for name in _DETAILS},
            "n_spots": scores.n_spots.astype(np.int64),
            "n_genes": np.isfinite(scores["pearson"]).sum(axis=1),
            "n_too_few_spots": scores.too_few_spots.sum(axis=1),
            "n_constant_truth": scores.constant_truth.sum(axis=1),
            "n_constant_prediction": scores.constant_prediction.sum(axis=1),
        }
    )
