"""Comparisons across experiments: paired over what both score, honest about what else differs and what is missing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from histobench.evaluation.across import (
    CONTRAST_COLUMNS,
    QUESTIONS,
    TRANSFER_COLUMNS,
    contrast_table,
    transfer_table,
    write_comparisons,
)
from histobench.files import read_table, write_table
from histobench.report.page import write_report

PATIENTS, GENES = [f"P{n}" for n in range(8)], [f"G{n}" for n in range(20)]
OWN = np.random.default_rng(0).normal(0.2, 0.05, (8, 20))


def write_scores(folder, r, patients=PATIENTS, genes=GENES):
    """Write a metric file per patient with two sections, whose mean is ``r``."""
    for patient, row in zip(patients, r, strict=True):
        rows = [
            {"patient": patient, "section": f"{patient}_{n}", "gene": gene, "metric": "pearson",
             "value": value + shift, "n_spots": 50}
            for n, shift in ((1, 0.01), (2, -0.01))
            for gene, value in zip(genes, row, strict=True)
        ]  # fmt: skip
        write_table(pd.DataFrame(rows), folder / f"{patient}.parquet")


@pytest.fixture
def results(tmp_path):
    """Two experiments: with section-wise folds scores are 0.1 higher, less for one gene and patient more."""
    folder = tmp_path / "results"
    change = 0.1 + np.linspace(-0.02, 0.02, 8)[:, None] + np.zeros((8, 20))
    write_scores(folder / "fair" / "metrics" / "stnet", OWN)
    write_scores(folder / "leaky" / "metrics" / "stnet", OWN + change)
    # two seeds, other genes and patients besides the shared ones
    for seed, shift in ((1, 0.03), (2, -0.03)):
        write_scores(folder / "fair" / "metrics" / f"knn.seed{seed}", OWN + shift)
    write_scores(
        folder / "leaky" / "metrics" / "knn",
        np.pad(OWN[:5, :10], ((0, 1), (0, 1)), constant_values=0.9),
        [*PATIENTS[:5], "P99"],
        [*GENES[:10], "OTHER"],
    )
    write_scores(folder / "fair" / "metrics" / "depth", OWN)
    return folder


def pair(also=""):
    facts = {"stnet": "deep", "knn": "classical", "depth": "oracle"}
    return {
        "question": "folds", "base": "fair", "other": "leaky", "base_value": "leave one patient out",
        "other_value": "leave one section out",
        "methods": {name: {"family": family, "also_differs": also} for name, family in facts.items()},
    }  # fmt: skip


def folders(results):
    return sorted(results.glob("*/metrics/*"))


def test_a_change_is_paired_over_the_patients_and_genes_of_both(results):
    table = contrast_table([pair("panel of genes")], folders(results)).set_index("method")
    stnet, knn = table.loc["stnet"], table.loc["knn"]
    assert stnet["change"] == pytest.approx(0.1) and (stnet["n_patients"], stnet["n_genes"]) == (8, 20)
    assert stnet["pearson_base"] == pytest.approx(OWN.mean()) and stnet["also_differs"] == "panel of genes"
    # the patients are resampled: their changes spread by 0.04, though the genes of each agree
    assert 0.08 < stnet["change_low"] < 0.098 and 0.102 < stnet["change_high"] < 0.12
    each = 0.1 + np.linspace(-0.02, 0.02, 8)
    assert (
        stnet["p_wilcoxon"] == pytest.approx(stats.wilcoxon(each).pvalue) == stnet["smallest_p"] == 2 / 2**8
    )
    assert stnet["p_holm"] == pytest.approx(2 * stnet["p_wilcoxon"])  # two methods have a test
    assert (knn["n_patients"], knn["n_genes"]) == (5, 10)
    assert knn["change"] == pytest.approx(0, abs=1e-12)  # the mean of both seeds, on the shared part


def test_a_method_without_results_in_one_experiment_is_listed(results):
    table = contrast_table([pair()], folders(results))
    lost = table[table["method"] == "depth"].iloc[0]
    assert lost["note"] == "no results in leaky" and np.isnan(lost["change"])
    assert list(contrast_table([], []).columns) == list(CONTRAST_COLUMNS)
    assert list(transfer_table({}, {}).columns) == list(TRANSFER_COLUMNS)


@pytest.mark.slow
def test_a_change_of_nothing_is_found_no_more_often_than_the_level_allows(tmp_path):
    rng = np.random.default_rng(0)
    names = {f"m{n}": {"family": "deep", "also_differs": ""} for n in range(25)}
    for name in names:
        write_scores(tmp_path / "fair" / "metrics" / name, OWN)
        noise = rng.normal(0, 0.05, (8, 1)) + rng.normal(0, 0.05, (8, 20))
        write_scores(tmp_path / "leaky" / "metrics" / name, OWN + noise)
    table = contrast_table([{**pair(), "methods": names}], sorted(tmp_path.glob("*/metrics/*")))
    assert (table["p_wilcoxon"] < 0.05).sum() <= 5  # 1.25 expected; more than 5 in one of 500 draws
    assert (table["p_holm"] < 0.05).sum() <= 1


def test_the_page_finds_leakage_inflation_and_transfer_without_opening_an_experiment(results, tmp_path):
    board = pd.DataFrame({
        "method": ["stnet", "depth"], "family": ["deep", "oracle"], "pearson": [0.2, 0.3],
        "pearson_low": [0.1, 0.2], "pearson_high": [0.3, 0.4], "ceiling_fraction": [0.4, 0.6], "n_genes": 20,
    })  # fmt: skip
    tested = {
        "fair": {"trained_on": "home", "tested_on": "home", "arm": "held-out patients", "n_patients": 8},
        "fair/external/abroad": {"trained_on": "home", "tested_on": "abroad", "n_patients": 4,
                                 "arm": "other cohort, no training on it"},
    }  # fmt: skip
    boards = {name: results / name / "tables" / "leaderboard.tsv" for name in tested}
    write_table(board, boards["fair"])
    write_table(board.assign(pearson=board["pearson"] / 2), boards["fair/external/abroad"])
    paths = {name: tmp_path / f"{name}.tsv" for name in ("contrasts", "transfer")}
    write_comparisons(
        pairs=[pair("panel of genes")], tested=tested, metrics=folders(results), boards=boards,
        contrasts_tsv=paths["contrasts"], transfer_tsv=paths["transfer"],
    )  # fmt: skip
    transfer = read_table(paths["transfer"]).set_index(["method", "tested_on"])["pearson"]
    assert transfer["stnet", "home"] == 0.2 and transfer["stnet", "abroad"] == 0.1
    write_report({"across": paths}, tmp_path / "index.html")
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    page = html.split('id="across"')[1].split('<section class="page"')[0]
    asked, unasked = page.split('<details class="left-out">')
    assert "<h2>Leakage inflation</h2>" in asked and "Missing:" not in page
    for key, question in QUESTIONS.items():
        assert (f"<h2>{question.title}</h2>" in asked) == (key == "folds")
        assert (f"<strong>{question.title}</strong>" in unasked) == (key != "folds")
    assert "r is higher in 1 of 2 trained methods" in page  # an oracle is not trained, and has no pair
    assert "mean change +0.050" in page and "also differ in panel of genes" in page
    assert "no results in leaky" in page
    assert "no experiment of this run repeats another with another target transform" in page
    assert "abroad, trained on home (other cohort, no training on it): best is stnet with r = 0.100" in page
    for name in paths:  # a run of one experiment asks nothing: no page, one sentence
        write_table(read_table(paths[name]).head(0), paths[name])
    write_report({"across": paths}, tmp_path / "alone.html")
    alone = (tmp_path / "alone.html").read_text(encoding="utf-8")
    assert "#across" not in alone and 'id="across' not in alone and "no page across experiments" in alone
    write_report({}, tmp_path / "empty.html")
    assert "comparisons across experiments: not part of this run" in (tmp_path / "empty.html").read_text()
