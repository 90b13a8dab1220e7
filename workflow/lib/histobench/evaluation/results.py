"""Metric files of a method read into arrays, and the averages that tables are made of.

Averages run over sections, then patients, then genes; what is not defined (NaN) is left out of each mean
and counted by the tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from histobench.errors import UserError
from histobench.evaluation.metrics import COVARIANCE, LEAST_SPOTS
from histobench.evaluation.score import POOLED
from histobench.evaluation.statistics import gene_means
from histobench.files import read_table

if TYPE_CHECKING:
    import pandas as pd

_SEED = re.compile(r"(?P<method>.+)\.seed(?P<seed>\d+)")
# Spread below a few rounding errors of single precision counts as none (see evaluation.metrics).
_ROUNDING = 1e-6


def split_seed(name: str) -> tuple[str, int | None]:
    """Return method and seed of a result folder: ("stnet", 3) for "stnet.seed3", ("stnet", None) else."""
    match = _SEED.fullmatch(name)
    return (match["method"], int(match["seed"])) if match else (name, None)


@dataclass(frozen=True)
class SectionScores:
    """Metrics of one run over all its folds.

    Attributes
    ----------
    patients, sections
        (sections,) names, sorted by patient and section.
    genes
        Union of the folds' panels, sorted.
    n_spots
        (sections,) number of spots.
    scored
        (sections, genes) whether the gene was predicted in that section's fold.
    values
        Metric -> (sections, genes); NaN where not scored or not defined.
    least_spots
        With fewer spots a section, or the pooled sections of a patient, have no correlation.
    """

    patients: tuple[str, ...]
    sections: tuple[str, ...]
    genes: tuple[str, ...]
    n_spots: np.ndarray
    scored: np.ndarray
    values: Mapping[str, np.ndarray]
    least_spots: int = LEAST_SPOTS

    def __getitem__(self, metric: str) -> np.ndarray:
        """Return a metric, all NaN when the files do not have it."""
        if metric in self.values:
            return self.values[metric]
        return np.full(self.scored.shape, np.nan)

    @property
    def patient_names(self) -> tuple[str, ...]:
        """Patients, each once, sorted."""
        return tuple(sorted(set(self.patients)))

    @property
    def too_few_spots(self) -> np.ndarray:
        """(sections, genes): predicted, but on too few spots for a correlation."""
        return self.scored & (self.n_spots < self.least_spots)[:, None]

    @property
    def constant_truth(self) -> np.ndarray:
        """(sections, genes): scored on enough spots, but the observation does not vary."""
        return self.scored & np.isnan(self["pearson"]) & ~self.too_few_spots

    @property
    def constant_prediction(self) -> np.ndarray:
        """(sections, genes): the observation varies, the prediction does not."""
        return self.scored & ~np.isnan(self["pearson"]) & (self["sd_prediction"] == 0)

    @property
    def undefined(self) -> np.ndarray:
        """(sections, genes): predicted, but without a correlation, or with one that was set to 0."""
        return self.too_few_spots | self.constant_truth | self.constant_prediction

    def per_patient(self, values: np.ndarray) -> np.ndarray:
        """Average (sections, genes) over the sections of each patient; (patients, genes)."""
        own = np.array(self.patients)
        rows = [gene_means(values[own == patient]) for patient in self.patient_names]
        return np.array(rows).reshape(len(self.patient_names), len(self.genes))

    def pooled_by_patient(self) -> np.ndarray:
        """Pearson over the pooled sections of each patient (He et al. 2020); (patients, genes)."""
        own = np.array(self.patients)
        rows = [self._pooled(own == patient) for patient in self.patient_names]
        return np.array(rows).reshape(len(self.patient_names), len(self.genes))

    def over_spots(self, weights: np.ndarray | None = None, *, centred: bool = False) -> np.ndarray:
        """Pearson over all spots of all sections; (genes,).

        Parameters
        ----------
        weights
            How often each patient of :attr:`patient_names` counts, (patients,); None for once each.
        centred
            Take the mean of each section away from truth and prediction first, so that differences
            between sections count for nothing.
        """
        every = np.ones(len(self.sections), dtype=bool)
        if weights is None:
            return self._pooled(every, centred=centred)
        number = dict(zip(self.patient_names, weights, strict=True))
        times = np.array([number[patient] for patient in self.patients], dtype=np.float64)
        return self._pooled(every, times, centred=centred)

    def _pooled(
        self, rows: np.ndarray, times: np.ndarray | float = 1.0, *, centred: bool = False
    ) -> np.ndarray:
        """Pool correlations exactly from n, means, standard deviations and r (or covariance) of sections."""
        mean = {side: self[f"mean_{side}"][rows] for side in ("truth", "prediction")}
        sd = {side: self[f"sd_{side}"][rows] for side in ("truth", "prediction")}
        present = self.scored[rows] & np.isfinite(mean["truth"])
        n = np.where(present, (times * self.n_spots)[rows][:, None], 0.0)
        total = n.sum(axis=0)

        def average(values: np.ndarray) -> np.ndarray:
            weighted = np.where(present, n * values, 0.0).sum(axis=0)
            return np.divide(weighted, total, out=np.zeros(len(total)), where=total > 0)

        centre = {side: average(mean[side]) for side in mean}
        offset = {side: 0.0 * mean[side] if centred else mean[side] - centre[side] for side in mean}
        variance = {side: average(sd[side] ** 2 + offset[side] ** 2) for side in mean}
        within = np.nan_to_num(self["pearson"][rows]) * sd["truth"] * sd["prediction"]
        within += np.nan_to_num(self[COVARIANCE][rows])  # of sections without an r of their own
        covariance = average(within + offset["truth"] * offset["prediction"])
        flat = {side: ~(variance[side] > (_ROUNDING * np.abs(centre[side])) ** 2) for side in mean}
        length = np.sqrt(variance["truth"] * variance["prediction"])
        r = np.divide(covariance, length, out=np.zeros(len(total)), where=length > 0)
        r = np.where(flat["prediction"], 0.0, np.clip(r, -1.0, 1.0))
        return np.where(flat["truth"] | (total < max(self.least_spots, 1)), np.nan, r)


def read_scores(
    paths: Iterable[str | Path], subset: str = "", *, least_spots: int = LEAST_SPOTS
) -> SectionScores:
    """Read the long metric tables of all folds of one run, without rows about patients and whole sections.

    Parameters
    ----------
    paths
        Metric tables.
    subset
        "" for the metrics over all spots of a section, "tumour" or "normal" for those over such spots only,
        "permuted" for those of permutations.
    least_spots
        What the sections were scored with.

    Raises
    ------
    UserError
        A file cannot be read, or a section was tested in two folds.
    """
    tables = [_read_long(path, subset) for path in paths]
    sections = sorted({key for table in tables for key in table.sections})
    if len(sections) != sum(len(table.sections) for table in tables):
        raise UserError("metrics: a section was tested in two folds; make the folds again.")
    genes = sorted({gene for table in tables for gene in table.genes})
    row = {key: i for i, key in enumerate(sections)}
    column = {gene: i for i, gene in enumerate(genes)}
    shape = (len(sections), len(genes))
    values: dict[str, np.ndarray] = {}
    n_spots, scored = np.zeros(len(sections)), np.zeros(shape, dtype=bool)
    for table in tables:
        rows = np.array([row[key] for key in table.sections], dtype=np.intp)
        columns = np.array([column[gene] for gene in table.genes], dtype=np.intp)
        at = rows[table.section_of], columns[table.gene_of]
        scored[at] = True
        n_spots[at[0]] = table.n_spots
        for code, metric in enumerate(table.metrics):
            chosen = table.metric_of == code
            if not chosen.any():  # a metric of other rows of the file
                continue
            target = values.setdefault(metric, np.full(shape, np.nan))
            target[at[0][chosen], at[1][chosen]] = table.value[chosen]
    patients, names = zip(*sections, strict=True) if sections else ((), ())
    return SectionScores(tuple(patients), tuple(names), tuple(genes), n_spots, scored, values, least_spots)


def holds(path: str | Path, subset: str) -> bool:
    """Tell whether a metric table has metrics of a subset."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    names = pc.unique(pq.read_table(path, columns=["metric"]).column("metric")).to_pylist()
    return any(name.endswith(f"@{subset}") for name in names)


