"""One method's results gathered over folds and seeds, ready for tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from histobench.evaluation.dependence import shared_training
from histobench.evaluation.results import (
    SectionScores,
    aligned,
    average_seeds,
    mean_of,
    read_scores,
    split_seed,
)
from histobench.evaluation.statistics import Consistency, consistency
from histobench.files import read_json

NO_METRICS = "the metric table is missing"


@dataclass
class ScoredMethod:
    """A method with its runs, one per seed.

    Attributes
    ----------
    name, family
        Method name without seed, and its family (control, oracle, classical, deep).
    runs
        Scores per seed.
    facts
        Contents of the run.json files, over folds and seeds.
    n_folds
        Folds with results.
    """

    name: str
    family: str
    runs: list[SectionScores]
    facts: list[Mapping[str, Any]]
    n_folds: int

    @cached_property
    def scores(self) -> SectionScores:
        """Scores averaged over seeds."""
        return average_seeds(self.runs)

    @property
    def patients(self) -> tuple[str, ...]:
        """Tested patients, sorted."""
        return self.scores.patient_names

    @property
    def genes(self) -> tuple[str, ...]:
        """Predicted genes, sorted."""
        return self.scores.genes

    @cached_property
    def by_patient(self) -> np.ndarray:
        """Pearson averaged over the sections of each patient; (patients, genes)."""
        return self.scores.per_patient(self.scores["pearson"])

    @cached_property
    def pooled_by_patient(self) -> np.ndarray:
        """Pearson over each patient's pooled sections, averaged over seeds; (patients, genes)."""
        return self._over_seeds(
            [(run.patient_names, run.pooled_by_patient()) for run in self.runs], self.patients
        )

    @cached_property
    def pooled(self) -> np.ndarray:
        """Pearson over all spots of all sections, averaged over seeds; (genes,)."""
        return self._over_seeds([(("all",), run.pooled()[None]) for run in self.runs], ("all",))[0]

    def _over_seeds(
        self, values: Sequence[tuple[Sequence[str], np.ndarray]], rows: Sequence[str]
    ) -> np.ndarray:
        brought = [
            aligned(array, own, run.genes, rows, self.genes)
            for (own, array), run in zip(values, self.runs, strict=True)
        ]
        return mean_of(brought)

    @cached_property
    def consistency(self) -> Consistency:
        """Consistency test on the pooled patients, as in He et al. 2020."""
        return consistency(self.pooled_by_patient)

    @cached_property
    def shared(self) -> float:
        """Correlation of two patients' scores that shared training patients cause (see statistics)."""
        seeds = {fact.get("seed", 0) for fact in self.facts}
        one_seed = [fact for fact in self.facts if fact.get("seed", 0) == min(seeds, default=0)]
        folds = [
            (set(map(str, fact["test_patients"])), set(map(str, fact["train_patients"])))
            for fact in one_seed
            if "train_patients" in fact and "test_patients" in fact
        ]
        if folds:
            return shared_training(folds)
        others = [({p}, set(self.patients) - {p}) for p in self.patients]
        return shared_training(others)

    def count_undefined(self) -> int:
        """Gene-section pairs without a correlation, for either reason; mean over seeds, rounded."""
        counts = [int((run.constant_truth | run.constant_prediction).sum()) for run in self.runs]
        return round(sum(counts) / len(counts))

    def fact(self, *names: str) -> np.ndarray:
        """Values of the first of ``names`` that each run has; runs without any are left out."""
        found = [next((f[n] for n in names if f.get(n) is not None), None) for f in self.facts]
        return np.array([value for value in found if value is not None], dtype=np.float64)


@dataclass
class Gathered:
    """Everything that tables need: methods in configured order, and what is missing."""

    methods: list[ScoredMethod] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)


def by_folder(paths: Iterable[str | Path], level: int = 0) -> dict[str, list[str]]:
    """Group result files by method folder: that of the file, or ``level`` folders further up."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(Path(path).parents[level].name, []).append(str(path))
    return groups


def gather(
    metrics: Mapping[str, Sequence[str | Path]],
    runs: Mapping[str, Sequence[str | Path]],
    families: Mapping[str, str],
    folds: Sequence[str] | None = None,
) -> Gathered:
    """Read the results of all methods.

    Parameters
    ----------
    metrics, runs
        Result folder (method, or method.seed3) -> metric tables, and run.json files. A path that does not
        exist is a failure to report, not an error.
    families
        Configured methods -> family. A configured method without results is reported.
    folds
        Names of the experiment's folds, each expected of every run; None expects nothing.
    """
    gathered = Gathered()
    by_method: dict[str, list[str]] = {name: [] for name in families}
    for folder in metrics:
        by_method.setdefault(split_seed(folder)[0], []).append(folder)
    for name, folders in by_method.items():
        scored: list[SectionScores] = []
        facts: list[Mapping[str, Any]] = []
        seen: set[str] = set()
        for folder in folders:
            present = [Path(path) for path in metrics[folder] if Path(path).is_file()]
            wanted = list(folds) if folds is not None else [Path(path).stem for path in metrics[folder]]
            missing = sorted(set(wanted) - {path.stem for path in present})
            gathered.failures += [_failure(name, folder, fold, NO_METRICS) for fold in missing]
            seen |= {path.stem for path in present}
            if present:
                scored.append(read_scores(present))
                facts += _facts(runs.get(folder, ()), present)
        if scored:
            gathered.methods.append(ScoredMethod(name, families.get(name, ""), scored, facts, len(seen)))
        elif not folders or not any(metrics[folder] for folder in folders):
            gathered.failures.append(_failure(name, name, "", "no result is there"))
    return gathered


def _failure(method: str, folder: str, fold: str, reason: str) -> dict[str, str]:
    seed = split_seed(folder)[1]
    return {"method": method, "seed": "" if seed is None else str(seed), "fold": fold, "reason": reason}


def _facts(paths: Sequence[str | Path], metrics: Sequence[Path]) -> list[Mapping[str, Any]]:
    """Read run.json files; the tested patients of a fold are taken from its metric table."""
    tested = {path.stem: path for path in metrics}
    found: list[Mapping[str, Any]] = []
    for path in map(Path, paths):
        if not path.is_file():
            continue
        fact = dict(read_json(path))
        fold = str(fact.get("fold", path.parent.name))
        if "test_patients" not in fact and fold in tested:
            fact["test_patients"] = _patients(tested[fold])
        found.append(fact)
    return found


def _patients(path: Path) -> list[str]:
    import pyarrow.parquet as pq

    return [str(name) for name in pq.read_table(path, columns=["patient"])["patient"].unique().to_pylist()]
