"""Gene panels: the rule, ties, published lists, what is not measured, and that test sections have no say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from unit.qc_limits import limits
from unit.section_files import write_section

from histobench.errors import UserError
from histobench.expression.panels import gene_statistics, read_gene_file, select_panel, write_panel
from histobench.files import write_table

GENES = ["B", "A", "C", "D", "__ambiguous[X+Y]"]


@pytest.fixture
def sections(tmp_path):
    return [
        write_section(tmp_path, [[4, 4, 0, 1, 9], [4, 4, 0, 1, 9]], GENES, section="S1"),
        # Another order, and C is not listed: it counts as zero.
        write_section(tmp_path, [[6, 6, 100]], ["A", "B", "E"], section="S2"),
    ]


def test_statistics_over_sections_that_list_different_genes(sections):
    statistics = gene_statistics(sections)
    assert statistics.genes == ("A", "B", "C", "D", "E", "__ambiguous[X+Y]")
    assert statistics.n_spots == 3
    np.testing.assert_array_equal(statistics.total, [14, 14, 0, 2, 100, 18])
    np.testing.assert_array_equal(statistics.n_detected, [3, 3, 0, 2, 1, 2])


def test_statistics_over_kept_spots_only(sections):
    kept = {"S1": frozenset(["1x0"]), "S2": frozenset()}
    statistics = gene_statistics(sections, kept)
    assert statistics.n_spots == 1
    np.testing.assert_array_equal(statistics.total, [4, 4, 0, 1, 0, 9])
    with pytest.raises(UserError, match="no row for section S2"):
        gene_statistics(sections, {"S1": frozenset()})


def test_highest_means_with_ties_by_name(sections):
    panel, dropped = select_panel(gene_statistics(sections), size=4)
    assert list(panel["gene"]) == ["E", "__ambiguous[X+Y]", "A", "B"]
    assert list(panel["rank"]) == [1, 2, 3, 4]
    np.testing.assert_allclose(panel["statistic"], [100 / 3, 6, 14 / 3, 14 / 3])
    assert dropped.empty


def test_composite_features_can_be_left_out_and_are_counted(sections):
    panel, dropped = select_panel(gene_statistics(sections), size=3, drop_ambiguous=True)
    assert list(panel["gene"]) == ["E", "A", "B"]
    assert dropped.to_dict("records") == [{"gene": "__ambiguous[X+Y]", "reason": "ambiguous"}]


def test_profile_filters_genes_before_the_ranking(sections):
    panel, dropped = select_panel(gene_statistics(sections), size=2, limits=limits("he2gene"))
    assert list(panel["gene"]) == ["A", "B"], "E is high but in one spot only"
    assert set(dropped["gene"]) == {"C", "D", "E", "__ambiguous[X+Y]"}
    assert set(dropped["reason"]) == {"few_spots"}
    everything, _ = select_panel(gene_statistics(sections), rule="all", limits=limits("he2gene"))
    assert list(everything["gene"]) == ["A", "B"]


def test_published_list_keeps_its_order_and_names_what_is_not_measured(sections):
    panel, dropped = select_panel(gene_statistics(sections), rule="file", genes=["D", "ZZZ", "A"])
    assert list(panel["gene"]) == ["D", "A"]
    assert dropped.to_dict("records") == [{"gene": "ZZZ", "reason": "not_measured"}]


def test_panel_of_the_training_sections_ignores_the_test_section(sections, tmp_path):
    """Changing a test section must not change the panel, and scope "all" must let it."""
    write_panel(h5ads=sections[:1], output_panel=tmp_path / "train.tsv", size=1)
    write_panel(h5ads=sections, output_panel=tmp_path / "all.tsv", size=1, scope="all")
    assert pd.read_csv(tmp_path / "train.tsv", sep="\t")["gene"].tolist() == ["__ambiguous[X+Y]"]
    assert pd.read_csv(tmp_path / "all.tsv", sep="\t")["gene"].tolist() == ["E"]


def test_files_of_the_stage(sections, tmp_path):
    qc = pd.DataFrame({"section": ["S1", "S1", "S2"], "spot": ["0x0", "1x0", "0x0"], "keep": [1, 0, 1],
                       "keep_train": [1, 0, 1], "reason": ["", "low_umi", ""]})  # fmt: skip
    write_table(qc, tmp_path / "qc.tsv")
    (tmp_path / "list.txt").write_text("# published\nA\n\nZZZ\n")
    write_panel(
        h5ads=sections, qc_tables=[tmp_path / "qc.tsv"], rule="file", file=tmp_path / "list.txt",
        output_panel=tmp_path / "p.tsv", output_universe=tmp_path / "u.tsv",
        output_dropped=tmp_path / "d.tsv",
    )  # fmt: skip
    assert (tmp_path / "p.tsv").read_text() == "gene\trank\tstatistic\nA\t1\t5.0\n"
    universe = pd.read_csv(tmp_path / "u.tsv", sep="\t").set_index("gene")
    assert list(universe.index) == ["A", "B", "C", "D", "E", "__ambiguous[X+Y]"]
    assert universe.loc["A", ["n_spots", "total_counts"]].tolist() == [2, 10]
    assert (tmp_path / "d.tsv").read_text() == "gene\treason\nZZZ\tnot_measured\n"


def test_wrong_requests(sections, tmp_path):
    statistics = gene_statistics(sections)
    with pytest.raises(UserError, match="only 6 pass the filter"):
        select_panel(statistics, size=250)
    with pytest.raises(UserError, match="unknown"):
        select_panel(statistics, rule="hgv")
    with pytest.raises(UserError, match="no gene is left"):
        select_panel(statistics, rule="file", genes=["ZZZ"])
    with pytest.raises(UserError, match="does not exist"):
        read_gene_file(tmp_path / "none.txt")
    (tmp_path / "twice.txt").write_text("A\nB\nA\n")
    with pytest.raises(UserError, match="A is listed twice"):
        read_gene_file(tmp_path / "twice.txt")
    with pytest.raises(UserError, match="no training section"):
        write_panel(h5ads=[], output_panel=tmp_path / "p.tsv")


def test_published_lists_are_complete(project):
    folder = project / "resources" / "panels"
    sizes = {path.name: len(read_gene_file(path)) for path in folder.glob("*.txt")}
    assert sizes == {
        "histogene_her2_785.txt": 785,
        "hist2st_cscc_171.txt": 171,
        "he2gene_target_250.txt": 250,
    }
