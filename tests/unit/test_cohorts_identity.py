"""The same section under two names is recognised by spots and counts, also under another annotation of genes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.ndimage import gaussian_filter
from unit.section_files import section_adata, write_section

from histobench.cohorts.depth_map import depth_map, likeness
from histobench.cohorts.identity import COLUMNS, SAME_DEPTH, compare_sections, find_twins, write_twins

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
    assert table.loc[("E1", "BC1_D2"), "depth_correlation"] == pytest.approx(1.0)
    assert table.index[table["same"]].tolist() == [("E1", "BC1_D2")]


def test_the_table_of_twins_is_written(tmp_path: Path) -> None:
    first, second = cohorts(tmp_path)
    write_twins(h5ads=first, other_h5ads=second, output=tmp_path / "twins.tsv")
    table = pd.read_csv(tmp_path / "twins.tsv", sep="\t")
    assert tuple(table.columns) == COLUMNS and table["same"].tolist() == [True, False, False, False]
    # two cohorts without anything in common leave a table with its header only
    write_twins(h5ads=first[2:], other_h5ads=second, output=tmp_path / "none.tsv")
    assert (tmp_path / "none.tsv").read_text().split() == list(COLUMNS)


def block(seed: int, rows: int = 16, columns: int = 14):
    """A section whose depth follows a smooth map: counts, and places on the array."""
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=(rows, columns)), 2.0)
    depth = np.exp(1.2 * (field - field.mean()) / field.std())
    y, x = (axis.ravel() for axis in np.mgrid[:rows, :columns])
    tissue = rng.random(len(x)) < 0.9
    counts = rng.poisson(depth.ravel()[tissue, None] * RATE)
    return counts, x[tissue], y[tissue]


def stored(folder, name, counts, x, y, *, genes=None, spots=None, patient="P"):
    """A stored section with these places, spots named by them or as given."""
    adata = section_adata(
        counts, genes or [f"G{n}" for n in range(counts.shape[1])], section=name, patient=patient
    )
    adata.obs["array_x"], adata.obs["array_y"] = np.asarray(x, float), np.asarray(y, float)
    adata.obs_names = spots or [f"{a}x{b}" for a, b in zip(x, y, strict=True)]
    adata.obs_names.name = "spot"
    path = folder / f"{name}.h5ad"
    adata.write_h5ad(path, convert_strings_to_categoricals=False)
    return path


def part(counts, x, y, keep):
    return counts[keep], x[keep], y[keep]


COPIES = {
    "89 % of the spots": lambda c, x, y, rng: (*part(c, x, y, rng.random(len(x)) < 0.89), {}),
    "60 % of the spots": lambda c, x, y, rng: (*part(c, x, y, rng.random(len(x)) < 0.6), {}),
    "one half": lambda c, x, y, rng: (*part(c, x, y, x >= 6), {}),
    "barcodes for places": lambda c, x, y, rng: (c, x, y, {"spots": [f"AAAC{i:04d}-1" for i in range(len(x))]}),
    "array shifted by one": lambda c, x, y, rng: (c, x + 1, y + 1, {}),
    "places written the other way": lambda c, x, y, rng: (c, y, x, {}),
    "mirrored array": lambda c, x, y, rng: (c, 40 - x, y, {}),
    "identifiers for symbols": lambda c, x, y, rng: (c, x, y, {"genes": [f"ENSG{i:011d}" for i in range(c.shape[1])]}),
    "rounded logarithms": lambda c, x, y, rng: (np.rint(np.log1p(c) * 3).astype(int), x, y, {}),
    "half of the reads": lambda c, x, y, rng: (rng.binomial(c, 0.5), x, y, {}),
    "half of the genes": lambda c, x, y, rng: (c[:, ::2], x, y, {}),
    "all of it": lambda c, x, y, rng: (
        *part(rng.binomial(c, 0.6)[:, ::2], y + 3, x + 2, rng.random(len(x)) < 0.8), {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("copy", COPIES)
def test_the_same_counts_are_found_in_one_cohort_whatever_they_are_called(copy, tmp_path):
    """Between two sections of other patients with a third one beside them."""
    counts, x, y = block(1)
    *changed, about = COPIES[copy](counts, x, y, np.random.default_rng(5))
    paths = [
        stored(tmp_path, "A1", counts, x, y, patient="A"),
        stored(tmp_path, "B1", *block(2), patient="B"),
        stored(tmp_path, "C1", *changed, **about, patient="C"),
    ]
    table = find_twins(paths)
    assert table[["section", "other"]].to_numpy().tolist() == [["A1", "C1"]]
    assert table["same"].tolist() == [True] and table["depth_correlation"].iloc[0] >= SAME_DEPTH


def test_different_sections_of_one_cohort_are_different(tmp_path):
    paths = [stored(tmp_path, f"S{seed}", *block(seed)) for seed in range(10)]
    assert not len(find_twins(paths))
    flat = [section_adata(np.full((30, 40), 3), GENES, section=name) for name in ("U", "V")]
    assert np.isnan(likeness(*(depth_map(a.obs["array_x"], a.obs["array_y"], a.X) for a in flat))[0])


def test_likeness_is_the_correlation_over_the_common_spots():
    """By hand, for one shift that is the best one."""
    counts, x, y = block(3)
    left, right = x < 11, x >= 2
    one = depth_map(x[left], y[left], sparse.csr_matrix(counts[left]))
    noisy = np.random.default_rng(0).binomial(counts, 0.4)
    other = depth_map(x[right] + 5, y[right] - 1, sparse.csr_matrix(noisy[right]))
    both = left & right
    by_hand = np.corrcoef(np.log1p(counts[both].sum(1)), np.log1p(noisy[both].sum(1)))[0, 1]
    found, spots = likeness(one, other)
    assert spots == both.sum() and found == pytest.approx(by_hand, abs=1e-9)
