"""One method's results gathered over folds and seeds, ready for tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.evaluation.dependence import shared_training
from histobench.evaluation.metrics import LEAST_SPOTS
from histobench.evaluation.results import (
    SectionScores,
    aligned,
    average_seeds,
    holds,
    mean_of,
    over_seeds,
    read_scalars,
    read_scores,
    split_seed,
)
from histobench.evaluation.score import PERMUTATIONS, POOLED, SUBSETS
from histobench.evaluation.statistics import Consistency, consistency, mean_score
from histobench.files import read_json

if TYPE_CHECKING:
    import pandas as pd

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
    subsets
        "tumour" and "normal" -> scores per seed over such spots only.
    scalars
        Per seed, what is scored per section or patient and not per gene (:func:`results.read_scalars`).
    fold_of
        (patient, section) -> fold that tests it.
    spots
        Spot tables of the first seed.
    permuted
        Of a null control, r of its permutations per seed: "pearson_1" and so on.
    every_gene
        Per seed, the scores of every gene of each fold; empty for a method that predicts the panel only.
    """

    name: str
    family: str
    runs: list[SectionScores]
    facts: list[Mapping[str, Any]]
    n_folds: int
    subsets: Mapping[str, Sequence[SectionScores]] = field(default_factory=dict)
    scalars: Sequence[pd.DataFrame] = ()
    fold_of: Mapping[tuple[str, str], str] = field(default_factory=dict)
    spots: Sequence[Path] = ()
    permuted: Sequence[SectionScores] = ()
    every_gene: Sequence[Sequence[Path]] = ()

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

    def over_seeds(self, score: Callable[[SectionScores], np.ndarray]) -> np.ndarray:
        """Average over seeds what each run scores by (sections, genes), such as squared errors.

        Returns (patients, genes).
        """
        return over_seeds(
            self.runs, self.patients, self.genes, lambda run: run.per_patient(np.asarray(score(run)))
        )

    @cached_property
    def pooled_by_patient(self) -> np.ndarray:
        """Pearson over each patient's pooled sections, averaged over seeds; (patients, genes)."""
        return self._pooled_over_seeds(self.runs)

    def pooled_on(self, spots: str) -> np.ndarray:
        """Return the same over the spots of a subset; NaN for patients without such spots.

        Parameters
        ----------
        spots
            "all", or a name of :data:`score.SUBSETS`.
        """
        return self.pooled_by_patient if spots == "all" else self._pooled_over_seeds(self.subsets[spots])

    @cached_property
    def pooled(self) -> np.ndarray:
        """Pearson over all spots of all sections, averaged over seeds; (genes,)."""
        return self._over_spots(centred=False)

    @cached_property
    def centred(self) -> np.ndarray:
        """The same with each section's mean taken away from truth and prediction first; (genes,)."""
        return self._over_spots(centred=True)

    def _over_spots(self, *, centred: bool) -> np.ndarray:
        return self.genes_over_seeds(lambda run: run.over_spots(centred=centred))

    def genes_over_seeds(self, score: Callable[[SectionScores], np.ndarray]) -> np.ndarray:
        """Average over seeds what each run scores by (genes,)."""
        every = ("all",)
        each = [aligned(score(run)[None], every, run.genes, every, self.genes) for run in self.runs]
        return mean_of(each)[0]

    def _pooled_over_seeds(self, runs: Sequence[SectionScores]) -> np.ndarray:
        return over_seeds(runs, self.patients, self.genes, SectionScores.pooled_by_patient)

    @cached_property
    def scalar_scores(self) -> pd.DataFrame:
        """Scores of sections and patients averaged over seeds: patient, section, metric, value, n_spots."""
        import pandas as pd

        keys = ["patient", "section", "metric"]
        if not self.scalars:
            return pd.DataFrame(columns=[*keys, "value", "n_spots"])
        # Section-wise folds test a patient in parts: each fold pools the sections that it tests.
        seeds = [
            seed.groupby(keys, as_index=False).agg(value=("value", "mean"), n_spots=("n_spots", "sum"))
            for seed in self.scalars
        ]
        table = pd.concat(seeds).groupby(keys, as_index=False)[["value", "n_spots"]].mean()
        return table.assign(n_spots=table["n_spots"].round())

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

    @cached_property
    def permutations(self) -> np.ndarray:
        """Pearson of every permutation, averaged as on the leader board; (permutations,), seed after seed."""
        return np.array(
            [
                mean_score(run.per_patient(run[f"pearson_{number}"]))
                for run in self.permuted
                for number in range(1, len(run.values) + 1)
            ]
        )

    def count_undefined(self) -> int:
        """Gene-section pairs without a correlation, for any reason; mean over seeds, rounded."""
        counts = [int(run.undefined.sum()) for run in self.runs]
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


