"""Tables of target and auxiliary genes, from files that a prediction leaves, against the numbers themselves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from histobench.evaluation.auxiliary_tables import _ranks, further_tables, read_every_gene
from histobench.evaluation.gather import ScoredMethod, files_in
from histobench.evaluation.published import STATISTICS
from histobench.expression.gene_scores import AUXILIARY, COLUMNS, NUMBERS, TARGET, moments
from histobench.files import write_table
from histobench.results.catalogue import columns_of
from histobench.results.tables import check

GENES = ["g0", "g1", "g2", "g3", "rare"]
SPOTS = {("A", "A1"): 20, ("A", "A2"): 30, ("B", "B1"): 25, ("B", "B2"): 6}


def values(section, seed=0):
    """Truth and prediction of the genes in a section; the last gene is found in section B1 only."""
    rng = np.random.default_rng(sum(map(ord, section)))
    n = next(number for (_, name), number in SPOTS.items() if name == section)
    truth = rng.normal(rng.normal(), 1, (n, len(GENES))).astype(np.float32)
    truth[:, -1] *= section == "B1"
    noise = np.random.default_rng(seed).normal(size=truth.shape)
    return truth, (0.5 * truth + noise + (section == "A2")).astype(np.float32)


def write(folder, patient, targets, seed=0):
    """Write what a prediction of one fold, all sections of a patient, leaves."""
    blocks = []
    for owner, section in SPOTS:
        if owner != patient:
            continue
        truth, predicted = values(section, seed)
        importance = np.arange(len(GENES))[::-1] / 10 + (patient == "B")
        told = {"importance_truth": importance, "importance_prediction": importance[::-1]}
        blocks.append(pd.DataFrame({
            "patient": patient, "section": section, "gene": GENES,
            "kind": [TARGET if gene in targets else AUXILIARY for gene in GENES],
            "n_spots": len(truth), "n_labelled": 0 if section == "A2" else len(truth),
            **moments(truth, predicted), **told,
        }).astype(dict.fromkeys(NUMBERS, np.float32))[list(COLUMNS)])  # fmt: skip
    write_table(pd.concat(blocks), folder / patient / "every_gene.parquet")


@pytest.fixture
def method(tmp_path):
    """g0 is a target in both folds, g1 in that of patient A only, g2 and g3 in none."""
    for seed in (0, 1):
        folder = tmp_path / f"net.seed{seed}"
        write(folder, "A", {"g0", "g1"}, seed)
        write(folder, "B", {"g0"}, seed)
    found = files_in((tmp_path / f"net.seed{seed}" / fold for seed in (0, 1) for fold in "AB"), level=1)
    assert list(found) == ["net.seed0", "net.seed1"]
    return ScoredMethod("net", "deep", [], [], 2, every_gene=list(found.values()))


def r(section, gene, seed):
    truth, predicted = (side[:, GENES.index(gene)] for side in values(section, seed))
    return np.corrcoef(truth, predicted)[0, 1] if np.ptp(truth) else np.nan


def pooled(patient, gene, seed):
    both = [values(section, seed) for owner, section in SPOTS if owner == patient]
    truth, predicted = (np.concatenate([one[side][:, GENES.index(gene)] for one in both]) for side in (0, 1))
    return np.corrcoef(truth, predicted)[0, 1]


def tables(method):
    return further_tables([method, ScoredMethod("plain", "deep", [], [], 2)], 10, 100, 0)


def test_averages_are_over_sections_patients_genes_and_seeds(method):
    table = tables(method)["auxiliary"].set_index("kind")
    assert list(table.index) == [TARGET, AUXILIARY] and set(table["method"]) == {"net"}
    # section B2 has six spots, too few for an r of its own, while it counts where sections are pooled
    gene = {
        name: np.mean(
            [np.mean([np.mean([r("A1", name, s), r("A2", name, s)]), r("B1", name, s)]) for s in (0, 1)]
        )
        for name in ("g0", "g2", "g3")
    }
    of_a = np.mean([np.mean([r("A1", "g1", s), r("A2", "g1", s)]) for s in (0, 1)])
    of_b = np.mean([r("B1", "g1", s) for s in (0, 1)])
    rare = np.mean([r("B1", "rare", s) for s in (0, 1)])
    assert table.loc[TARGET, "pearson"] == pytest.approx(np.mean([gene["g0"], of_a]), abs=1e-6)
    assert table.loc[AUXILIARY, "pearson"] == pytest.approx(
        np.mean([of_b, gene["g2"], gene["g3"], rare]), abs=1e-6
    )
    whole = {name: np.mean([pooled(p, name, s) for p in "AB" for s in (0, 1)]) for name in ("g0", "g2", "g3")}
    one = np.mean([pooled("A", "g1", s) for s in (0, 1)])
    assert table.loc[TARGET, "pearson_pooled"] == pytest.approx(np.mean([whole["g0"], one]), abs=1e-5)
    assert list(table["n_genes"]) == [2, 4] and list(table["n_undefined"]) == [0, 0]
    assert table["n_positive"].between(1, table["n_genes"]).all()
    assert (table["pearson_low"] <= table["pearson"]).all() and (
        table["pearson"] <= table["pearson_high"]
    ).all()


def test_errors_count_every_section_also_short_ones(method):
    table = tables(method)["every_gene"].set_index(["gene", "kind"])
    error = [
        np.mean([
            np.mean([np.mean((values(s, seed)[0][:, 2] - values(s, seed)[1][:, 2]) ** 2) for o, s in SPOTS if o == p])
            for p in "AB"
        ])
        for seed in (0, 1)
    ]  # fmt: skip
    assert table.loc[("g2", AUXILIARY), "mse"] == pytest.approx(np.mean(error), rel=1e-5)


def test_genes_that_no_forest_used_have_no_rank():
    """By name they would come in one order for the measurement and for every prediction."""
    importance = np.array([0.0, 0.3, 0.0, np.nan, 0.5, 0.3])
    np.testing.assert_array_equal(_ranks(importance), [np.nan, 2, np.nan, np.nan, 1, 2])
    assert np.isnan(_ranks(np.zeros(4))).all()


def test_a_gene_that_is_a_target_in_some_folds_has_a_row_of_each_kind_and_one_rank(method):
    table = tables(method)["every_gene"]
    assert list(table) == list(columns_of("every_gene"))
    assert table.groupby("gene")["kind"].agg(list).to_dict() == {
        "g0": [TARGET], "g1": [TARGET, AUXILIARY], "g2": [AUXILIARY], "g3": [AUXILIARY], "rare": [AUXILIARY],
    }  # fmt: skip
    ranks = table.drop_duplicates("gene").set_index("gene")
    assert list(ranks.loc[GENES, "rank_truth"]) == [1, 2, 3, 4, 5]
    assert list(ranks.loc[GENES, "rank_prediction"]) == [5, 4, 3, 2, 1]
    # A2 has no labels and B2 has too few: the mean over A1 and B1
    assert ranks.loc["g0", "importance_truth"] == pytest.approx((0.4 + 1.4) / 2)


def test_few_spots_are_those_of_the_experiment(method):
    paths = method.every_gene[0]
    short = [key == ("B", "B2") for key in SPOTS]
    for least, defined in ((10, False), (5, True)):
        scores = read_every_gene(paths, least_spots=least)[""]
        at = [list(zip(scores.patients, scores.sections, strict=True)).index(key) for key in SPOTS]
        assert np.isfinite(scores["pearson"][np.array(at)[short]][:, :4]).all() == defined


def test_without_such_methods_the_tables_are_empty_and_as_declared(tmp_path):
    from histobench.results.catalogue import catalogue

    for name, table in further_tables([ScoredMethod("plain", "deep", [], [], 2)], 10, 100, 0).items():
        assert table.empty
        check(table, catalogue()[name], tmp_path)


def test_published_numbers_of_auxiliary_genes_are_set_beside_those_of_that_kind(method):
    own = tables(method)["auxiliary"].set_index("kind")
    for statistic, column in (("kind_pearson", "pearson_pooled"), ("kind_mse", "mse")):
        row = {"method": "net", "argument": AUXILIARY}
        assert STATISTICS[statistic](tables(method), row) == own.loc[AUXILIARY, column]
