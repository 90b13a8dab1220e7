"""A gene that a section does not measure is not measured, never zero; what was never found is zero."""

from __future__ import annotations

import logging

import anndata
import numpy as np
import pandas as pd
import pytest
from unit.qc_limits import set_limits
from unit.section_files import section_adata

from histobench.cohorts.table import not_measured, refuse_ambiguous_genes, write_gene_table
from histobench.errors import UserError
from histobench.evaluation.ceiling import noise_ceiling, read_panel_counts
from histobench.evaluation.metrics import gene_metrics
from histobench.evaluation.score import read_scored_section, score_sections
from histobench.expression.importance import importances
from histobench.expression.panels import gene_statistics, select_panel, write_panel
from histobench.expression.qc import write_section_qc
from histobench.expression.transforms import Transform
from histobench.files import read_table
from histobench.training.load import load_section
from histobench.training.run import train

GENES = ["ACTB", "ERBB2", "GNAS"]


def stored(folder, name, genes, *, absent="unmeasured", ids=None, n=24):
    counts = np.random.default_rng(len(genes) + n).poisson(6, (n, len(genes)))
    adata = section_adata(counts, genes, section=name, patient=f"P{name}", labels=None)
    if ids is not None:
        adata.var["gene_id"] = ids
    if absent != "zero":
        adata.uns["genes_absent"] = absent
    adata.write_h5ad(folder / f"{name}.h5ad", convert_strings_to_categoricals=False)
    return folder / f"{name}.h5ad"


@pytest.fixture
def two(tmp_path):
    return stored(tmp_path, "A", GENES), stored(tmp_path, "B", ["ACTB", "GNAS"])


