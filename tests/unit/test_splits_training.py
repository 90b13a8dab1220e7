"""The list that stands for the counts of a fold's training sections changes with what is in them, and only then."""

from __future__ import annotations

import os

import pytest

from histobench.splits.training import read_training_list, write_training_list


@pytest.fixture
def stored(tmp_path):
    """Stored sections and their tables of kept spots."""
    h5ads, tables = [], []
    for section in ("S.1", "S2", "S3"):
        for suffix, paths in ((".h5ad", h5ads), (".tsv", tables)):
            paths.append(tmp_path / f"{section}{suffix}")
            paths[-1].write_text(section + suffix)
    return h5ads, tables


def test_the_list_names_training_sections_and_changes_with_their_content(tmp_path, stored):
    h5ads, tables = stored
    listed = tmp_path / "list.txt"
    write_training_list(["S2", "S.1"], h5ads, tables, listed)
    assert read_training_list(listed) == {
        name: {"h5ad": str(tmp_path / f"{name}.h5ad"), "qc": str(tmp_path / f"{name}.tsv")}
        for name in ("S.1", "S2")
    }
    first = listed.read_text()
    for changed, differs in ((h5ads[1], True), (tables[0], True), (h5ads[2], False)):
        changed.write_text("other counts")
        write_training_list(["S2", "S.1"], h5ads, tables, listed)
        assert (listed.read_text() != first) == differs
        first = listed.read_text()


def test_files_written_again_with_the_same_content_leave_the_list_as_it_was(tmp_path, stored):
    """Two runs of the same study end in the same bytes, and a rewritten section trains nothing anew."""
    h5ads, tables = stored
    write_training_list(["S2", "S.1"], h5ads, tables, tmp_path / "first.tsv")
    for path in (*h5ads, *tables):
        path.write_bytes(path.read_bytes())
        os.utime(path, ns=(1, 1))
    write_training_list(["S.1", "S2"], h5ads[::-1], tables, tmp_path / "second.tsv")
    assert (tmp_path / "first.tsv").read_bytes() == (tmp_path / "second.tsv").read_bytes()
