"""All result tables of an experiment, from metric tables, run records and noise ceilings.

Every score is averaged over sections, then patients, then genes, and over seeds before that. What the tables
are, :mod:`histobench.results.catalogue` declares; its entries name the functions that compute them. Beside
them, ``spots.parquet`` has one row per spot with its clusters under every method, for maps, and
``every_gene.parquet`` one per gene that a method predicts, of methods that predict genes beside the panel.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.evaluation import (
    domain_tables,
    inference_tables,
    metric_tables,
    permutation_tables,
    score_tables,
    tumour_tables,
)
from histobench.evaluation.auxiliary_tables import further_tables
from histobench.evaluation.gather import Gathered, ScoredMethod, gather
from histobench.evaluation.metrics import LEAST_SPOTS
from histobench.evaluation.planted import planted_tables
from histobench.evaluation.results import SectionScores, read_scores
from histobench.evaluation.statistics import N_BOOTSTRAP
from histobench.expression.transforms import Transform
from histobench.files import read_table
from histobench.results.catalogue import EXPERIMENT, Entry, catalogue
from histobench.results.tables import write
from histobench.seeds import seed_for

if TYPE_CHECKING:
    import pandas as pd

_MODULES = {
    module.__name__.rpartition(".")[2]: module
    for module in (
        domain_tables,
        inference_tables,
        metric_tables,
        permutation_tables,
        score_tables,
        tumour_tables,
    )
}


@dataclass(frozen=True)
class Study:
    """What tables are computed from; functions are given by name what they ask for.

    Attributes
    ----------
    gathered
        Methods with their results, and what failed.
    classifiers
        Methods among them that predict no gene: they stand in no table of genes and in no test.
    ceiling
        Noise ceilings.
    mean
        Method that predicts the training mean, "" for none.
    truth
        Planted truth of a simulated cohort, None for a real one.
    log_base
        Base of the logarithm in which targets are; None where they are no logarithms.
    n_bootstrap, seed
        Of resampling.
    least_spots
        What the sections were scored with.
    """

    gathered: Gathered
    classifiers: frozenset[str]
    ceiling: SectionScores
    mean: str
    truth: pd.DataFrame | None
    log_base: float | None
    n_bootstrap: int
    seed: int
    least_spots: int

    @property
    def every_method(self) -> Sequence[ScoredMethod]:
        """Methods with results, classifiers included, in the order of comparison."""
        return self.gathered.methods

    @cached_property
    def methods(self) -> Sequence[ScoredMethod]:
        """Methods with results that predict genes, in the order of comparison."""
        return [method for method in self.every_method if method.name not in self.classifiers]

    @cached_property
    def values(self) -> dict[str, dict[str, np.ndarray]]:
        """Method -> metric -> (patients, genes)."""
        reference = next((method for method in self.methods if method.name == self.mean), None)
        return {
            method.name: metric_tables.patient_scores(method, self.ceiling, reference)
            for method in self.methods
        }

    @cached_property
    def _consistency(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        return inference_tables.consistency_tables(self.methods)

    @property
    def consistency(self) -> pd.DataFrame:
        """Consistency test per gene."""
        return self._consistency[0]

    @property
    def consistency_summary(self) -> pd.DataFrame:
        """Number of genes that are consistent."""
        return self._consistency[1]

    @cached_property
    def _further(self) -> Mapping[str, pd.DataFrame]:
        return further_tables(self.methods, self.least_spots, self.n_bootstrap, self.seed)

    @property
    def auxiliary(self) -> pd.DataFrame:
        """Scores of genes of the panel and of those beside it."""
        return self._further["auxiliary"]

    @property
    def every_gene(self) -> pd.DataFrame:
        """Every gene that a method predicts."""
        return self._further["every_gene"]

    @cached_property
    def _planted(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        return planted_tables(self.methods, self.truth)

    @property
    def planted(self) -> pd.DataFrame:
        """Rates of found genes by kind."""
        return self._planted[0]

    @property
    def planted_genes(self) -> pd.DataFrame:
        """Planted and other genes one by one."""
        return self._planted[1]


def compute(entry: Entry, study: Study) -> pd.DataFrame:
    """Compute a table of the catalogue.

    ``entry.make`` is ``study:NAME``, an attribute of the study, or ``MODULE:FUNCTION``. A function is given
    the attributes of the study that its arguments are called after; one that asks for ``method`` is called
    for each, and its tables are stacked.
    """
    import pandas as pd

    module, _, name = entry.make.partition(":")
    if module == "study":
        tables: list[pd.DataFrame] = [getattr(study, name)]
    else:
        function = getattr(_MODULES[module], name)
        asked = inspect.signature(function).parameters
        given = {argument: getattr(study, argument) for argument in asked if argument != "method"}
        if "method" not in asked:
            made: pd.DataFrame = function(**given)
            return made
        tables = [function(method=method, **given) for method in study.methods]
    filled = [table for table in tables if len(table)]
    if not filled:
        return pd.DataFrame(columns=list(entry.column_names))
    stacked = pd.concat(filled, ignore_index=True)
    first = [column for column in entry.column_names if column in stacked]
    return stacked[[*first, *(column for column in stacked if column not in first)]]


def write_tables(
    *,
    experiment: str,
    metrics: Mapping[str, Sequence[str | Path]],
    runs: Mapping[str, Sequence[str | Path]],
    ceilings: Sequence[str | Path],
    families: Mapping[str, str],
    output_folder: str | Path,
    truth: str | Path | None = None,
    mean: str = "",
    folds: Sequence[str] | None = None,
    spots: Mapping[str, Sequence[str | Path]] | None = None,
    transform: Transform | Mapping[str, Any] | str | None = None,
    least_spots: int = LEAST_SPOTS,
    n_bootstrap: int = N_BOOTSTRAP,
    every_gene: Mapping[str, Sequence[str | Path]] | None = None,
    classifiers: Sequence[str] = (),
) -> None:
    """Write every table that the catalogue declares for an experiment as ``{output_folder}/{name}.tsv``.

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
    mean
        Method that predicts the training mean (``gives.training_mean``), whose squared errors are the
        reference of all others; "" for none.
    folds
        Names of all folds; what lacks one is listed in the failures.
    spots
        Result folder -> spot tables, for clusters and tumour curves.
    transform
        Target transform, whose logarithm turns errors into factors; see
        :meth:`histobench.expression.transforms.Transform.of`.
    least_spots
        What the sections were scored with, see :func:`histobench.evaluation.score.write_metrics`.
    n_bootstrap
        Resamples of intervals and envelopes.
    every_gene
        Result folder -> scores of every gene, of methods that predict genes beside the panel.
    classifiers
        Methods that predict tissue and no gene (``gives.expression: false``): what they store as expression
        says nothing about them, so that they stand in tables of tumour only.

    Raises
    ------
    UserError
        A file cannot be read, or a table is not as the catalogue declares it.
    """
    gathered = gather(metrics, runs, families, folds, spots, least_spots, every_gene)
    study = Study(
        gathered,
        frozenset(classifiers),
        read_scores([path for path in ceilings if Path(path).is_file()], least_spots=least_spots),
        mean,
        None if truth is None else read_table(truth),
        None if transform is None else Transform.of(transform).log_base,
        n_bootstrap,
        seed_for(experiment, "tables"),
        least_spots,
    )
    for entry in EXPERIMENT:
        write(compute(entry, study), Path(output_folder) / f"{entry.name}.tsv", entry)
    large = {"spots": domain_tables.spot_table(study.every_method), "every_gene": study.every_gene}
    for name, frame in large.items():
        write(frame, Path(output_folder) / f"{name}.parquet", catalogue()[name])