def test_a_gene_that_one_section_does_not_measure_is_in_no_panel(two, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        write_panel(
            h5ads=two, size=2, output_panel=tmp_path / "p.tsv", output_universe=tmp_path / "u.tsv",
            output_dropped=tmp_path / "d.tsv",
        )  # fmt: skip
    assert sorted(read_table(tmp_path / "p.tsv")["gene"]) == ["ACTB", "GNAS"]
    assert read_table(tmp_path / "u.tsv")["gene"].tolist() == ["ACTB", "GNAS"]
    assert read_table(tmp_path / "d.tsv").to_dict("records") == [{"gene": "ERBB2", "reason": "not_measured"}]
    assert "1 genes are not measured by every section: ERBB2" in caplog.text


@pytest.mark.parametrize("rule", ["top_mean", "all", "file"])
def test_no_rule_takes_a_gene_that_is_not_measured_everywhere(two, rule):
    panel, dropped = select_panel(gene_statistics(two), rule=rule, size=2, genes=["ERBB2", "GNAS"])
    assert "ERBB2" not in set(panel["gene"]) and dict(dropped.values.tolist())["ERBB2"] == "not_measured"


def test_a_gene_that_was_never_found_counts_as_zero(tmp_path):
    """Tables of whole transcriptomes leave out what has no count."""
    paths = [
        stored(tmp_path, "A", GENES, absent="zero"),
        stored(tmp_path, "B", ["ACTB", "GNAS"], absent="zero"),
    ]
    statistics = gene_statistics(paths)
    assert statistics.unmeasured == frozenset()
    alone = gene_statistics(paths[:1])
    assert statistics.mean[1] == alone.mean[1] / 2
    loaded = load_section(paths[1], panel=GENES, all_genes=GENES)
    assert (loaded.data.targets[:, 1] == 0).all()


def test_layouts_may_be_mixed(tmp_path):
    paths = [stored(tmp_path, "A", GENES, absent="zero"), stored(tmp_path, "B", ["ACTB", "GNAS"])]
    assert gene_statistics(paths).unmeasured == {"ERBB2"}
    paths = [stored(tmp_path, "A", GENES), stored(tmp_path, "B", ["ACTB", "GNAS"], absent="zero")]
    assert gene_statistics(paths).unmeasured == frozenset()


def test_what_a_section_does_not_measure_has_no_truth(two):
    loaded = load_section(two[1], panel=GENES, all_genes=GENES)
    assert np.isnan(loaded.data.targets[:, 1]).all() and np.isfinite(loaded.data.targets[:, [0, 2]]).all()
    full = load_section(two[0], panel=GENES, all_genes=GENES)
    assert np.isfinite(full.data.targets).all() and loaded.data.targets.dtype == full.data.targets.dtype
    assert not_measured(anndata.read_h5ad(two[1]), GENES).tolist() == [False, True, False]


def prediction(folder, path, values):
    loaded = load_section(path, panel=GENES, all_genes=GENES)
    from histobench.training.contract import Prediction
    from histobench.training.run import write_prediction

    about = {**Transform.of("log1p_cp10k").marks, "n_genes_measured": 3, "patient": "P", "section": path.stem}
    loaded.obs["patient"] = "P"
    write_prediction(folder / f"{path.stem}.pred.h5ad", loaded, Prediction(values), tuple(GENES), about)
    return read_scored_section(folder / f"{path.stem}.pred.h5ad")


def test_it_is_scored_where_it_is_measured_only(two, tmp_path):
    values = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
    first, second = (prediction(tmp_path, path, values) for path in two)
    table = score_sections([first, second])
    per_gene = table[
        (table["gene"] == "ERBB2")
        & table["metric"].isin(["pearson", "rmse", "pearson_smoothed", "mean_truth"])
    ]
    assert per_gene.loc[per_gene["section"] == "A", "value"].notna().all()
    assert per_gene.loc[per_gene["section"] == "B", "value"].isna().all()
    others = table[
        (table["section"] == "B") & table["gene"].isin(["ACTB", "GNAS"]) & (table["metric"] == "pearson")
    ]
    assert others["value"].notna().all() and len(others) == 2


def test_its_ceiling_is_not_known_where_it_is_not_measured(two):
    sections = [read_panel_counts(path, GENES) for path in two]
    table = noise_ceiling(sections, GENES, transform="log1p_cp10k", n_genes=3)
    ceiling = table[(table["gene"] == "ERBB2") & (table["metric"] == "ceiling")].set_index("section")
    assert np.isnan(ceiling.loc["B", "value"]) and len(ceiling) == 4


def test_a_forest_of_tumour_genes_leaves_it_out():
    values = np.random.default_rng(0).normal(size=(30, 3))
    values[:, 1] = np.nan
    found = importances(values, np.repeat([0.0, 1.0], 15), 0)
    assert np.isnan(found[1]) and found[[0, 2]].sum() == pytest.approx(1)
    assert np.isnan(gene_metrics(values, np.zeros((30, 3)))["pearson"][1])


def test_training_on_a_section_that_lacks_a_gene_is_refused(two, tmp_path):
    pd.DataFrame({"gene": GENES}).to_csv(tmp_path / "g.tsv", sep="\t", index=False)
    with pytest.raises(UserError, match=r"section B does not measure ERBB2 \(1 genes of the panel in all\)"):
        train(
            entry="histobench.methods.train_mean:TrainMean", params={}, needs={}, roles={"A": "train", "B": "train"},
            sections={"A": {"h5ad": two[0]}, "B": {"h5ad": two[1]}}, fold="1", panel_tsv=tmp_path / "g.tsv",
            genes_tsv=tmp_path / "g.tsv", transform="log1p_cp10k", output_weights=tmp_path / "m/weights.pt",
            output_history=tmp_path / "m/h.tsv", output_run=tmp_path / "m/r.json", experiment="e", method="m",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (
            [("TBCE.E1", "E1"), ("TBCE.E2", "E2")],
            [("TBCE", "E1")],
            "gene E1 is called TBCE, but TBCE.E1 in a",
        ),
        ([("ACTB", "E1")], [("ACTB", "E2")], "gene ACTB has the identifier E2, but E1"),
        ([("ENSG00000000001.1", "")], [("ENSG00000000001.2", "")], "gene ENSG00000000001 is called"),
        ([("OLD", "ENSG00000000001.1")], [("NEW", "ENSG00000000001.2")], "is called NEW, but OLD in a"),
        ([("ACTB", "ENSG00000000001")], [("ENSG00000000001", "")], "called ENSG00000000001, but ACTB in a"),
    ],
)
def test_a_name_means_one_gene_in_the_whole_cohort(first, second, says):
    listed = [
        pd.DataFrame(rows, columns=["gene", "gene_id"]).assign(path=path)
        for rows, path in ((first, "a"), (second, "b"))
    ]
    with pytest.raises(UserError, match=f"^b: .*{says}"):
        refuse_ambiguous_genes(pd.concat(listed))


def test_versions_of_one_identifier_and_missing_ones_are_the_same_gene(tmp_path):
    paths = [
        stored(tmp_path, "A", ["ACTB", "GNAS"], ids=["ENSG00000075624.1", ""]),
        stored(tmp_path, "B", ["ACTB", "GNAS"], ids=["ENSG00000075624.9", "ENSG00000087460"]),
    ]
    write_gene_table(paths, tmp_path / "genes.tsv")
    assert read_table(tmp_path / "genes.tsv")["gene_id"].tolist() == ["ENSG00000075624.1", "ENSG00000087460"]


def test_the_panel_is_refused_before_any_training_too(tmp_path):
    paths = [
        stored(tmp_path, "A", ["TBCE.E1", "TBCE.E2"], ids=["E1", "E2"]),
        stored(tmp_path, "B", ["TBCE", "GNAS"], ids=["E1", "E3"]),
    ]
    for act in (lambda: gene_statistics(paths), lambda: write_gene_table(paths, tmp_path / "genes.tsv")):
        with pytest.raises(UserError, match="gene E1 is called TBCE, but TBCE"):
            act()


def test_a_profile_that_drops_most_spots_says_so_loudly(two, tmp_path, caplog):
    adata = anndata.read_h5ad(two[0])
    adata.X[:20] = adata.X[:20] * 0
    adata.write_h5ad(two[0])
    with caplog.at_level(logging.WARNING):
        write_section_qc("he2gene", set_limits("he2gene"), two[0], tmp_path / "q.tsv")
    assert "profile he2gene drops" in caplog.text
