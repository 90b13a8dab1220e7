"""The gate for counts and names of spots, by itself."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from unit.section_files import write_section

from histobench.cohorts.counts import gene_features, matrix_from_parts, row_matrix
from histobench.cohorts.losses import name_cause
from histobench.cohorts.table import load_section
from histobench.errors import UserError
from histobench.evaluation.ceiling import read_panel_counts
from histobench.expression.panels import gene_statistics


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
