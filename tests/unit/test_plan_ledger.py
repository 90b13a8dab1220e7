"""Every published number stands beside one of the default run, or says truthfully why none can."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from histobench.config.benchmark import Benchmark
from histobench.config.files import merge
from histobench.evaluation.published import STATISTICS, compare, read_ledger
from histobench.evaluation.statistics import consistency
from histobench.plan.ledger import paper_experiments, published_facts, reached
from histobench.yamlfiles import read_yaml

# Cohorts that the default run leaves out, of which published numbers exist.
NOT_RUN = {"tcga_brca": "gdc-manifest"}


@pytest.fixture(scope="module")
def ledger(project):
    return read_ledger(project / "resources/published.tsv")


def full(project, **changes):
    return Benchmark(merge(read_yaml(project / "config/config.yaml"), changes), project)


@pytest.fixture(scope="module")
def found(project, ledger):
    return list(reached(ledger, full(project)))


def test_every_row_reaches_an_experiment_of_the_default_run_or_carries_a_true_reason(found):
    wrong = []
    for line, (row, experiments, obstacle) in enumerate(found, start=2):
        if not experiments and not (row["cohort"] in NOT_RUN and NOT_RUN[row["cohort"]] in row["reason"]):
            wrong.append(f"line {line}, {row['method']}, {row['quantity']}: {obstacle}")
    assert not wrong, "\n".join(wrong)


def test_what_is_not_compared_says_so_truthfully(found, project):
    """Reasons that speak of what this benchmark lacks are wrong as soon as it has it."""
    arms = {arm for value in full(project).experiments.values() for arm in value["methods"]}
    assert {"stnet_head_only", "stnet_random_start"} <= arms
    for row, _, _ in found:
        assert "no table of this benchmark holds" not in row["reason"], row["quantity"]
        assert "not a task of this benchmark" not in row["reason"], row["quantity"]
        assert not ("without an arm" in row["reason"] and row["method"] in arms), row["quantity"]


def test_genes_of_a_fixed_panel_are_in_it(found, project):
    bench = full(project)
    for row, experiments, _ in found:
        for name in experiments if row["gene"] else ():
            panel = bench.described(name)["panel"]
            if panel["rule"] == "file":
                assert row["gene"] in (project / panel["file"]).read_text().split(), (name, row["gene"])


def test_published_symbols_are_the_approved_ones_that_cohorts_are_read_with(ledger, project):
    symbols = set(approved(project))
    assert {gene for gene in ledger["gene"].unique() if gene} <= symbols


def approved(project):
    return pd.read_csv(project / "resources/hgnc_ensembl_symbol.tsv.gz", sep="\t")["symbol"]


@pytest.mark.parametrize(
    ("experiment", "change", "words"),
    [
        ("hbcis_he2gene", {"methods": {"he2rna": {"enabled": False}}}, "no experiment"),
        ("hbcis_stnet", {"methods": {"nuclei_forest": {"enabled": False}}}, "does not configure nuclei_forest"),
        ("hbcis_histospace", {"external": []}, "Other cohort: published on her2st"),
        ("cscc_loso", {"methods": {"thitogene_no_capsules_weak": {"enabled": False}}}, "does not configure thitogene_depth8"),
        ("hbcis_histospace", {"methods": {"histospace_photos_ae1": {"enabled": False}}}, "no experiment"),
        ("hbcis_brstnet", {"transform": "stnet"}, "Other target"),
    ],
)  # fmt: skip
def test_a_row_that_loses_its_experiment_is_found_and_says_what_stands_in_the_way(
    project, ledger, experiment, change, words
):
    bench = full(project, experiments={experiment: change})
    lost = [
        obstacle
        for row, names, obstacle in reached(ledger, bench)
        if not names and row["cohort"] not in NOT_RUN
    ]
    assert lost and any(words in obstacle for obstacle in lost), lost


@pytest.mark.parametrize(
    ("change", "keys", "methods"),
    [
        ({}, [], []),
        ({"experiments": {"hbcis_stnet": {"title": "Mine", "further_seeds": [1]}}}, [], []),
        ({"experiments": {"hbcis_stnet": {"folds": {"scheme": "k_fold_patients", "k": 5}}}}, ["folds"], []),
        ({"experiments": {"hbcis_stnet": {"panel": {"size": 50}}}}, ["panel of genes"], []),
        ({"experiments": {"hbcis_stnet": {"panel": {"size": 250}}}}, [], []),
        ({"qc_profiles": {"stnet": {"min_umi": 1}}}, ["quality control"], []),
        ({"qc_profiles": {"stnet": {"title": "As ST-Net"}}}, [], []),
        ({"experiments": {"hbcis_stnet": {"methods": {"stnet": {"params": {"epochs": 2}}}}}}, [], ["stnet"]),
        ({"experiments": {"hbcis_stnet": {"methods": {"stnet": {"window": {"px": 112}}}}}}, [], ["stnet"]),
        ({"methods": {"nuclei_forest": {"title": "Forest"}}}, [], []),
        ({"methods": {"random_forest": {"params": {"trees": 3}}}}, [], []),
    ],
)  # fmt: skip
def test_what_a_configuration_changes_of_a_repeated_protocol_is_known(project, change, keys, methods):
    facts = published_facts(full(project, **change), "hbcis_stnet")
    assert (facts["changed"], facts["changed_methods"]) == (keys, methods)
    branch = published_facts(full(project, **change), "hbcis_stnet/external/visium_breast")
    assert (branch["changed"], branch["changed_methods"], branch["folds"]) == (keys, methods, "external")


def test_five_folds_are_not_set_against_one_patient_in_turn(project, ledger):
    """The experiment of genes apart trains ST-Net, too, on four fifths of the patients."""
    for row, experiments, _ in reached(ledger, full(project)):
        if row["comparable"] == "yes" and row["statistic"] not in ("n_spots", "n_genes"):
            assert "hbcis_stnet_genes" not in experiments, row["quantity"]


def test_the_fast_benchmark_states_no_difference_to_what_was_trained_otherwise(project, ledger):
    fast = Benchmark(
        merge(read_yaml(project / "config/config.yaml"), read_yaml(project / "config/fast.yaml")), project
    )
    facts = published_facts(fast, "hbcis_stnet")
    genes = pd.DataFrame({"method": ["stnet"], "gene": ["GNAS"], "median_pearson": [0.3]})
    tables = {"genes": genes, "leaderboard": pd.DataFrame({"method": ["stnet"]})}
    rows = ledger[(ledger["method"] == "stnet") & (ledger["statistic"] == "gene_median_pearson")]
    table = compare(rows, tables, facts)
    assert len(table) and table["comparison"].eq("not comparable").all() and table["difference"].isna().all()
    assert table["reason"].str.contains("Other settings").all()


def test_both_forms_of_thitogene_stand_beside_its_numbers(ledger, found):
    own = ledger[(ledger["paper"] == "THItoGene") & ~ledger["method"].isin(["*", "histogene", "hist2st"])]
    keys = ["quantity", "gene", "section"]
    forms = [set(map(tuple, own.loc[own["method"] == name, keys].to_numpy())) for name in ("thitogene", "thitogene_as_released")]  # fmt: skip
    assert forms[0] == forms[1] and len(forms[0]) == 5


def counts(positive, n_patients):
    """r per patient and gene with so many positive patients, for a list of (genes, positive patients)."""
    columns = [k for genes, k in positive for _ in range(genes)]
    return np.array([[0.1 if patient < k else -0.1 for k in columns] for patient in range(n_patients)])


# Genes by the number of positive patients, as ST-Net's repository lists them for its baselines.
@pytest.mark.parametrize(
    ("positive", "n_patients", "limit", "in_at_least", "holm"),
    [
        ([(17, 23), (20, 22), (28, 21), (37, 20), (148, 12)], 23, 20, 102, 102),  # ST-Net: the two agree
        ([(4, 23), (5, 22), (9, 21), (16, 20), (216, 12)], 23, 20, 34, 18),  # nuclei, eight numbers
        ([(8, 21), (4, 20), (13, 19), (10, 18), (215, 11)], 21, 18, 35, 25),  # tumour label
        ([(0, 23), (45, 21), (30, 20), (175, 12)], 23, 20, 75, 45),  # one gene short of 46
        ([(0, 23), (46, 21), (30, 20), (174, 12)], 23, 20, 76, 76),
    ],
)
def test_genes_in_at_least_20_patients_are_not_holms_genes(positive, n_patients, limit, in_at_least, holm):
    """The published numbers are counts; Holm's p finds as many only where enough genes are better still."""
    test = consistency(counts(positive, n_patients))
    assert int((test.n_positive >= limit).sum()) == in_at_least
    assert int((test.p_holm < 0.05).sum()) == holm


