"""A list that stands for the files of sections changes with what is in them, and only then."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from histobench.errors import UserError
from histobench.filelists import files_of, read_lists, write_list, write_part

NAMES = ("S.1", "007", "NA")


@pytest.fixture
def stored(tmp_path):
    """Stored sections and their tables of kept spots."""
    files = {}
    for section in NAMES:
        files[section] = {kind: str(tmp_path / f"{section}.{kind}") for kind in ("h5ad", "qc")}
        for kind, path in files[section].items():
            Path(path).write_text(section + kind)
    return files


def test_a_list_names_its_files_and_changes_with_their_content(tmp_path, stored):
    listed = tmp_path / "list.tsv"
    write_list(stored, listed)
    assert read_lists(listed) == read_lists([listed]) == stored
    part = tmp_path / "part.tsv"
    write_part([listed], ["S.1", "007"], part)
    assert read_lists(part) == {name: stored[name] for name in ("S.1", "007")}
    before = part.read_text()
    for section, kind, differs in (("007", "h5ad", True), ("S.1", "qc", True), ("NA", "h5ad", False)):
        Path(stored[section][kind]).write_text("other counts")
        write_list(stored, listed)
        write_part([listed], ["S.1", "007"], part)
        assert (part.read_text() != before) == differs
        before = part.read_text()


def test_files_written_again_with_the_same_content_leave_the_list_as_it_was(tmp_path, stored):
    """Two runs of the same study end in the same bytes, and a rewritten section trains nothing anew."""
    write_list(stored, tmp_path / "first.tsv")
    for path in (path for files in stored.values() for path in files.values()):
        Path(path).write_bytes(Path(path).read_bytes())
        os.utime(path, ns=(1, 1))
    write_list({name: stored[name] for name in reversed(NAMES)}, tmp_path / "second.tsv")
    assert (tmp_path / "first.tsv").read_bytes() == (tmp_path / "second.tsv").read_bytes()


def test_lists_of_different_kinds_are_one_and_a_section_in_none_is_said(tmp_path, stored):
    counts = {name: {"h5ad": files["h5ad"]} for name, files in stored.items()}
    tables = {name: {"qc": stored[name]["qc"]} for name in ("007", "NA")}
    write_list(counts, tmp_path / "counts.tsv")
    write_list(tables, tmp_path / "tables.tsv")
    both = read_lists([tmp_path / "counts.tsv", tmp_path / "tables.tsv"])
    assert both["007"] == stored["007"] and both["S.1"] == counts["S.1"]
    assert list(files_of(both, ["NA", "007"])) == ["NA", "007"]
    with pytest.raises(UserError, match="section S9: no list of files names it"):
        files_of(both, ["S9"])