def files_in(folders: Iterable[str | Path], level: int = 0) -> dict[str, list[Path]]:
    """Return the tables in folders by the folder's name, or by that of the folder ``level`` further up."""
    groups: dict[str, list[Path]] = {}
    for folder in map(Path, folders):
        name = (folder, *folder.parents)[level].name
        groups.setdefault(name, []).extend(sorted(folder.glob("*.parquet")))
    return groups


def gather(
    metrics: Mapping[str, Sequence[str | Path]],
    runs: Mapping[str, Sequence[str | Path]],
    families: Mapping[str, str],
    folds: Sequence[str] | None = None,
    spots: Mapping[str, Sequence[str | Path]] | None = None,
    least_spots: int = LEAST_SPOTS,
    every_gene: Mapping[str, Sequence[str | Path]] | None = None,
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
    spots
        Result folder -> spot tables; those that exist are kept for the tables that need them.
    least_spots
        What the sections were scored with.
    every_gene
        Result folder -> scores of every gene, of methods that predict genes beside the panel; those that
        exist are kept for the tables that need them.
    """
    gathered = Gathered()
    by_method: dict[str, list[str]] = {name: [] for name in families}
    for folder in metrics:
        by_method.setdefault(split_seed(folder)[0], []).append(folder)
    for name, folders in by_method.items():
        scored: list[SectionScores] = []
        facts: list[Mapping[str, Any]] = []
        subsets: dict[str, list[SectionScores]] = {subset: [] for subset in SUBSETS}
        scalars: list[pd.DataFrame] = []
        permuted: list[SectionScores] = []
        fold_of: dict[tuple[str, str], str] = {}
        seen: set[str] = set()
        for folder in folders:
            present = [Path(path) for path in metrics[folder] if Path(path).is_file()]
            wanted = list(folds) if folds is not None else [Path(path).stem for path in metrics[folder]]
            missing = sorted(set(wanted) - {path.stem for path in present})
            gathered.failures += [_failure(name, folder, fold, NO_METRICS) for fold in missing]
            seen |= {path.stem for path in present}
            if present:
                scored.append(read_scores(present, least_spots=least_spots))
                for subset, runs_on in subsets.items():
                    runs_on.append(read_scores(present, subset, least_spots=least_spots))
                if any(holds(path, PERMUTATIONS) for path in present):
                    permuted.append(read_scores(present, PERMUTATIONS, least_spots=least_spots))
                scalars.append(read_scalars(present))
                fold_of |= {key: path.stem for path in present for key in _sections(path)}
                facts += _facts(runs.get(folder, ()), present)
        if scored:
            first = next(folder for folder in folders if metrics[folder])
            described = [Path(path) for path in (spots or {}).get(first, ()) if Path(path).is_file()]
            gathered.methods.append(
                ScoredMethod(
                    name,
                    families.get(name, ""),
                    scored,
                    facts,
                    len(seen),
                    subsets,
                    scalars,
                    fold_of,
                    described,
                    permuted,
                    [
                        [Path(path) for path in (every_gene or {}).get(folder, ()) if Path(path).is_file()]
                        for folder in folders
                    ],
                )
            )
        elif not folders or not any(metrics[folder] for folder in folders):
            gathered.failures.append(_failure(name, name, "", "no result is there"))
    gathered.failures += _unscored(gathered.methods)
    return gathered


def _unscored(methods: Sequence[ScoredMethod]) -> list[dict[str, str]]:
    """Say which sections some methods of a fold were scored on and others not: they cannot be compared."""
    tested: dict[tuple[str, str], str] = {}
    for method in methods:
        tested |= method.fold_of
    failures = []
    for method in methods:
        has = set(method.fold_of.values())
        for key in sorted(set(tested) - set(method.fold_of)):
            if tested[key] in has:
                reason = f"section {key[1]} of patient {key[0]} is not scored, as it is for other methods"
                failures.append(_failure(method.name, method.name, tested[key], reason))
    return failures


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
    return sorted({patient for patient, _ in _sections(path)})


def _sections(path: Path) -> list[tuple[str, str]]:
    """Return the tested (patient, section) of a metric table."""
    import pyarrow.parquet as pq

    keys = pq.read_table(path, columns=["patient", "section"]).group_by(["patient", "section"]).aggregate([])
    return sorted((row["patient"], row["section"]) for row in keys.to_pylist() if row["section"] != POOLED)
