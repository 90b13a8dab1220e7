"""scanpy beside this library: highly variable genes are scanpy's, and what is own code gives scanpy's numbers."""

from __future__ import annotations

import dataclasses

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy
from unit.qc_limits import limits
from unit.section_files import section_adata, write_section
from unit.visium_files import write_matrix

from histobench.cohorts.readers.visium import read_matrix
from histobench.cohorts.table import load_section
from histobench.errors import UserError
from histobench.expression.panels import gene_statistics, select_panel, write_panel
from histobench.expression.qc import check_spots
from histobench.expression.transforms import transform_counts
from histobench.expression.variable import variable_genes
from histobench.files import read_table, write_table

GENES = [f"G{number:03d}" for number in range(400)]


def counts_of(seed, variable, spots=120, level=6.0):
    """Counts of a section: some genes follow a pattern over spots, the others have one rate."""
    rng = np.random.default_rng(seed)
    rate = np.full((spots, len(GENES)), level)
    half = rng.permutation(spots) < spots // 2
    for gene in variable:
        rate[half, gene], rate[~half, gene] = level * 1.9, level * 0.1
    return rng.poisson(rate)


@pytest.fixture
def sections(tmp_path):
    """Three sections; genes 5, 20 and 41 vary in all of them, 8 in the last."""
    paths = []
    for number, more in enumerate([[], [], [8]]):
        counts = counts_of(number, [5, 20, 41, *more])
        paths.append(write_section(tmp_path, counts, GENES, section=f"S{number}", patient=f"P{number}"))
    return paths


def test_genes_with_a_pattern_in_every_section_are_the_most_variable(sections):
    found = variable_genes(sections, None, GENES, 3)
    assert set(found) == {"G005", "G020", "G041"}
    assert list(variable_genes(sections[::-1], None, GENES, 3)) == list(found)


def test_they_are_those_that_scanpy_chooses(sections):
    tables = [load_section(path) for path in sections]
    joined = anndata.concat(tables, label="batch", index_unique="/")
    joined.X = joined.X.astype(np.float32)
    scanpy.pp.normalize_total(joined, target_sum=1e4)
    scanpy.pp.log1p(joined)
    scanpy.pp.highly_variable_genes(joined, n_top_genes=12, batch_key="batch")
    chosen = joined.var[joined.var["highly_variable"]]
    found = variable_genes(sections, None, GENES, 12)
    assert set(found) == set(chosen.index) and len(found) == 12
    np.testing.assert_allclose(list(found.values()), chosen.loc[list(found), "dispersions_norm"], rtol=1e-5)


def test_one_section_and_spots_that_are_left_out(sections):
    alone = variable_genes(sections[2:], None, GENES, 4)
    assert set(alone) == {"G005", "G008", "G020", "G041"}
    spots = load_section(sections[2]).obs_names
    kept = {"S0": frozenset(), "S1": frozenset(), "S2": frozenset(spots)}
    assert variable_genes(sections, kept, GENES, 4) == alone


def test_a_panel_of_the_rule_is_written_with_what_ordered_it(sections, tmp_path):
    write_panel(h5ads=sections, output_panel=tmp_path / "p.tsv", rule="hvg", size=3)
    panel = read_table(tmp_path / "p.tsv")
    assert set(panel["gene"]) == {"G005", "G020", "G041"} and list(panel["rank"]) == [1, 2, 3]
    assert (panel["statistic"] > 0).all()
    rows = [("S0", spot, 1, 1, "") for spot in load_section(sections[0]).obs_names]
    rows += [(f"S{n}", "0x0", 0, 0, "low_umi") for n in (1, 2)]
    write_table(
        pd.DataFrame(rows, columns=["section", "spot", "keep", "keep_train", "reason"]), tmp_path / "q.tsv"
    )
    write_panel(
        h5ads=sections, qc_tables=[tmp_path / "q.tsv"], output_panel=tmp_path / "k.tsv", rule="hvg", size=3
    )
    assert set(read_table(tmp_path / "k.tsv")["gene"]) == {"G005", "G020", "G041"}
    with pytest.raises(UserError, match="only 400 pass the filter"):
        select_panel(gene_statistics(sections), rule="hvg", size=401)


def test_metrics_of_spots_are_those_of_scanpy(tmp_path):
    rng = np.random.default_rng(3)
    genes = ["MT-ND1", "MT-CO1", *(f"G{number}" for number in range(400))]
    counts = rng.poisson(rng.gamma(1.0, 1.5, (200, 1)) * rng.gamma(0.5, 1.0, (1, 402)))
    section = section_adata(counts, genes)
    rules = dataclasses.replace(
        limits("he2gene"), window_px=None, min_umi=150, max_umi=900, min_genes=80, max_mitochondrial=0.004
    )
    verdict = check_spots(rules, section)
    section.var["mt"] = section.var_names.str.startswith("MT-")
    told = scanpy.pp.calculate_qc_metrics(section, qc_vars=["mt"], percent_top=None, log1p=False)[0]
    keep = (told["total_counts"].between(150, 900) & (told["n_genes_by_counts"] >= 80)) & (
        told["pct_counts_mt"] <= 0.4
    )
    assert 20 < keep.sum() < 180 and {"low_umi", "high_umi", "mitochondrial"} <= set(verdict["reason"])
    np.testing.assert_array_equal(verdict["keep"] == 1, keep)


def test_the_harmonised_target_is_that_of_scanpy_to_rounding():
    counts = counts_of(7, [3, 9])
    table = anndata.AnnData(counts.astype(np.float32))
    scanpy.pp.normalize_total(table, target_sum=1e4)
    scanpy.pp.log1p(table)
    own = transform_counts("log1p_cp10k", counts, counts.sum(axis=1))
    np.testing.assert_allclose(own, table.X, rtol=3e-7, atol=0)


def test_a_matrix_of_space_ranger_is_read_as_scanpy_reads_it(tmp_path):
    counts = counts_of(1, [2])
    barcodes = [f"{'ACGT' * 4}-{number}" for number in range(len(counts))]
    ids = [f"ENSG{number:011d}" for number in range(len(GENES))]
    path = write_matrix(tmp_path / "filtered_feature_bc_matrix.h5", counts, barcodes, GENES, ids)
    matrix, names, features, *_ = read_matrix(path)
    known = scanpy.read_10x_h5(path)
    np.testing.assert_array_equal(matrix.toarray(), known.X.toarray())
    assert list(names) == list(known.obs_names)
    assert list(features["gene_id"]) == list(known.var["gene_ids"])
    # and what is no count is refused, which scanpy takes
    with h5py.File(path, "r+") as stored:
        stored["matrix/data"][0] = -3
    assert (scanpy.read_10x_h5(path).X.toarray() < 0).any()
    with pytest.raises(UserError, match="no counts"):
        read_matrix(path)
