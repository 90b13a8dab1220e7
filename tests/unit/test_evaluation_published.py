"""The ledger of published numbers, and what is set beside them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml

from histobench.errors import UserError
from histobench.evaluation import published
from histobench.files import read_table, write_table

FACTS = {
    "cohorts": ["hbcis"],
    "folds": "leave_one_patient_out",
    "methods": ["stnet", "nmf_composition", "histospace_photos", "brstnet_b0_aux"],
    "n_patients": 23,
    "transform": "stnet",
}


@pytest.fixture(scope="module")
def ledger(project):
    return published.read_ledger(project / "resources" / "published.tsv")


def result_tables():
    """Tables of an experiment in which everything has a value that tells where it came from."""
    genes = pd.DataFrame(
        {
            "method": np.repeat(["stnet", "nmf_composition"], 3),
            "gene": ["GNAS", "FASN", "XBP1"] * 2,
            "median_pearson": [0.36, 0.2, -0.1, 0.3, 0.25, -0.2],
            "mean_pearson": [0.35, 0.4, 0.05, 0, 0, 0],
            "pearson_smoothed": [0.5, 0.4, 0.3, 0, 0, 0],
            "n_positive": [22, 20, 4, 0, 0, 0],
        }
    )
    methods = ["stnet", "nmf_composition", "histospace_photos"]
    confusion = [(0, "tumour", 10), (0, "normal", 70), (1, "tumour", 60), (1, "normal", 5)]
    return {
        "genes": genes,
        "leaderboard": pd.DataFrame(
            {"method": methods, "pearson": [0.14, 0.1, 0.1], "n_positive": 240, "n_genes": 250,
             "train_seconds": 60.0}
        ),
        "metrics": pd.DataFrame(
            {"method": ["stnet", "histospace_photos"], "metric": ["rmse", "pearson_per_spot"], "value": [0.33, 0.6]}
        ),
        "patients": pd.DataFrame({"method": "stnet", "patient": ["A", "B"], "pearson_pooled": [0.1, 0.2]}),
        "sections": pd.DataFrame({"method": ["stnet"] * 2, "section": ["B1", "B2"], "pearson": [0.2, 0.3],
                                  "n_spots": [300, 400]}),
        "consistency_curve": pd.DataFrame({"method": "stnet", "k": range(24), "n_genes": range(250, 226, -1)}),
        "consistency_summary": pd.DataFrame(
            {"method": "stnet", "spots": ["all", "tumour"], "n_consistent_holm": [99, 12],
             "n_positive_median": [243, 200]}
        ),
        "consistency": pd.DataFrame({"method": "stnet", "spots": "tumour", "n_positive": [20] * 61 + [19] * 189}),
        "section_genes": pd.DataFrame(columns=["method", "section", "gene", "value", "n_spots"]),
        "histories": pd.DataFrame(columns=["method", "training"]),
        "domains": pd.DataFrame({"method": ["stnet"], "section": ["B1"], "values": ["predicted"], "ari": [0.3]}),
        "confusion": pd.DataFrame(confusion, columns=["cluster", "label", "n_spots"]).assign(
            method="histospace_photos", section="B1", kind="two_clusters", values="predicted"
        ),
    }  # fmt: skip


def find(table, **conditions):
    for column, value in conditions.items():
        table = table[table[column] == value]
    assert len(table) == 1, table
    return table.iloc[0]


def test_ledger_is_complete_and_its_methods_and_cohorts_exist(ledger, project):
    assert len(ledger) > 250 and not ledger.duplicated().any()
    known = set()
    for file in (project / "config" / "methods").glob("*.yaml"):
        arms = yaml.safe_load(file.read_text()).get("arms") or {}
        known |= {file.stem, *(f"{file.stem}_{arm}" for arm in arms)}
    assert set(ledger["method"]) - {"*"} <= known
    cohorts = {file.stem for file in (project / "config" / "cohorts").glob("*.yaml")}
    assert set(ledger["cohort"]) <= cohorts
    assert set(ledger["paper"]) == {"ST-Net", "BrST-Net", "HE2Gene", "Hist2ST", "THItoGene", "HistoSPACE"}
    for column in ("quantity", "unit", "citation", "source"):
        assert (ledger[column] != "").all(), column
    assert (ledger.loc[ledger["comparable"] == "no", "reason"] != "").all(), "every flag says why"
    assert set(ledger["statistic"]) - {""} == set(published.STATISTICS), "no statistic without a number"


def test_ledger_adds_up(ledger):
    """Numbers of the papers that depend on each other."""
    counts = ledger[(ledger["statistic"] == "genes_in_at_least") & (ledger["method"] == "stnet")]
    assert counts.set_index("argument")["value"].astype(int).to_dict() == {
        "23": 17, "22": 37, "21": 65, "20": 102, "19": 137, "18": 176, "17": 205, "16": 223}  # fmt: skip
    bars = ledger[ledger["statistic"] == "genes_mean_between"].set_index("argument")["value"].astype(int)
    assert bars["0:2"] == 237 == bars.drop("0:2").sum()
    factor = float(find(ledger, argument="rmse_factor")["value"])
    rmse = float(find(ledger, argument="rmse", paper="ST-Net")["value"])
    assert factor == pytest.approx(np.exp(rmse), abs=0.005)
    assert len(ledger[(ledger["paper"] == "BrST-Net") & (ledger["source"] == "Table 2")]) == 40
    assert len(ledger[(ledger["paper"] == "HE2Gene") & (ledger["source"] == "Table 2")]) == 9 * 6 + 7 * 2


def test_ours_stands_beside_theirs_with_the_difference(ledger):
    table = published.compare(ledger, result_tables(), FACTS)
    assert tuple(table.columns) == published.PUBLISHED_COLUMNS
    gnas = find(table, gene="GNAS", quantity="median r", paper="ST-Net")
    assert (gnas["published"], gnas["ours"], gnas["comparison"]) == (0.34, 0.36, "comparable")
    assert gnas["difference"] == pytest.approx(0.02) and "chosen on all patients" in gnas["reason"]
    expected = {
        "genes consistent over patients, tumour spots only": 61,
        "genes with positive median r": 243,
        "genes with r > 0 in at least 20 patients": 230,
        "mean over genes of the median r": (0.36 + 0.2 - 0.1) / 3,
        "genes with median r above 0.2": 1,
        "genes with higher median r than nmf_composition": 2,
        "RMSE": 0.33,
    }
    for quantity, ours in expected.items():
        row = find(table, quantity=quantity, method="stnet", paper="ST-Net")
        assert row["ours"] == pytest.approx(ours), quantity
        assert row["difference"] == pytest.approx(ours - row["published"])
    assert find(table, quantity="spots", paper="ST-Net")["ours"] == 700, "about the cohort, not a method"


def test_what_cannot_be_compared_is_flagged_and_has_no_difference(ledger):
    table = published.compare(ledger, result_tables(), FACTS)
    flagged = table[table["comparison"] != "comparable"]
    assert flagged["difference"].isna().all() and (flagged["reason"] != "").all()
    assert "Other target" in find(table, method="histospace_photos", unit="Pearson r over genes")["reason"]
    tcga = table[table["published_protocol"].str.startswith("tcga_brca")]
    assert len(tcga) and (tcga["comparison"] == "not comparable").all()
    assert find(table, gene="ACTG1", quantity="median r", paper="ST-Net")["comparison"] == "missing"
    assert "not in the panel" in find(table, gene="ACTG1", quantity="median r", paper="ST-Net")["reason"]
    failed = table[table["method"] == "brstnet_b0_aux"]
    assert len(failed) and (failed["comparison"] != "comparable").all()
    assert set(table["method"]) == {*FACTS["methods"], "*"}, "no row for methods that are not configured"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cohorts": ["her2st"]}, "Other cohort: published on hbcis"),
        ({"transform": "log1p_cp10k"}, "Other target: published for stnet, here log1p_cp10k"),
        ({"folds": "leave_one_section_out"}, "here with other sections of the tested patient in training"),
        ({"n_patients": 8}, "Other patients: published for 23, here 8"),
        (
            {"folds": "k_fold_patients"},
            "Other folds: published for leave one patient out, here k fold patients",
        ),
        ({"changed": ["panel of genes"]}, "Other settings: this configuration changes panel of genes"),
        ({"changed_methods": ["stnet"]}, "Other settings: this configuration changes those of the method"),
    ],
)
def test_another_protocol_makes_numbers_incomparable(ledger, change, words):
    table = published.compare(ledger, result_tables(), {**FACTS, **change})
    row = find(table, quantity="genes with r > 0 in at least 20 patients", method="stnet")
    assert row["comparison"] == "not comparable" and words in row["reason"]
    assert np.isnan(row["difference"]) and row["ours"] == 230, "ours is printed all the same"


def test_per_spot_scores_are_compared_with_per_spot_scores_and_say_so(ledger):
    table = published.compare(ledger, result_tables(), {**FACTS, "transform": "log10_cp10k"})
    row = find(table, method="histospace_photos", unit="Pearson r over genes")
    assert row["difference"] == pytest.approx(0.04) and "mean profile" in row["reason"]


def test_two_clusters_are_matched_either_way(ledger):
    facts = {**FACTS, "cohorts": ["her2st"], "transform": "log10_cp10k", "folds": "external"}
    table = published.compare(ledger, result_tables(), facts)
    row = find(table, unit="spots of 295")
    assert (row["ours"], row["published"], row["comparison"]) == (130, 258, "comparable")


def test_files_go_in_and_a_file_comes_out(project, tmp_path):
    for name, table in result_tables().items():
        write_table(table, tmp_path / f"{name}.tsv")
    published.write_published(
        ledger_tsv=project / "resources" / "published.tsv",
        tables=sorted(tmp_path.glob("*.tsv")),
        output=tmp_path / "out" / "published.tsv",
        facts=FACTS,
    )
    table = read_table(tmp_path / "out" / "published.tsv")
    assert (table["comparison"] == "comparable").sum() >= 15


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"statistic": "nonsense"}, r"line 2: statistic `nonsense` is unknown"),
        ({"value": "many"}, "line 2: value 'many' is no number"),
        ({"statistic": "", "comparable": "yes"}, "yes needs a statistic"),
    ],
)
def test_a_wrong_line_of_the_ledger_is_one_sentence(ledger, tmp_path, change, words):
    write_table(ledger.head(2).assign(**{k: [v, ""] if k != "value" else [v, "1"] for k, v in change.items()})
                if "comparable" not in change else ledger.head(1).assign(**change), tmp_path / "l.tsv")  # fmt: skip
    with pytest.raises(UserError, match=words):
        published.read_ledger(tmp_path / "l.tsv")
    write_table(ledger.drop(columns="unit").head(1), tmp_path / "l.tsv")
    with pytest.raises(UserError, match="column `unit` is missing"):
        published.read_ledger(tmp_path / "l.tsv")
