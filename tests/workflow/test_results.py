"""What a finished run leaves behind is what the catalogue of results declares."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from histobench.results import tables
from histobench.results.catalogue import ENCODERS, EXPERIMENT, PAPER, SLIDES, catalogue

pytestmark = pytest.mark.slow


def check_run(folder: Path) -> int:
    """Check every declared table of a folder of results; returns how many there are."""
    checked = 0
    for entry in catalogue().values():
        for path in folder.glob(re.sub(r"\{\w+\}", "*", entry.path)) if entry.columns else ():
            if (
                entry.name == "panel" and "." in path.stem
            ):  # universe, dropped, sections, training of the fold
                continue
            frame = tables.read(path, entry)
            assert entry.more or list(frame) == list(entry.column_names), path
            checked += 1
    declared = {entry.name for entry in (*EXPERIMENT, *PAPER, *ENCODERS, *SLIDES)} | {"external"}
    for path in folder.glob("*/tables/*.tsv"):
        assert path.stem in declared, f"{path} is not declared"
    return checked


def test_tables_of_a_finished_run_are_as_declared(finished):
    assert check_run(finished.folder / "results") > len(EXPERIMENT)