def test_counts_are_compared_with_counts(ledger):
    own = ledger[(ledger["paper"] == "ST-Net") & ledger["quantity"].str.startswith("genes consistent")]
    tests = own[own["statistic"] == "n_consistent_holm"]
    assert list(tests["value"]) == ["102"], "the one number that the paper states as a corrected p"
    assert (own["statistic"].str.startswith("genes_in_at_least") | own.index.isin(tests.index) | (own["comparable"] == "no")).all()  # fmt: skip


def tables_of_one_section():
    scores = pd.DataFrame(
        [("hist2st", "B1", "GNAS", 0.5, 300), ("hist2st", "B2", "GNAS", 0.6, 20), ("hist2st", "B3", "GNAS", -0.2, 300),
         ("hist2st", "B3", "FASN", np.nan, 300)],
        columns=["method", "section", "gene", "value", "n_spots"],
    )  # fmt: skip
    histories = pd.DataFrame(
        {"method": "histospace_photos", "training": [0, 0, 0, 1, 1], "valid_reconstruction": [0.5, 0.3, np.nan, 0.2, 0.4]}
    )  # fmt: skip
    spots = [("tumour", 21), ("tumour", 20), ("tumour", 19), ("normal", 18), ("normal", 17), ("all", 23)]
    return {
        "section_genes": scores,
        "histories": histories,
        "consistency": pd.DataFrame(spots, columns=["spots", "n_positive"]).assign(method="stnet"),
    }


