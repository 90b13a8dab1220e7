"""Genes beside the panel: what they are scored against, how, and what a run keeps of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from histobench import paths
from histobench.evaluation.metrics import gene_metrics
from histobench.expression.gene_scores import COLUMNS, moments
from histobench.expression.transforms import Transform, transform_counts
from histobench.results import tables
from histobench.results.catalogue import catalogue, columns_of
from histobench.training import run
from histobench.training.contract import FurtherGenes, Prediction, SectionData
from histobench.training.every_gene import score_every_gene
from histobench.training.load import LoadedSection

ALL = ("A", "B", "C", "D")
PANEL = ("C",)
COUNTS = np.array([[1, 0, 3, 6], [2, 0, 2, 6], [4, 0, 1, 5], [8, 0, 0, 2]])
LOG = Transform.of("log1p_cp10k")


def loaded(labels=(1, 1, 0, 0), unmeasured=(), depth=10.0):
    """A section of four spots and four genes; B is never found."""
    total = np.full(4, depth)
    panel = transform_counts(LOG, COUNTS[:, [2]], total, COUNTS[:, 2], 4)
    spots = pd.DataFrame(index=list("wxyz"))
    data = SectionData(
        "c", "S1", "P1", spots, counts=sparse.csr_matrix(COUNTS), total_counts=total,
        targets=panel, labels=np.array(labels, np.float32),
    )  # fmt: skip
    lacking = np.array([gene in unmeasured for gene in ALL])
    return LoadedSection(data, spots, COUNTS[:, [2]], 1.0, {}, {}, lacking)


def prediction(further=("D", "A", "B"), values=None):
    rows = np.array([[3, 1, 0], [2, 1, 1], [1, 1, 2], [0, 1, 3]], np.float32) if values is None else values
    return Prediction(
        np.array([[0.0], [1], [2], [3]], np.float32), further=FurtherGenes(further, lambda: rows)
    )


def scored(section=None, told=None):
    given = {"panel": PANEL, "all_genes": ALL, "transform": LOG}
    return score_every_gene(section or loaded(), told or prediction(), **given).set_index("gene")


def test_scores_by_hand():
    table = scored()
    assert list(table.index) == ["C", "D", "A", "B"]
    assert list(table["kind"]) == ["target", "auxiliary", "auxiliary", "auxiliary"]
    assert set(table["n_spots"]) == set(table["n_labelled"]) == {4}
    # ln(1 + 10,000 c / 10): the same target as the panel's
    truth = np.log1p(1000.0 * COUNTS)
    assert table.loc["D", "pearson"] == pytest.approx(np.corrcoef(truth[:, 3], [3, 2, 1, 0])[0, 1], rel=1e-5)
    assert table.loc["D", "rmse"] == pytest.approx(np.sqrt(((truth[:, 3] - [3, 2, 1, 0]) ** 2).mean()))
    assert table.loc["D", "mean_truth"] == pytest.approx(truth[:, 3].mean())
    assert table.loc["D", "sd_truth"] == pytest.approx(truth[:, 3].std())
    assert table.loc["A", "pearson"] == 0, "a constant prediction says nothing"
    assert np.isnan(table.loc["B", "pearson"]), "a gene that is never found has no pattern"
    assert table.loc["B", "rmse"] == pytest.approx(np.sqrt(14 / 4)), "but its errors count"
    assert table.loc["C", "pearson"] == pytest.approx(np.corrcoef(truth[:, 2], range(4))[0, 1], rel=1e-5)


def test_moments_are_those_of_the_ordinary_scores():
    rng = np.random.default_rng(0)
    truth, guess = rng.normal(size=(2, 50, 2100)).astype(np.float32)
    truth[:, 7], guess[:, 8], truth[3, 9] = 1.0, 2.0, np.nan
    ordinary, own = gene_metrics(truth, guess), moments(truth, guess)
    for name, values in own.items():
        np.testing.assert_array_equal(values, ordinary[name])


def test_what_a_section_does_not_measure_is_not_scored():
    table = scored(loaded(unmeasured=("A",)))
    assert table.loc["A", list(COLUMNS[6:])].isna().all() and table.loc["D", "pearson"] > 0


def test_one_forest_sees_all_genes_and_needs_both_kinds_of_spots():
    table = scored()
    for side in ("truth", "prediction"):
        assert table[f"importance_{side}"].sum() == pytest.approx(1, abs=1e-5)
    assert table.loc["B", "importance_truth"] == 0 and table.loc["A", "importance_prediction"] == 0
    table = scored(loaded(labels=(1, np.nan, 1, 1)))
    assert table["importance_truth"].isna().all() and set(table["n_labelled"]) == {3}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (prediction(("D", "A", "C")), "not of the panel"),
        (prediction(("D", "A", "X")), "must be measured"),
        (prediction(("D", "A", "A")), "each once"),
        (prediction(values=np.zeros((4, 2), np.float32)), r"predicted \(4, 2\) of further genes, expected \(4, 3\)"),
        (prediction(values=np.full((4, 3), np.inf, np.float32)), "finite"),
    ],
)  # fmt: skip
def test_a_method_that_predicts_further_genes_wrongly_is_told_so(told, words):
    with pytest.raises(ValueError, match=f"section S1: .*{words}"):
        scored(told=told)


def test_what_is_written_is_what_is_declared(tmp_path):
    assert columns_of("every_gene_scores") == COLUMNS
    assert Path(paths.EVERY_GENE_SCORES).name == run.EVERY_GENE
    table = scored().reset_index()[list(COLUMNS)]
    table.to_parquet(tmp_path / run.EVERY_GENE)
    tables.read(tmp_path / run.EVERY_GENE, catalogue()["every_gene_scores"])


def test_spots_are_transformed_by_their_own_depth():
    section = loaded()
    deeper = replace(section, data=replace(section.data, total_counts=np.array([10.0, 20, 40, 80])))
    truth = np.log1p(1e4 * COUNTS[:, 3] / [10, 20, 40, 80])
    assert scored(deeper).loc["D", "mean_truth"] == pytest.approx(truth.mean())
