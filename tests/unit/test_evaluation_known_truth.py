"""Evaluation on simulated cohorts with a known truth: planted genes are found, null genes are not, leaks inflate.

A ridge regression on the latent tissue stands for a method with perfect eyes, so that no image is needed.
Folds, panels, scores and tables are the pipeline's own.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from histobench.cohorts.simulation.counts import PROGRAMMES
from histobench.cohorts.simulation.settings import SimulationSettings, section_names
from histobench.cohorts.simulation.simulate import latent_at_spots, simulate_counts_table, simulate_truth
from histobench.evaluation.score import ScoredSection, score_sections
from histobench.evaluation.statistics import wilson_interval
from histobench.evaluation.tables import write_tables
from histobench.expression.correlation import gene_correlations
from histobench.expression.panels import GeneStatistics, select_panel
from histobench.expression.transforms import transform_counts
from histobench.files import read_table, write_json, write_table
from histobench.methods.ridge_probe import RidgeProbe
from histobench.methods.shuffled_image import ShuffledImage
from histobench.splits.folds import make_folds
from histobench.training.contract import Context, SectionData

pytestmark = pytest.mark.slow

SEEDS = (1, 2, 3)


class Cohort:
    """Latent tissue and counts of all sections of one simulated cohort."""

    def __init__(self, seed):
        settings = SimulationSettings(seed=seed)
        self.patients = section_names(settings)
        self.truth = simulate_truth(settings)
        self.genes = tuple(self.truth["gene"])
        self.features, self.counts = {}, {}
        for section in self.patients:
            latent = latent_at_spots(settings, section)
            cells = np.log(latent["cellularity"].to_numpy() + 100.0)
            self.features[section] = np.column_stack([latent[list(PROGRAMMES)].to_numpy(), cells])
            self.counts[section] = simulate_counts_table(settings, section)[list(self.genes)].to_numpy()

    def targets(self, section):
        counts = self.counts[section]
        return transform_counts("log1p_cp10k", counts, counts.sum(axis=1))

    def ridge(self, train, test):
        x = np.vstack([self.features[section] for section in train])
        y = np.vstack([self.targets(section) for section in train]).astype(float)
        mean, sd = x.mean(axis=0), x.std(axis=0)
        x = (x - mean) / sd
        weights = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ (y - y.mean(axis=0)))
        return ((self.features[test] - mean) / sd @ weights + y.mean(axis=0)).astype(np.float32)

    def panel(self, sections, size):
        counts = np.vstack([self.counts[section] for section in sections])
        order = np.argsort(np.array(self.genes))
        names = tuple(np.array(self.genes)[order])
        statistics = GeneStatistics(
            names, counts.sum(axis=0)[order], (counts > 0).sum(axis=0)[order], len(counts)
        )
        return list(select_panel(statistics, size=size)[0]["gene"])


def evaluate(cohort, folder, *, scheme="leave_one_patient_out", scope="train", size=None):
    """Run one experiment; returns its tables."""
    metrics, runs = [], []
    for fold in make_folds(cohort.patients, scheme=scheme):
        deciding = fold.train if scope == "train" else tuple(cohort.patients)
        panel = cohort.panel(deciding, size or len(cohort.genes))
        columns = [cohort.genes.index(gene) for gene in panel]
        scored = []
        for section in fold.test:
            truth = cohort.targets(section)[:, columns]
            prediction = cohort.ridge(fold.train, section)[:, columns]
            total = cohort.counts[section].sum(axis=1)
            patient = cohort.patients[section]
            scored.append(ScoredSection(patient, section, tuple(panel), truth, prediction, truth, total))
        metrics.append(folder / "metrics" / "ridge" / f"{fold.name}.parquet")
        write_table(score_sections(scored), metrics[-1])
        runs.append(folder / "models" / "ridge" / fold.name / "run.json")
        trained = sorted({cohort.patients[section] for section in fold.train})
        write_json({"fold": fold.name, "seed": 0, "train_patients": trained}, runs[-1])
    write_table(cohort.truth, folder / "truth.tsv")
    write_tables(
        experiment=f"{scheme}-{scope}", metrics={"ridge": metrics}, runs={"ridge": runs}, ceilings=[],
        families={"ridge": "classical"}, truth=folder / "truth.tsv", output_folder=folder, n_bootstrap=200,
    )  # fmt: skip
    return {
        name: read_table(folder / f"{name}.tsv")
        for name in ("leaderboard", "patients", "planted", "planted_genes")
    }


@pytest.fixture(scope="module")
def cohorts():
    return [Cohort(seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def fair(cohorts, tmp_path_factory):
    return [evaluate(cohort, tmp_path_factory.mktemp("fair")) for cohort in cohorts]


def rate(runs, metric, kind, criterion):
    """Found genes, genes and Wilson interval, all seeds together."""
    rows = []
    for run in runs:
        table = run["planted"].set_index(["metric", "kind", "criterion"]).sort_index()
        rows.append(table.loc[(metric, kind, f"{criterion} <= 0.05")])
    found, n = sum(int(row["n_found"]) for row in rows), sum(int(row["n_genes"]) for row in rows)
    return found / n, *wilson_interval(found, n)


def test_planted_genes_are_found(fair):
    found, low, high = rate(fair, "pearson", "colour", "p")
    print(f"true positive rate {found:.2f} ({low:.2f} to {high:.2f})")
    assert low > 0.7
    found, low, _ = rate(fair, "pearson", "colour", "q")
    assert low > 0.6
    for run in fair:
        genes = run["planted_genes"].query("metric == 'pearson' and kind == 'colour'")
        strong = genes.assign(size=genes["strength"].abs())
        by_strength = strong.groupby("size")["mean_score"].mean()
        assert by_strength.is_monotonic_increasing, "the stronger the planted signal, the higher the score"


@pytest.mark.parametrize("metric", ["pearson", "pearson_partial_depth"])
def test_null_genes_are_found_no_more_often_than_the_level_allows(fair, metric):
    found, low, high = rate(fair, metric, "null", "p")
    print(f"{metric}: false positive rate {found:.3f} ({low:.3f} to {high:.3f})")
    assert low <= 0.05
    found, low, high = rate(fair, metric, "null", "q")
    assert found <= 0.05


def test_depth_genes_lose_when_depth_is_known(fair):
    def score(metric):
        tables = [run["planted_genes"].groupby(["metric", "kind"])["mean_score"].mean() for run in fair]
        return np.mean([table[metric, "depth"] for table in tables])

    assert score("pearson_partial_depth") < 0.75 * score("pearson")


def test_section_wise_folds_inflate_the_score_in_every_cohort(cohorts, fair, tmp_path):
    gains = []
    for i, (cohort, run) in enumerate(zip(cohorts, fair, strict=True)):
        leak = evaluate(cohort, tmp_path / str(i), scheme="leave_one_section_out")
        gains.append(leak["leaderboard"]["pearson"].iloc[0] - run["leaderboard"]["pearson"].iloc[0])
    print("section-wise folds inflate r by", np.round(gains, 4))
    assert min(gains) > 0.003


def test_a_panel_that_saw_the_test_patients_inflates_the_score_in_every_cohort(cohorts, tmp_path):
    gains = []
    for i, cohort in enumerate(cohorts):
        size = len(cohort.genes) // 2
        scores = []
        for scope in ("train", "all"):
            # Over patients, each on its fold's own panel: panels of different genes stay comparable.
            patients = evaluate(cohort, tmp_path / f"{i}{scope}", scope=scope, size=size)["patients"]
            scores.append(patients["pearson"].mean())
        gains.append(scores[1] - scores[0])
    print("a panel of all patients inflates r by", np.round(gains, 4))
    assert min(gains) > 0.003


METHODS = {
    "ridge_probe": lambda: RidgeProbe((10.0,)),
    "shuffled_image": lambda: ShuffledImage(
        "histobench.methods.ridge_probe:RidgeProbe", {"alphas": [10.0]}, draws=20
    ),
}


def as_data(cohort, section):
    """A section whose features are the latent tissue itself."""
    features = cohort.features[section].astype(np.float32)
    names = [f"{i}x0" for i in range(len(features))]
    spots = pd.DataFrame({"array_x": np.arange(len(names)), "array_y": 0}, index=names)
    return SectionData("simulated", section, cohort.patients[section], spots, features=features,
                       targets=cohort.targets(section).astype(np.float32))  # fmt: skip


def null_run(cohort, folder):
    """Leader board and permutations of a method that sees the tissue and of the one that sees it shuffled."""
    data = {section: as_data(cohort, section) for section in cohort.patients}
    metrics = {name: [] for name in METHODS}
    for fold in make_folds(cohort.patients, scheme="leave_one_patient_out"):
        for number, (name, make) in enumerate(METHODS.items()):
            method = make()
            method.fit([data[s] for s in fold.train], [], Context(genes=cohort.genes, seed=100 * number))
            scored = []
            for section in fold.test:
                truth = data[section].targets
                found = method.predict(data[section].without_truth())
                further = [gene_correlations(truth, each) for each in found.permuted]
                first = gene_correlations(truth, found.expression)
                scored.append(
                    ScoredSection(
                        cohort.patients[section], section, cohort.genes, truth, found.expression, truth,
                        cohort.counts[section].sum(axis=1),
                        permuted=np.column_stack([first, *further]) if further else None,
                    )
                )  # fmt: skip
            metrics[name].append(folder / "metrics" / name / f"{fold.name}.parquet")
            write_table(score_sections(scored), metrics[name][-1])
    families = {"ridge_probe": "classical", "shuffled_image": "control"}
    write_tables(experiment="null", metrics=metrics, runs={}, ceilings=[], families=families,
                 output_folder=folder, n_bootstrap=200)  # fmt: skip
    board = read_table(folder / "leaderboard.tsv").set_index("method")
    return board, read_table(folder / "permutations.tsv"), metrics["shuffled_image"]


def by_kind(cohort, files):
    """Over permutations, the standard deviation of the mean of genes and of one gene, for each kind of gene."""
    kinds = cohort.truth.set_index("gene")["kind"]
    table = pd.concat([read_table(path) for path in files])
    table = table[table["metric"].str.endswith("@permuted")].assign(kind=lambda rows: rows["gene"].map(kinds))
    genes = table.groupby(["kind", "gene", "metric"])["value"].mean().unstack("metric")
    return {
        kind: (part.mean(axis=0).std(), part.std(axis=1).mean(), len(part))
        for kind, part in genes.groupby("kind")
    }


def test_the_null_is_null_and_what_was_planted_lies_beyond_it(cohorts, tmp_path):
    for number, cohort in enumerate(cohorts):
        board, draws, files = null_run(cohort, tmp_path / str(number))
        low, high = board.loc["shuffled_image", ["null_low", "null_high"]]
        print(f"permutations: mean {draws['pearson'].mean():.4f}, envelope {low:.4f} to {high:.4f}; the tissue itself "
              f"{board.loc['ridge_probe', 'pearson']:.3f}")  # fmt: skip
        assert low < 0 < high
        assert len(draws) == 20 and draws["pearson"].iloc[0] == board.loc["shuffled_image", "pearson"]
        assert list(board["against_null"]) == ["above", "within"] and list(board.index) == list(METHODS)
        spread = by_kind(cohort, files)
        for kind in ("null", "colour"):
            together, alone, n = spread[kind]
            print(
                f"{kind}: sd of the mean of {n} genes {together:.4f}, of one {alone:.4f}, {alone / together:.1f} fold"
            )
        # null genes have maps of their own and average out by the root of their number; planted ones share programmes
        together, alone, n = spread["null"]
        assert 0.7 < np.sqrt(n) * together / alone < 1.4
        assert spread["colour"][0] > 5 * together
