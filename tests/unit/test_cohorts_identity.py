"""The same section under two names is recognised by spots and counts, also under another annotation of genes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from unit.section_files import section_adata, write_section

from histobench.cohorts.identity import COLUMNS, compare_sections, find_twins, write_twins

GENES = [f"G{n}" for n in range(40)]
RATE = np.random.default_rng(3).gamma(0.5, 8.0, len(GENES))


def counts(seed: int, n: int = 30) -> np.ndarray:
    """Counts of one section: genes differ in level, as in tissue."""
    return np.random.default_rng(seed).poisson(RATE, (n, len(GENES)))


def test_another_annotation_of_the_same_section() -> None:
    first = counts(0)
    one = section_adata(first, GENES)
    # some genes are not annotated, some of them got a few reads more
    second = first.copy()
    second[::7, 3] += 1
    other = section_adata(second[:-1, 5:], GENES[5:])
    found = compare_sections(one, other)
    assert found.same and found.shared_spots == pytest.approx(29 / 30)
    assert found.equal_counts == 1.0 and found.correlation == pytest.approx(1.0)


def test_a_neighbouring_section_is_another_one() -> None:
    found = compare_sections(section_adata(counts(0), GENES), section_adata(counts(1), GENES))
    assert found.shared_spots == 1.0 and not found.same
    dense_1, dense_2 = counts(0).ravel(), counts(1).ravel()
    assert found.correlation == pytest.approx(np.corrcoef(dense_1, dense_2)[0, 1])
    assert found.equal_counts < 0.3


def test_nothing_in_common() -> None:
    found = compare_sections(
        section_adata(counts(0), GENES), section_adata(counts(0), [f"H{n}" for n in range(40)])
    )
    assert np.isnan(found.correlation) and not found.same


def cohorts(folder: Path) -> tuple[list[Path], list[Path]]:
    """E1 = BC1_D2; F1 has the spots of BC2_D2 but other counts; A1 has other spots."""
    (folder / "her2").mkdir()
    (folder / "hbcis").mkdir()
    first = [
        write_section(folder / "her2", counts(0), GENES, section="E1", patient="E"),
        write_section(folder / "her2", counts(2), GENES, section="F1", patient="F"),
        write_section(folder / "her2", counts(4, 18), GENES, section="A1", patient="A"),
    ]
    second = [
        write_section(folder / "hbcis", counts(0), GENES, section="BC1_D2", patient="BC1"),
        write_section(folder / "hbcis", counts(3), GENES, section="BC2_D2", patient="BC2"),
    ]
    return first, second


def test_twins_between_cohorts(tmp_path: Path) -> None:
    table = find_twins(*cohorts(tmp_path)).set_index(["section", "other"])
    assert set(table.index) == {(a, b) for a in ("E1", "F1") for b in ("BC1_D2", "BC2_D2")}  # not A1
    assert table.index[table["same"]].tolist() == [("E1", "BC1_D2")]


def test_the_table_of_twins_is_written(tmp_path: Path) -> None:
    first, second = cohorts(tmp_path)
    write_twins(h5ads=first, other_h5ads=second, output=tmp_path / "twins.tsv")
    table = pd.read_csv(tmp_path / "twins.tsv", sep="\t")
    assert tuple(table.columns) == COLUMNS and table["same"].tolist() == [True, False, False, False]
    # two cohorts without anything in common leave a table with its header only
    write_twins(h5ads=first[2:], other_h5ads=second, output=tmp_path / "none.tsv")
    assert (tmp_path / "none.tsv").read_text().split() == list(COLUMNS)
