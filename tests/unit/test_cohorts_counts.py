"""The gate for counts and names of spots, by itself."""

from __future__ import annotations

from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from unit.section_files import write_section

from histobench.cohorts.counts import gene_features, matrix_from_parts, refuse_levelled, row_matrix
from histobench.cohorts.gene_names import names_no_gene
from histobench.cohorts.losses import name_cause
from histobench.cohorts.readers.anndata_file import checked_counts, open_anndata
from histobench.cohorts.readers.table_cohort import read_section
from histobench.cohorts.readers.visium import read_matrix, read_positions
from histobench.cohorts.table import load_section
from histobench.config.tables import SYMBOLS
from histobench.errors import UserError
from histobench.evaluation.ceiling import read_panel_counts
from histobench.expression.panels import gene_statistics
from histobench.expression.symbols import load_symbols
from histobench.imaging.slides import image_size


@pytest.fixture(scope="module")
def symbols_path():
    return Path(__file__).parents[2] / SYMBOLS


@pytest.fixture(scope="module")
def symbols(symbols_path):
    return load_symbols(symbols_path)


def test_a_table_of_words_is_no_counts():
    with pytest.raises(UserError, match=r"f\.h5ad: the counts are no table of numbers"):
        row_matrix(np.array([["a", "b"]], dtype=object), "f.h5ad")


def parts():
    return {
        "data": np.array([1.0, 2, 3, 4]), "indices": np.array([0, 2, 1, 2]), "indptr": np.array([0, 2, 3, 4]),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("indices", [0, 1_000_000, 1, 2]),
        ("indices", [0, -7, 1, 2]),
        ("indptr", [0, 3, 2, 4]),
        ("indptr", [1, 2, 3, 4]),
        ("indptr", [0, 2, 3, 40]),
        ("indptr", [0, -1, 3, 4]),
        ("indices", [0, 0, 1, 2]),
        ("indices", [0.5, 1, 1, 2]),
    ],
)
def test_index_arrays_that_contradict_themselves_are_refused(name, values):
    broken = parts() | {name: np.array(values)}
    with pytest.raises(
        UserError, match=r"^f\.h5: (the index arrays|1 entries of the sparse counts)"
    ) as caught:
        matrix_from_parts(**broken, shape=(3, 3), where="f.h5")
    assert "\n" not in str(caught.value)


def test_sound_index_arrays_are_read_in_any_order():
    rows = matrix_from_parts(**parts() | {"indices": np.array([2, 0, 1, 2])}, shape=(3, 3), where="")
    assert rows.toarray().tolist() == [[2, 0, 1], [0, 3, 0], [0, 0, 4]]
    assert row_matrix(sparse.csc_matrix(rows), "").toarray().tolist() == rows.toarray().tolist()


def test_features_without_a_word_are_genes():
    assert gene_features(["Gene Expression", None, np.nan, "", "CRISPR Guide Capture", "gene expression"]).tolist() == [
        True, True, True, True, False, True,
    ]  # fmt: skip


def test_what_keeps_names_of_spots_apart_is_told():
    def cause(counted, placed):
        return name_cause(pd.Index(counted), pd.Index(placed))

    assert cause(["1x9", "2x9", "9x9"], ["9x1", "9x2", "9x9"]).startswith("x and y are swapped")
    assert "endings (AAACCCGGGTTT-1 in the counts, aaacccgggttt in" in cause(
        ["AAACCCGGGTTT-1"], ["aaacccgggttt"]
    )
    assert "endings (L1_AAACCCGGGTTT-1 in" in cause(["L1_AAACCCGGGTTT-1"], ["AAACCCGGGTTT-1"])
    other = cause(["AAACCCGGGTTT-1"], ["TTTTCCGGGTTT-1"])
    assert "different sections, such as AAACCCGGGTTT-1 in the counts and TTTTCCGGGTTT-1 in" in other
    assert cause(["1x9"], ["1x9", "2x2"]) == ""


@pytest.mark.parametrize(
    "read", [load_section, lambda path: gene_statistics([path]), lambda path: read_panel_counts(path, ["A"])]
)
def test_a_damaged_stored_section_is_one_sentence(tmp_path, read):
    path = write_section(tmp_path, np.ones((6, 3)), ["A", "B", "C"])
    with h5py.File(path, "a") as stored:
        stored["X/indices"][4] = 10**6
    with pytest.raises(UserError, match=r"S1\.h5ad: the index arrays of the sparse counts do not fit"):
        read(path)


