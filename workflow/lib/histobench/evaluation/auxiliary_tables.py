"""Tables of the genes that some methods predict beside the panel (Chen et al. 2024, HE2Gene, Table 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.evaluation.gather import ScoredMethod
from histobench.evaluation.metrics import COVARIANCE, LEAST_SPOTS, covariance
from histobench.evaluation.results import SectionScores, average_seeds, over_seeds
from histobench.evaluation.statistics import bootstrap_interval, gene_means, mean_score
from histobench.expression.gene_scores import AUXILIARY, NUMBERS, TARGET
from histobench.results import tables
from histobench.results.catalogue import catalogue, columns_of

if TYPE_CHECKING:
    import pandas as pd

KINDS = (TARGET, AUXILIARY)
AUXILIARY_COLUMNS = columns_of("auxiliary")
EVERY_GENE_COLUMNS = columns_of("every_gene")
_SIDES = ("truth", "prediction")


def read_every_gene(
    paths: Sequence[str | Path], *, least_spots: int = LEAST_SPOTS
) -> dict[str, SectionScores]:
    """Read the scores of every gene of all folds of one run, by kind of gene, and "" for all kinds.

    A gene can be a target in one fold and auxiliary in another; it then counts to each kind in the sections
    of these folds.

    Parameters
    ----------
    paths
        Files ``every_gene_scores`` of the catalogue.
    least_spots
        A section with fewer spots has no r of its own, and one with fewer labelled spots no importances.
    """
    import pandas as pd

    entry = catalogue()["every_gene_scores"]
    table = pd.concat([tables.read(path, entry) for path in paths], ignore_index=True)
    keys = sorted({*zip(table["patient"], table["section"], strict=True)})
    genes = sorted({*table["gene"]})
    shape = (len(keys), len(genes))
    row = {key: number for number, key in enumerate(keys)}
    at = (
        np.array([row[key] for key in zip(table["patient"], table["section"], strict=True)], dtype=np.intp),
        pd.Index(genes).get_indexer(table["gene"]),
    )
    n_spots, n_labelled = np.zeros(len(keys)), np.zeros(len(keys))
    n_spots[at[0]], n_labelled[at[0]] = table["n_spots"], table["n_labelled"]
    values = {}
    for name in NUMBERS:
        values[name] = np.full(shape, np.nan)
        values[name][at] = table[name]
    few = (n_spots < least_spots)[:, None]
    values[COVARIANCE] = np.where(few, covariance(values), np.nan)
    values["pearson"] = np.where(few, np.nan, values["pearson"])
    for side in _SIDES:
        unlabelled = (n_labelled < least_spots)[:, None]
        values[f"importance_{side}"] = np.where(unlabelled, np.nan, values[f"importance_{side}"])
    kinds = np.full(shape, "", dtype=object)
    kinds[at] = table["kind"]
    patients, sections = zip(*keys, strict=True)
    found = {}
    for kind in ("", *KINDS):
        chosen = kinds != "" if not kind else kinds == kind
        masked = {name: np.where(chosen, value, np.nan) for name, value in values.items()}
        found[kind] = SectionScores(patients, sections, tuple(genes), n_spots, chosen, masked, least_spots)
    return found


def _scores(
    method: ScoredMethod, least_spots: int
) -> tuple[dict[str, SectionScores], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return scores by kind averaged over seeds; pooled r and squared errors by kind, (patients, genes)."""
    runs = [read_every_gene(paths, least_spots=least_spots) for paths in method.every_gene if paths]
    if not runs:
        return {}, {}, {}
    scores = {kind: average_seeds([run[kind] for run in runs]) for kind in runs[0]}
    pooled, squared = (
        {
            kind: over_seeds([run[kind] for run in runs], own.patient_names, own.genes, score)
            for kind, own in scores.items()
        }
        for score in (SectionScores.pooled_by_patient, _squared_errors)
    )
    return scores, pooled, squared


def _squared_errors(run: SectionScores) -> np.ndarray:
    return run.per_patient(run["rmse"].astype(np.float64) ** 2)


def further_tables(
    methods: Sequence[ScoredMethod], least_spots: int, n_bootstrap: int, seed: int
) -> Mapping[str, pd.DataFrame]:
    """Return the tables ``auxiliary`` and ``every_gene``; files are read once, one method at a time."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    genes: list[pd.DataFrame] = []
    for method in methods:
        scores, pooled, errors = _scores(method, least_spots)
        if not scores:
            continue
        informs = {
            f"importance_{side}": gene_means(scores[""].per_patient(scores[""][f"importance_{side}"]))
            for side in _SIDES
        }
        for kind in KINDS:
            own = scores[kind]
            of_kind: np.ndarray = np.asarray(own.scored.any(axis=0))
            if not of_kind.any():
                continue
            r = own.per_patient(own["pearson"])
            squared = errors[kind]
            rows.append({"method": method.name, "kind": kind, **_summary(r, pooled[kind], squared, of_kind)})
            rows[-1] |= dict(
                zip(
                    ("pearson_low", "pearson_high"),
                    bootstrap_interval(r, n=n_bootstrap, seed=seed),
                    strict=True,
                )
            )
            table = pd.DataFrame({
                "method": method.name,
                "gene": list(own.genes),
                "kind": kind,
                "n_patients": np.isfinite(r).sum(axis=0),
                "mean_pearson": gene_means(r),
                "pearson_pooled": gene_means(pooled[kind]),
                "mse": gene_means(squared),
                **informs,
                **{f"rank_{side}": _ranks(informs[f"importance_{side}"]) for side in _SIDES},
            })  # fmt: skip
            genes.append(table.loc[of_kind])
    every = pd.concat(genes, ignore_index=True) if genes else pd.DataFrame(columns=list(EVERY_GENE_COLUMNS))
    return {
        "auxiliary": pd.DataFrame(rows, columns=list(AUXILIARY_COLUMNS)),
        "every_gene": every[list(EVERY_GENE_COLUMNS)],
    }


def _summary(r: np.ndarray, pooled: np.ndarray, squared: np.ndarray, of_kind: np.ndarray) -> dict[str, Any]:
    """Average (patients, genes) as the leader board does: over patients, then genes."""
    means = gene_means(r)
    return {
        "n_patients": int(np.isfinite(r).any(axis=1).sum()),
        "n_genes": int(of_kind.sum()),
        "n_undefined": int((of_kind & np.isnan(means)).sum()),
        "pearson": mean_score(r),
        "pearson_pooled": mean_score(pooled),
        "mse": mean_score(squared),
        "n_positive": int((means > 0).sum()),
    }


def _ranks(importance: np.ndarray) -> np.ndarray:
    """Rank genes, 1 is the most important; NaN where nothing is known, and for genes that no forest used.

    Those are most of thousands of genes. Any order among them, as by name, would be the same on both sides
    and look like agreement.
    """
    from scipy import stats

    ranks: np.ndarray = stats.rankdata(-np.nan_to_num(importance), method="min").astype(np.float64)
    return np.where(np.nan_to_num(importance) > 0, ranks, np.nan)
