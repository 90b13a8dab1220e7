"""Every metric of every method over patients: scores with intervals, ranks, and sources of variance.

Metrics per gene are averaged over sections, patients, genes; metrics of whole sections over sections and
patients.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from histobench.evaluation.gather import ScoredMethod
from histobench.evaluation.ranks import rank_methods
from histobench.evaluation.results import SectionScores, aligned, mean_of
from histobench.evaluation.score import POOLED
from histobench.evaluation.score_tables import ceiling_fractions
from histobench.evaluation.statistics import bootstrap_interval, gene_means, mean_score
from histobench.evaluation.tumour_tables import tumour_differences_by_seed
from histobench.evaluation.variance import nested_components
from histobench.results.catalogue import columns_of

if TYPE_CHECKING:
    import pandas as pd

METRIC_COLUMNS = columns_of("metrics")
RANK_COLUMNS = columns_of("ranks")
VARIANCE_COLUMNS = columns_of("variance")
# What is better: "higher", "lower", "one" (nearest to 1), or "" for what is to be read beside a control.
GENE_METRICS: Mapping[str, str] = {
    "pearson": "higher",
    "ceiling_fraction": "higher",
    "spearman": "higher",
    "pearson_smoothed": "higher",
    "pearson_partial_depth": "higher",
    "auroc_quartiles": "higher",
    "auroc_quartiles_strict": "higher",
    "rmse": "lower",
    "mse": "lower",
    "mae": "lower",
    "mse_to_section_mean": "lower",
    "mse_to_train_mean": "lower",
    "sd_ratio": "one",
    "ssim": "higher",
    "js_divergence": "lower",
    "moran_difference": "lower",
}
SCALAR_METRICS: Mapping[str, str] = {
    "moran_agreement": "higher",
    "pearson_per_spot": "",
    "tumour_difference_agreement": "higher",
    "tumour_accuracy": "higher",
    "tumour_auroc": "higher",
    "tumour_auprc": "higher",
    "tumour_brier": "lower",
    "ari_prediction": "higher",
    "nmi_prediction": "higher",
    "purity_prediction": "higher",
    "purity_embedding": "higher",
}
BETTER = {**GENE_METRICS, **SCALAR_METRICS}
# Scores over a patient's pooled sections where the patient is the unit of the published analysis.
_OF_PATIENTS = ("tumour_", "purity_embedding")
RANKED = (
    "pearson", "spearman", "pearson_smoothed", "pearson_partial_depth", "auroc_quartiles", "rmse", "mae",
    "ssim", "js_divergence", "moran_agreement",
)  # fmt: skip


def patient_scores(
    method: ScoredMethod, ceiling: SectionScores, baseline: ScoredMethod | None
) -> dict[str, np.ndarray]:
    """Return every metric of a method as (patients, genes), or (patients, 1) for whole sections.

    Parameters
    ----------
    method
        Scored method.
    ceiling
        Noise ceilings, for ``ceiling_fraction``: r over the mean ceiling of the same sections and genes.
    baseline
        The method ``train_mean``, whose error is the yardstick of ``mse_to_train_mean``; None without it.
    """
    scores = method.scores
    found = {name: scores.per_patient(scores[name]) for name in GENE_METRICS if name in scores.values}
    # what is no mean of stored numbers is found for each seed by itself: errors of averages are smaller
    found["mse"] = method.over_seeds(lambda run: run["rmse"] ** 2)
    found["ceiling_fraction"] = ceiling_fractions(ceiling, scores)
    found["moran_difference"] = method.over_seeds(
        lambda run: np.abs(run["moran_prediction"] - run["moran_truth"])
    )
    if baseline is not None:
        floor = baseline.scores
        found["mse_to_train_mean"] = method.over_seeds(lambda run: _to_train_mean(run, floor))
    found["moran_agreement"] = mean_of(
        [aligned(_moran_agreement(run), run.patient_names, [0], method.patients, [0]) for run in method.runs]
    )
    agreements = [agreement_over_genes(*sides) for sides in tumour_differences_by_seed(method)]
    nowhere = [np.full(len(method.patients), np.nan)]
    found["tumour_difference_agreement"] = mean_of(agreements or nowhere)[:, None]
    table = method.scalar_scores
    for name in SCALAR_METRICS:
        own = table[
            (table["metric"] == name) & ((table["section"] == POOLED) == name.startswith(_OF_PATIENTS))
        ]
        if len(own):
            values = own["value"].to_numpy(dtype=np.float64)
            found[name] = _patient_means(method.patients, own["patient"], values)
    return {name: found[name] for name in (*GENE_METRICS, *SCALAR_METRICS) if name in found}


def _patient_means(patients: Iterable[str], owners: Iterable[str], values: np.ndarray) -> np.ndarray:
    """Mean of the values of each patient, (patients, 1)."""
    own = np.array(list(owners), dtype=object)
    return np.array([gene_means(values[own == patient][:, None]) for patient in patients])


def _moran_agreement(run: SectionScores) -> np.ndarray:
    """Correlation over genes of Moran's I, mean over the sections of each patient of a run, (patients, 1)."""
    found = agreement_over_genes(run["moran_truth"], run["moran_prediction"])
    return _patient_means(run.patient_names, run.patients, found)


