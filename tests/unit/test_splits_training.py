"""The list that stands for the counts of a fold's training sections changes whenever one of them does."""

from __future__ import annotations

import os

from histobench.splits.training import read_training_list, write_training_list


def test_the_list_names_training_sections_and_changes_with_their_files(tmp_path):
    h5ads, tables = [], []
    for section in ("S.1", "S2", "S3"):
        for suffix, paths in ((".h5ad", h5ads), (".tsv", tables)):
            paths.append(tmp_path / f"{section}{suffix}")
            paths[-1].write_text("")
    listed = tmp_path / "list.txt"
    write_training_list(["S2", "S.1"], h5ads, tables, listed)
    assert read_training_list(listed) == {
        name: {"h5ad": str(tmp_path / f"{name}.h5ad"), "qc": str(tmp_path / f"{name}.tsv")}
        for name in ("S.1", "S2")
    }
    first = listed.read_text()
    for changed, differs in ((h5ads[1], True), (tables[0], True), (h5ads[2], False)):
        os.utime(changed, ns=(1, 1))
        write_training_list(["S2", "S.1"], h5ads, tables, listed)
        assert (listed.read_text() != first) == differs
        first = listed.read_text()