@pytest.mark.parametrize("depth", [1e4, 1e6, None])
def test_counts_that_were_scaled_to_one_depth_and_rounded_are_refused(depth):
    rng = np.random.default_rng(0)
    raw = rng.poisson(rng.gamma(0.5, 60.0, (1, 400)) * rng.lognormal(0, 0.5, (30, 1)))
    totals = raw.sum(axis=1, keepdims=True)
    refuse_levelled(sparse.csr_matrix(raw), "S1")
    # chance alone makes totals of raw counts differ, also where the same was sequenced of every spot
    refuse_levelled(sparse.csr_matrix(rng.poisson(5.0, (30, 400))), "S1")
    scaled = np.rint(raw / totals * (np.median(totals) if depth is None else depth))
    with pytest.raises(
        UserError, match=r"S1: all 30 spots have about \d+ counts .* scaled to one depth; give raw"
    ):
        refuse_levelled(sparse.csr_matrix(scaled), "S1")
    refuse_levelled(sparse.csr_matrix(scaled[:5]), "S1")  # of a handful nothing is said


def test_presence_is_no_count():
    for matrix in (np.ones((3, 2), bool), sparse.csr_matrix(np.ones((3, 2), bool))):
        with pytest.raises(UserError, match="S1: the counts say only true or false"):
            row_matrix(matrix, "S1")


NOT_THE_FILE = {
    "a web page": b"<!DOCTYPE html><html><head><title>Log in</title></head></html>",
    "a JSON message": b'{"message": "quota exceeded"}',
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0f\nsize 7\n",
    "empty": b"",
}


@pytest.mark.parametrize("says", NOT_THE_FILE)
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("S1.h5ad", lambda path: open_anndata(path, {})),
        ("filtered_feature_bc_matrix.h5", read_matrix),
        ("tissue_positions.parquet", read_positions),
        ("S1.jpg", image_size),
        ("S1.svs", image_size),
        ("S1.ome.tif", image_size),
    ],
)
def test_what_a_server_sends_in_place_of_a_file_is_named(tmp_path, says, name, read):
    path = tmp_path / name
    path.write_bytes(NOT_THE_FILE[says])
    with pytest.raises(UserError, match=f"{says}.*get the file again") as refused:
        read(path)
    assert str(refused.value).startswith(f"{path}: ")