@pytest.mark.parametrize(
    ("statistic", "row", "value"),
    [
        ("gene_section_pearson", {"method": "hist2st", "gene": "GNAS", "section": "B1"}, 0.5),
        ("gene_section_pearson", {"method": "hist2st", "gene": "GNAS", "section": "C1"}, np.nan),
        # r of 0.5 over 300 spots is rarer than 0.6 over 20
        ("gene_best_section_pearson", {"method": "hist2st", "gene": "GNAS"}, 0.5),
        ("gene_best_section_pearson", {"method": "hist2st", "gene": "FASN"}, np.nan),
        ("history_best", {"method": "histospace_photos", "argument": "valid_reconstruction"}, 0.25),
        ("history_best", {"method": "stnet", "argument": "valid_reconstruction"}, np.nan),
        ("genes_in_at_least_tumour", {"method": "stnet", "argument": "20"}, 2),
        ("genes_in_at_least_normal", {"method": "stnet", "argument": "18"}, 1),
        ("genes_in_at_least_normal", {"method": "knn", "argument": "18"}, np.nan),
    ],
)
def test_numbers_of_single_sections_and_of_histories_are_found(statistic, row, value):
    assert STATISTICS[statistic](tables_of_one_section(), row) == pytest.approx(value, nan_ok=True)


def test_photographs_are_a_cohort_of_the_method_that_learns_from_them(project, ledger):
    facts = published_facts(full(project), "hbcis_histospace")
    assert facts["photos"]["histospace_photos"] == "bach" and "histospace" not in facts["photos"]
    rows = ledger[ledger["cohort"] == "bach"]
    empty = pd.DataFrame({"method": [], "gene": []})
    tables = {
        **tables_of_one_section(),
        "leaderboard": pd.DataFrame({"method": ["histospace_photos"]}),
        "genes": empty,
    }
    compared = compare(rows, tables, facts).set_index("method")["comparison"]
    assert compared["histospace_photos"] == "comparable"
    assert compare(rows, tables, {**facts, "photos": {}})["comparison"].eq("not comparable").all()


def test_paper_experiments_are_those_that_test_somebody(project):
    names = paper_experiments(full(project))
    assert "hbcis_histospace/external/her2st" in names and "hbcis_lopo" not in names