@dataclass(frozen=True)
class _Long:
    """Columns of a long table as names and codes."""

    sections: list[tuple[str, str]]
    genes: list[str]
    metrics: list[str]
    section_of: np.ndarray
    gene_of: np.ndarray
    metric_of: np.ndarray
    value: np.ndarray
    n_spots: np.ndarray


def read_scalars(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Read the rows without a gene: patient, section ("*": the patient's pooled sections), metric, value."""
    import pandas as pd

    tables = [read_table(path, filters=[("gene", "==", "")]) for path in paths]
    columns = ["patient", "section", "metric", "value", "n_spots"]
    if not tables:
        return pd.DataFrame(columns=columns)
    return pd.concat(tables, ignore_index=True)[columns]


def _read_long(path: str | Path, subset: str) -> _Long:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ["patient", "section", "gene", "metric"]
    try:
        table = pq.read_table(path, read_dictionary=names).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: the metric table cannot be read; remove it and run again.") from error
    codes, labels = {}, {}
    for name in names:
        column = table.column(name).combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = column.chunk(0)
        column = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        codes[name] = column.indices.to_numpy(zero_copy_only=False)
        labels[name] = [str(label) for label in column.dictionary.to_pylist()]
    section, gene = (np.array(labels[name], dtype=object)[codes[name]] for name in ("section", "gene"))
    names_of = [label.partition("@") for label in labels["metric"]]
    of_subset = np.array([suffix == subset for _, _, suffix in names_of], dtype=bool)
    wanted = (section != POOLED) & (gene != "") & of_subset[codes["metric"]]
    codes = {name: code[wanted] for name, code in codes.items()}
    pair, section_of = np.unique(
        codes["patient"].astype(np.int64) * len(labels["section"]) + codes["section"], return_inverse=True
    )
    used, gene_of = np.unique(codes["gene"], return_inverse=True)
    keys = [divmod(int(code), len(labels["section"])) for code in pair]
    return _Long(
        sections=[(labels["patient"][p], labels["section"][s]) for p, s in keys],
        genes=[labels["gene"][code] for code in used],
        metrics=[name for name, _, _ in names_of],
        section_of=section_of,
        gene_of=gene_of,
        metric_of=codes["metric"],
        value=table.column("value").to_numpy()[wanted],
        n_spots=table.column("n_spots").to_numpy()[wanted],
    )


def aligned(
    values: np.ndarray, rows: Sequence[object], columns: Sequence[object],
    new_rows: Sequence[object], new_columns: Sequence[object],
) -> np.ndarray:  # fmt: skip
    """Bring (rows, columns) to other rows and columns; what is new is NaN."""
    if tuple(rows) == tuple(new_rows) and tuple(columns) == tuple(new_columns):
        return values
    row, column = ({key: i for i, key in enumerate(keys)} for keys in (rows, columns))
    result = np.full((len(new_rows), len(new_columns)), np.nan)
    to_row, from_row = _matches(row, new_rows)
    to_column, from_column = _matches(column, new_columns)
    result[np.ix_(to_row, to_column)] = values[np.ix_(from_row, from_column)]
    return result


def _matches(place: Mapping[object, int], wanted: Sequence[object]) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(i, place[key]) for i, key in enumerate(wanted) if key in place]
    return np.array([i for i, _ in pairs], dtype=np.intp), np.array([j for _, j in pairs], dtype=np.intp)


def mean_of(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of equally shaped arrays over what is defined, NaN where nothing is."""
    if len(arrays) == 1:
        return arrays[0]
    stack = np.array(arrays)
    return gene_means(stack.reshape(len(arrays), -1)).reshape(stack.shape[1:])


def over_seeds(
    runs: Sequence[SectionScores],
    patients: Sequence[str],
    genes: Sequence[str],
    score: Callable[[SectionScores], np.ndarray],
) -> np.ndarray:
    """Average what each run scores by patient, (patients, genes): for what is no mean of stored numbers."""
    each = [aligned(score(run), run.patient_names, run.genes, patients, genes) for run in runs]
    return mean_of(each)


def average_seeds(runs: Sequence[SectionScores]) -> SectionScores:
    """Average runs of one method with different seeds, metric by metric.

    Runs that lack a section or gene (a failed fold) leave the mean to the others.
    """
    if len(runs) == 1:
        return runs[0]
    keys = sorted({key for run in runs for key in zip(run.patients, run.sections, strict=True)})
    genes = tuple(sorted({gene for run in runs for gene in run.genes}))
    place = {key: i for i, key in enumerate(keys)}
    n_spots = np.zeros(len(keys))
    for run in runs:
        n_spots[[place[key] for key in zip(run.patients, run.sections, strict=True)]] = run.n_spots

    def bring(run: SectionScores, values: np.ndarray) -> np.ndarray:
        own = list(zip(run.patients, run.sections, strict=True))
        return aligned(values, own, run.genes, keys, genes)

    metrics = sorted({metric for run in runs for metric in run.values})
    scored = np.array([bring(run, run.scored.astype(float)) for run in runs]) == 1
    return SectionScores(
        tuple(patient for patient, _ in keys),
        tuple(section for _, section in keys),
        genes,
        n_spots,
        scored.any(axis=0),
        {metric: mean_of([bring(run, run[metric]) for run in runs]) for metric in metrics},
        runs[0].least_spots,
    )
