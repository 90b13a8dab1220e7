"""All result tables of an experiment, from metric tables, run records and noise ceilings.

Every score is averaged over sections, then patients, then genes, and over seeds before that. Tables:

leaderboard
    One row per method, best first.
genes, patients, sections
    Scores per method and gene, patient, section.
comparisons
    Every pair of methods, paired over patients.
consistency_curve
    Genes with r > 0 in at least k patients, beside chance and the sign-flip envelope.
power
    What the tests can show with so many patients.
planted, planted_genes
    Simulated cohorts: rate of found genes by kind with Wilson intervals, and the genes themselves.
failures
    Methods and folds whose results are missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from histobench.evaluation.gather import gather
from histobench.evaluation.inference_tables import (
    CURVE_COLUMNS,
    comparison_table,
    curve_table,
    failure_table,
    power_table,
)
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
    n_bootstrap
        Resamples of intervals and envelopes.

    Raises
    ------
    UserError
        A file cannot be read.
    """
    gathered = gather(metrics, runs, families, folds)
    methods = gathered.methods
    ceiling = read_scores([path for path in ceilings if Path(path).is_file()])
    seed = seed_for(experiment, "tables")
    planted, planted_genes = planted_tables(methods, None if truth is None else read_table(truth))
    tables = {
        "leaderboard": leaderboard(methods, ceiling, n_bootstrap, seed),
        "genes": _stacked([gene_table(method, ceiling) for method in methods], GENE_COLUMNS),
        "patients": _stacked([patient_table(method, ceiling) for method in methods], PATIENT_COLUMNS),
        "sections": _stacked([section_table(method, ceiling) for method in methods], SECTION_COLUMNS),
        "comparisons": comparison_table(methods, n_bootstrap, seed),
        "consistency_curve": _stacked(
            [curve_table(method, n_bootstrap, seed) for method in methods], CURVE_COLUMNS
        ),
        "power": power_table(methods),
        "planted": _stacked([planted], PLANTED_COLUMNS),
        "planted_genes": _stacked([planted_genes], PLANTED_GENE_COLUMNS),
        "failures": failure_table(gathered),
    }
    for name, table in tables.items():
        write_table(table, Path(output_folder) / f"{name}.tsv")


def _stacked(tables: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    filled = [table for table in tables if len(table)]
    if not filled:
        return pd.DataFrame(columns=list(columns))
    return pd.concat(filled, ignore_index=True)[list(columns)]
