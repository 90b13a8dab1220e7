"""All result tables of an experiment, from metric tables, run records and noise ceilings.

Every score is averaged over sections, then patients, then genes, and over seeds before that. Tables:

leaderboard
    One row per method, best first.
metrics
    Every metric of every method with an interval over patients.
ranks
    Mean ranks of methods over patients per metric, Friedman's test, critical difference.
variance
    Share of patient, fold and seed in each method's score.
genes, patients, sections
    Scores per method and gene, patient, section.
comparisons
    Every pair of methods, paired over patients.
consistency, consistency_summary
    Consistency test per gene over all, tumour and normal spots, and the number of genes found.
consistency_curve
    Genes with r > 0 in at least k patients, beside chance and the sign-flip envelope.
power
    What the tests can show with so many patients.
tumour, tumour_curves
    Tumour probabilities per patient and over all, and their curves.
tumour_genes, informative_genes
    Genes that differ between tumour and normal spots, and genes that tell them apart, observed and predicted.
colocation
    Whether tumour and immune genes keep apart, observed and predicted.
domains, confusion
    k-means on observed, predicted and latent values against labels.
latent_neighbours
    Whether the nearest neighbour in latent space is the better predictor.
planted, planted_genes
    Simulated cohorts: rate of found genes by kind with Wilson intervals, and the genes themselves.
failures
    Methods and folds whose results are missing.

``spots.parquet`` has one row per spot with its clusters under every method, for maps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from histobench.evaluation.domain_tables import confusion_table, domain_table, neighbour_table, spot_table
from histobench.evaluation.gather import gather
from histobench.evaluation.inference_tables import (
    CURVE_COLUMNS,
    comparison_table,
    consistency_tables,
    curve_table,
    failure_table,
    power_table,
)
from histobench.evaluation.metric_tables import metric_table, patient_scores, rank_table, variance_table
from histobench.evaluation.metrics import LEAST_SPOTS
from histobench.evaluation.planted import PLANTED_COLUMNS, PLANTED_GENE_COLUMNS, planted_tables
from histobench.evaluation.results import read_scores
from histobench.evaluation.score_tables import (
    GENE_COLUMNS,
    PATIENT_COLUMNS,
    SECTION_COLUMNS,
    gene_table,
    leaderboard,
    patient_table,
    section_table,
)
from histobench.evaluation.statistics import N_BOOTSTRAP
from histobench.evaluation.tumour_tables import (
    colocation_table,
    informative_table,
    tumour_curve_table,
    tumour_gene_table,
    tumour_table,
)
from histobench.files import read_table, write_table
from histobench.seeds import seed_for

if TYPE_CHECKING:
    import pandas as pd


def write_tables(
    *,
    experiment: str,
    metrics: Mapping[str, Sequence[str | Path]],
    runs: Mapping[str, Sequence[str | Path]],
    ceilings: Sequence[str | Path],
    families: Mapping[str, str],
    output_folder: str | Path,
    truth: str | Path | None = None,
    folds: Sequence[str] | None = None,
    spots: Mapping[str, Sequence[str | Path]] | None = None,
    transform: str = "",
    least_spots: int = LEAST_SPOTS,
    n_bootstrap: int = N_BOOTSTRAP,
) -> None:
    """Write every table of the module docstring as ``{output_folder}/{name}.tsv``.

    Parameters
    ----------
    experiment
        Name; seeds of resampling follow from it.
    metrics, runs
        Result folder (method, or method.seed3) -> metric Parquet files, and run.json files. Files that do
        not exist are listed in the failures. Folders of one method's seeds are averaged.
    ceilings
        Ceiling Parquet files of the folds; may be empty.
    families
        Configured methods -> family, in the order of comparison.
    truth
        Truth table of a simulated cohort: gene, kind, programme, strength.
    folds
        Names of all folds; what lacks one is listed in the failures.
    spots
        Result folder -> spot tables, for clusters and tumour curves.
    transform
        Target transform, whose logarithm turns errors into factors.
    least_spots
        What the sections were scored with, see :func:`histobench.evaluation.score.write_metrics`.
    n_bootstrap
        Resamples of intervals and envelopes.

    Raises
    ------
    UserError
        A file cannot be read.
    """
    gathered = gather(metrics, runs, families, folds, spots, least_spots)
    methods = gathered.methods
    ceiling = read_scores([path for path in ceilings if Path(path).is_file()], least_spots=least_spots)
    seed = seed_for(experiment, "tables")
    baseline = next((method for method in methods if method.name == "train_mean"), None)
    values = {method.name: patient_scores(method, ceiling, baseline) for method in methods}
    consistent, summary = consistency_tables(methods)
    planted, planted_genes = planted_tables(methods, None if truth is None else read_table(truth))
    tables = {
        "leaderboard": leaderboard(methods, ceiling, n_bootstrap, seed),
        "metrics": metric_table(methods, values, transform, n_bootstrap, seed),
        "ranks": rank_table(methods, values, seed),
        "variance": variance_table(methods),
        "genes": _stacked([gene_table(method, ceiling) for method in methods], GENE_COLUMNS),
        "patients": _stacked([patient_table(method, ceiling) for method in methods], PATIENT_COLUMNS),
        "sections": _stacked([section_table(method, ceiling) for method in methods], SECTION_COLUMNS),
        "comparisons": comparison_table(methods, n_bootstrap, seed),
        "consistency": consistent,
        "consistency_summary": summary,
        "consistency_curve": _stacked(
            [curve_table(method, n_bootstrap, seed) for method in methods], CURVE_COLUMNS
        ),
        "power": power_table(methods),
        "tumour": tumour_table(methods, n_bootstrap, seed),
        "tumour_curves": tumour_curve_table(methods),
        "tumour_genes": tumour_gene_table(methods),
        "informative_genes": informative_table(methods),
        "colocation": colocation_table(methods, n_bootstrap, seed),
        "domains": domain_table(methods),
        "confusion": confusion_table(methods),
        "latent_neighbours": neighbour_table(methods, n_bootstrap, seed),
        "planted": _stacked([planted], PLANTED_COLUMNS),
        "planted_genes": _stacked([planted_genes], PLANTED_GENE_COLUMNS),
        "failures": failure_table(gathered),
    }
    for name, table in tables.items():
        write_table(table, Path(output_folder) / f"{name}.tsv")
    write_table(spot_table(methods), Path(output_folder) / "spots.parquet")


def _stacked(tables: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    filled = [table for table in tables if len(table)]
    if not filled:
        return pd.DataFrame(columns=list(columns))
    return pd.concat(filled, ignore_index=True)[list(columns)]
