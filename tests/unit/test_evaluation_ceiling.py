"""Thinning and the noise ceiling: exactness of the halves, and the ceiling against a known truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from unit.section_files import write_section

from histobench.errors import UserError
from histobench.evaluation.ceiling import (
    PanelCounts,
    ceiling_from_halves,
    noise_ceiling,
    read_panel_counts,
    write_ceiling,
)
from histobench.expression.thinning import split_counts
from histobench.expression.transforms import transform_counts
from histobench.files import write_table


def test_halves_add_up_and_are_binomial():
    rng = np.random.default_rng(0)
    counts = np.tile(np.array([[0, 1, 7, 40]]), (20_000, 1))
    total = np.full(20_000, 100)
    first, second = split_counts(counts, total, rng)
    np.testing.assert_array_equal(first.counts + second.counts, counts)
    np.testing.assert_array_equal(first.total + second.total, total)
    assert (first.counts >= 0).all() and (second.counts >= 0).all()
    for values, n in ((first.counts[:, 2], 7), (first.counts[:, 3], 40), (first.total, 100)):
        observed = np.bincount(values, minlength=n + 1)
        expected = 20_000 * stats.binom.pmf(np.arange(n + 1), n, 0.5)
        some = expected > 5
        chi2 = ((observed - expected)[some] ** 2 / expected[some]).sum()
        assert stats.chi2.sf(chi2, some.sum() - 1) > 1e-4


def test_halves_of_poisson_counts_are_independent():
    rng = np.random.default_rng(1)
    counts = rng.poisson(5, (50_000, 1))
    first, second = split_counts(counts, counts[:, 0], rng)
    assert abs(np.corrcoef(first.counts[:, 0], second.counts[:, 0])[0, 1]) < 0.015


def test_impossible_totals_are_refused():
    with pytest.raises(ValueError, match="exceed"):
        split_counts(np.array([[5]]), np.array([4]), np.random.default_rng(0))


def test_spearman_brown():
    np.testing.assert_allclose(ceiling_from_halves([0.5, 1.0, 0.0, -0.2]), [np.sqrt(2 / 3), 1, 0, 0])
    assert np.isnan(ceiling_from_halves([np.nan])[0])


def simulated(n_spots=4000, seed=0, patient="P", section="S"):
    """Genes with a known mean per spot at a constant depth: the best prediction is that mean."""
    rng = np.random.default_rng(seed)
    base = np.array([0.5, 2.0, 8.0, 3.0])
    spread = np.array([0.8, 0.8, 0.8, 0.0])  # the last gene has no signal
    mean = base * np.exp(spread * rng.normal(size=(n_spots, 4)))
    counts = rng.poisson(mean)
    return mean, PanelCounts(patient, section, counts, np.full(n_spots, 5000))


def test_ceiling_is_what_the_true_expression_reaches():
    mean, section = simulated()
    table = noise_ceiling([section], list("abcd"), transform="log1p", n_genes=100, n_thinnings=20)
    own = table[(table.section == "S") & (table.metric == "ceiling")].set_index("gene").value
    target = transform_counts("log1p", section.counts, section.total)
    for g, gene in enumerate("abc"):
        # The best predictor of the target is its expectation given the true mean.
        grid = np.arange(400)
        best = np.array([(np.log1p(grid) * stats.poisson.pmf(grid, m)).sum() for m in mean[:, g]])
        reached = np.corrcoef(best, target[:, g])[0, 1]
        assert own[gene] == pytest.approx(reached, abs=0.03), gene
    assert own["d"] < 0.25, "no signal, no score"


def test_rows_for_sections_and_pooled_patients():
    sections = [
        simulated(60, i, patient, section)[1]
        for i, (patient, section) in enumerate([("A", "A1"), ("A", "A2"), ("B", "B1")])
    ]
    table = noise_ceiling(sections, list("abcd"), transform="log1p_cp10k", n_genes=100)
    assert list(table.columns) == ["patient", "section", "gene", "metric", "value", "n_spots"]
    assert set(zip(table.patient, table.section, strict=True)) == {
        ("A", "A1"), ("A", "A2"), ("B", "B1"), ("A", "*"), ("B", "*")
    }  # fmt: skip
    assert table[(table.patient == "A") & (table.section == "*")].n_spots.eq(120).all()
    again = noise_ceiling(sections[2:], list("abcd"), transform="log1p_cp10k", n_genes=100)
    pd.testing.assert_frame_equal(
        again[again.section == "B1"].reset_index(drop=True),
        table[table.section == "B1"].reset_index(drop=True),
    )


def test_constant_gene_and_single_spot_are_undefined():
    constant = PanelCounts("P", "S", np.zeros((30, 1), int), np.full(30, 50))
    single = PanelCounts("P", "S", np.array([[3]]), np.array([50]))
    for section in (constant, single):
        table = noise_ceiling([section], ["g"], transform="log1p_cp10k", n_genes=9)
        assert table.value.isna().all()


def test_stage_reads_sections_panel_and_qc(tmp_path):
    rng = np.random.default_rng(3)
    counts = rng.poisson(4, (40, 3))
    path = write_section(tmp_path, counts, ["B", "A", "X"], section="S1")
    write_table(
        pd.DataFrame({"gene": ["A", "Z"], "rank": [1, 2], "statistic": [1.0, 0.5]}), tmp_path / "panel.tsv"
    )
    write_table(pd.DataFrame({"gene": ["A", "B", "X", "Z"]}), tmp_path / "genes.tsv")
    spots = pd.DataFrame({"section": "S1", "spot": [f"{i % 6}x{i // 6}" for i in range(40)], "keep": 1})
    spots.loc[0, "keep"] = 0
    write_table(spots.assign(keep_train=spots.keep, reason=""), tmp_path / "qc.tsv")
    write_ceiling(
        h5ads=[path], panel_tsv=tmp_path / "panel.tsv", genes_tsv=tmp_path / "genes.tsv",
        output=tmp_path / "c.parquet", transform="stnet", qc_tables=[tmp_path / "qc.tsv"],
    )  # fmt: skip
    table = pd.read_parquet(tmp_path / "c.parquet")
    assert set(table.gene) == {"A", "Z"} and table.n_spots.eq(39).all()
    read = read_panel_counts(path, ["A", "Z"])
    np.testing.assert_array_equal(read.counts, np.column_stack([counts[:, 1], np.zeros(40)]))
    np.testing.assert_array_equal(read.total, counts.sum(axis=1))
    with pytest.raises(UserError, match="no row for section S1"):
        read_panel_counts(path, ["A"], {})