def test_a_file_that_breaks_off_is_to_be_got_again(tmp_path):
    path = tmp_path / "S1.h5ad"
    anndata.AnnData(np.ones((30, 20), np.float32)).write_h5ad(path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(UserError, match=r"truncated file.*; get the file again"):
        open_anndata(path, {})


ANTIBODY_NAMES = [
    "CD3E_TotalSeqB", "CD8A-TotalSeqC", "ADT_CD45", "HTO-1", "Hashtag3", "NegControlProbe_00042",
    "NegControlCodeword_0500", "BLANK_0006", "UnassignedCodeword_0003", "NegPrb7", "SystemControl12", "Blank-17",
    "antisense_PROKR2",
]  # fmt: skip


def test_names_of_antibodies_and_controls_are_no_genes(symbols):
    assert all(map(names_no_gene, ANTIBODY_NAMES))
    assert not [name for name in {*symbols.values(), *symbols} if names_no_gene(name)]


def own_legacy(folder, names, loud=1):
    """A text table of 20 spots; all genes but the last two count five, those ``loud`` times as much."""
    columns = "\t".join(["", *names])
    counts = "\t".join(["5"] * (len(names) - 2) + [str(5 * loud)] * 2)
    places = [(x, y) for x in range(1, 6) for y in range(1, 5)]
    rows = [f"{x}x{y}\t{counts}" for x, y in places]
    (folder / "S1.tsv").write_text("\n".join([columns, *rows, ""]))
    spots = [f"{x}\t{y}\t{100 * x}\t{100 * y}" for x, y in places]
    (folder / "spots.tsv").write_text("\n".join(["x\ty\tpixel_x\tpixel_y", *spots, ""]))
    return {"counts": str(folder / "S1.tsv"), "positions": str(folder / "spots.tsv")}


def test_antibodies_are_left_out_by_name_where_no_column_tells_them(tmp_path, symbols_path):
    files = own_legacy(tmp_path, ["ACTB", "GNAS", "FASN", "CD3E_TotalSeqB", "BLANK_0006"], loud=1000)
    raw = read_section("S1", {**files, "symbols": str(symbols_path)}, {})
    assert list(raw.genes.index) == ["ACTB", "GNAS", "FASN"] and raw.dropped["feature_other_type"] == 2
    assert raw.counts.sum() == 20 * 15


def test_unknown_features_that_drown_the_genes_stop(tmp_path, symbols, symbols_path):
    names = [*sorted({name for name in symbols.values() if name.startswith("RP")})[:60], "CD3.1", "CD45RA"]
    files = {**own_legacy(tmp_path, names, loud=1), "symbols": str(symbols_path)}
    assert read_section("S1", files, {}).counts.shape == (20, 62)  # few, and quiet: as annotations differ
    files |= own_legacy(tmp_path, names, loud=500)
    with pytest.raises(
        UserError, match=r"2 features .* CD3\.1, CD45RA, hold 94% of the counts, as antibodies"
    ):
        read_section("S1", files, {})


@pytest.mark.parametrize(
    ("column", "gene", "other"),
    [
        ("feature_types", "Gene Expression", "Antibody Capture"),
        ("modality", "rna", "adt"),
        ("type", "Gene Expression", "Protein Expression"),
        ("library_type", "gene", "hashtag oligo"),
        ("feature_class", "GEX", "Negative Control Probe"),
    ],
)
def test_any_column_that_tells_kinds_of_features_is_heard(tmp_path, column, gene, other):
    var = pd.DataFrame({column: [gene] * 3 + [other] * 2}, index=["ACTB", "GNAS", "FASN", "CD3", "CD8"])
    adata = anndata.AnnData(sparse.csr_matrix(np.full((4, 5), 7.0)), var=var)
    counts, genes, n_other = checked_counts(adata, "S1.h5ad", {})
    assert list(genes.index) == ["ACTB", "GNAS", "FASN"] and n_other == 2 and counts.shape == (4, 3)


def test_a_column_of_another_meaning_is_no_kind(tmp_path):
    var = pd.DataFrame(
        {"type": ["protein_coding", "lncRNA", "protein_coding"]}, index=["ACTB", "GNAS", "FASN"]
    )
    adata = anndata.AnnData(sparse.csr_matrix(np.full((4, 3), 7.0)), var=var)
    assert checked_counts(adata, "S1.h5ad", {})[0].shape == (4, 3)


def two_in_one(column, shift, *, array=False):
    """Two sections of 6 x 7 spots in one file, without places on an array they could share."""
    x, y = np.divmod(np.arange(42), 7)
    parts = []
    for number, name in enumerate(("a", "b")):
        obs = pd.DataFrame({column: name}, index=[f"{name}{n}" for n in range(42)])
        if array:
            obs = obs.assign(array_x=x + 20.0 * number, array_y=y)
        spatial = 60.0 * np.column_stack([x, y]) + number * np.array([shift, 5.0])
        parts.append(anndata.AnnData(sparse.csr_matrix(np.ones((42, 3))), obs=obs, obsm={"spatial": spatial}))
    return anndata.concat(parts)


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize(
    ("column", "shift", "several"),
    [
        ("sample", 7.0, True),
        ("orig.ident", 100.0, True),
        ("sample", 2000.0, False),  # cores of one array, side by side in one image
        ("region", 7.0, False),  # parts of one section
        ("cluster", 7.0, False),
    ],
)
def test_sections_that_lie_over_each_other_are_several(tmp_path, column, shift, several, array):
    path = tmp_path / "S1.h5ad"
    two_in_one(column, shift, array=array).write_h5ad(path)
    if not several:
        assert len(open_anndata(path, {})) == 84
        return
    with pytest.raises(UserError, match=rf"holds several sections: obs\['{column}'\] says a, b; choose one"):
        open_anndata(path, {})
    assert len(open_anndata(path, {"library": "b"})) == 42