def _to_train_mean(scores: SectionScores, baseline: SectionScores) -> np.ndarray:
    """Squared error relative to that of the training mean, (sections, genes)."""
    rows = list(zip(scores.patients, scores.sections, strict=True))
    own = list(zip(baseline.patients, baseline.sections, strict=True))
    floor = aligned(baseline["rmse"], own, baseline.genes, rows, scores.genes)
    usable = (floor > 0) & np.isfinite(scores["pearson"])
    return np.divide(scores["rmse"], floor, out=np.full(floor.shape, np.nan), where=usable) ** 2


def agreement_over_genes(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Correlation over genes of each row: NaN for fewer than three genes, 0 for a constant prediction."""
    result = np.full(len(truth), np.nan)
    for row, (y, f) in enumerate(zip(truth, prediction, strict=True)):
        known = np.isfinite(y) & np.isfinite(f)
        if known.sum() >= 3 and np.ptp(y[known]) > 0:
            result[row] = np.corrcoef(y[known], f[known])[0, 1] if np.ptp(f[known]) > 0 else 0.0
    return result


def metric_table(
    methods: Sequence[ScoredMethod],
    values: Mapping[str, Mapping[str, np.ndarray]],
    log_base: float | None,
    n_bootstrap: int,
    seed: int,
) -> pd.DataFrame:
    """One row per method and metric, with a percentile bootstrap interval over patients.

    Parameters
    ----------
    methods
        Scored methods.
    values
        Method -> metric -> (patients, genes), see :func:`patient_scores`.
    log_base
        Base of the logarithm in which targets are; ``rmse_factor``, by which a prediction is off on average,
        is this base to the power of the RMSE, and missing without one.
    n_bootstrap, seed
        Resamples and their seed.
    """
    import pandas as pd

    rows: list[tuple[object, ...]] = []
    for method in methods:
        for metric, scores in values[method.name].items():
            value = mean_score(scores)
            low, high = bootstrap_interval(scores, n=n_bootstrap, seed=seed)
            better = BETTER[metric]
            known = np.isfinite(scores)
            about = (
                int(known.any(axis=1).sum()),
                int(known.any(axis=0).sum()) if metric in GENE_METRICS else 0,
            )
            if not about[0]:  # nowhere defined: no labels, no latent space, no ceiling
                continue
            rows.append((method.name, method.family, metric, better, value, low, high, *about))
            if metric == "rmse" and log_base is not None:
                with np.errstate(over="ignore"):  # a network that diverged is off by an infinite factor
                    factors = np.power(log_base, [value, low, high]).tolist()
                rows.append((method.name, method.family, "rmse_factor", better, *factors, *about))
    return pd.DataFrame(rows, columns=list(METRIC_COLUMNS))


def rank_table(
    methods: Sequence[ScoredMethod], values: Mapping[str, Mapping[str, np.ndarray]], seed: int
) -> pd.DataFrame:
    """Mean rank of every method over patients, per metric, with Friedman's test and critical difference.

    Oracles do not compete. A rank is over each patient's mean over genes; patients in which a method has
    none are left out. ``groups`` numbers the runs of methods that do not differ, best first: methods that
    share a number are not told apart.
    """
    import pandas as pd

    rows = []
    for metric in RANKED:
        competing = [m for m in methods if m.family != "oracle" and metric in values[m.name]]
        if len(competing) < 2:
            continue
        patients = sorted({patient for method in competing for patient in method.patients})
        scores = np.column_stack(
            [
                aligned(gene_means(values[m.name][metric].T)[:, None], m.patients, [0], patients, [0])
                for m in competing
            ]
        )
        sign = -1.0 if BETTER[metric] == "lower" else 1.0
        ranking = rank_methods(sign * scores, seed=seed)
        for place, method in enumerate(competing):
            groups = [str(n) for n, group in enumerate(ranking.groups, start=1) if place in group]
            rows.append(
                (
                    metric,
                    method.name,
                    ranking.mean_ranks[place],
                    ranking.n_patients,
                    len(competing),
                    ranking.chi2,
                    ranking.p,
                    ranking.critical_difference,
                    " ".join(groups),
                )
            )
    table = pd.DataFrame(rows, columns=list(RANK_COLUMNS))
    order = {metric: place for place, metric in enumerate(RANKED)}
    return table.sort_values(
        ["metric", "mean_rank"], key=lambda c: c.map(order) if c.name == "metric" else c, kind="stable",
        ignore_index=True,
    )  # fmt: skip


def variance_table(methods: Sequence[ScoredMethod]) -> pd.DataFrame:
    """Split the variance of each method's scores into patient, fold and seed.

    A score is the mean over genes of a patient's sections that one fold tests, with one seed. In a scheme
    that splits patients over folds (leave one section out), folds lie within patients, else patients within
    folds.
    """
    import pandas as pd

    rows = []
    for method in methods:
        scores = _unit_scores(method)
        if scores.empty:
            continue
        split = scores.groupby("patient")["fold"].nunique().max() > 1
        levels = ("patient", "fold") if split else ("fold", "patient")
        found = nested_components(
            scores["value"].to_numpy(), list(scores[levels[0]]), list(scores[levels[1]]), (*levels, "seed")
        )
        total = sum(np.nan_to_num(component.variance) for component in found)
        n_seeds = scores["seed"].nunique()
        for component in found:
            note = ""
            if " and " in component.name:
                note = "Each fold tests one patient, so that fold and patient cannot be told apart."
            elif component.name == "seed" and n_seeds < 2:
                note = "One seed was run, so that its share is unknown and part of the others."
            elif not np.isfinite(component.variance):
                note = "There is a single level, so that nothing can be said."
            share = component.variance / total if total > 0 else np.nan
            rows.append(
                (
                    method.name,
                    component.name,
                    component.variance,
                    np.sqrt(component.variance),
                    share,
                    component.n_levels,
                    note,
                )
            )
    return pd.DataFrame(rows, columns=list(VARIANCE_COLUMNS))


def _unit_scores(method: ScoredMethod) -> pd.DataFrame:
    """Pearson averaged over genes of every (patient, fold, seed)."""
    import pandas as pd

    parts = []
    for seed, run in enumerate(method.runs):
        keys = list(zip(run.patients, run.sections, strict=True))
        parts.append(
            pd.DataFrame(
                {
                    "patient": list(run.patients),
                    "fold": [method.fold_of.get(key, key[0]) for key in keys],
                    "seed": seed,
                    "value": gene_means(run["pearson"].T),
                }
            )
        )
    levels = ["patient", "fold", "seed"]
    return pd.concat(parts, ignore_index=True).groupby(levels, as_index=False)[["value"]].mean()
