"""Storing sections: checks common to all readers, counted exclusions, and the cohort's tables."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import sparse

from histobench.cohorts import section as section_module
from histobench.cohorts.entry import load_entry
from histobench.cohorts.section import SectionInfo, assemble, store_section, write_section
from histobench.cohorts.table import (
    align_counts,
    load_section,
    write_cohort_table,
    write_gene_table,
)
from histobench.cohorts.types import RawSection
from histobench.errors import UserError
from histobench.files import sha256

PITCH = 100.0  # pixels


def raw_section(places: list[tuple[int, int]], counts: Any = None, genes: Any = None) -> RawSection:
    """Spots on a grid of 100 px; by default, gene 0 counts x and gene 1 counts y."""
    array = np.array(places, dtype=float).reshape(-1, 2)
    values = array if counts is None else np.asarray(counts)
    symbols = [f"G{i}" for i in range(values.shape[1])] if genes is None else list(genes)
    n = len(array)
    return RawSection(
        counts=sparse.csr_matrix(values),
        spots=pd.DataFrame(
            {
                "array_x": array[:, 0],
                "array_y": array[:, 1],
                "pixel_x": array[:, 0] * PITCH,
                "pixel_y": array[:, 1] * PITCH,
                "label": ["invasive cancer"] + [""] * (n - 1),
                "tumour": [1.0] + [math.nan] * (n - 1),
                "label_source": ["pathologist"] + ["none"] * (n - 1),
            },
            index=pd.Index([f"{x}x{y}" for x, y in places], name="spot"),
        ),
        genes=pd.DataFrame({"gene_id": [f"E{i}" for i in range(len(symbols))]}, index=symbols),
        dropped={"no_position": 2, "no_counts": 3, "label_no_spot": 4},
    )


GRID = [(1, 1), (2, 1), (1, 2), (2, 3)]
INFO = SectionInfo("c", "S1", "P1", pitch_um=200.0, spot_um=100.0, patient_alias="Q9")


def info(**changes: Any) -> SectionInfo:
    return SectionInfo(**{**INFO.__dict__, **changes})


def image(folder: Path, width: int = 400, height: int = 400) -> str:
    Image.new("RGB", (width, height), "pink").save(folder / "S1.jpg")
    return str(folder / "S1.jpg")


def test_stored_section_has_the_published_layout(tmp_path: Path) -> None:
    files = {"image": image(tmp_path)}
    adata, row = assemble(raw_section(GRID), INFO, files)
    store_section(adata, row, tmp_path / "S1.h5ad", tmp_path / "S1.json")
    stored = load_section(tmp_path / "S1.h5ad")
    assert sparse.isspmatrix_csr(stored.X) and stored.X.dtype == np.int32
    assert stored.X.toarray().tolist() == [[1, 1], [2, 1], [1, 2], [2, 3]]
    assert list(stored.obs_names) == ["1x1", "2x1", "1x2", "2x3"] and list(stored.var_names) == ["G0", "G1"]
    assert list(stored.var["gene_id"]) == ["E0", "E1"]
    assert list(stored.obs.columns) == [
        *(
            "array_x",
            "array_y",
            "pixel_x",
            "pixel_y",
            "patient",
            "section",
            "label",
            "tumour",
            "label_source",
        ),
        *("array_row", "array_col", "in_tissue"),  # as scanpy and squidpy look for them
    ]
    assert list(stored.obs["array_row"]) == [1, 1, 2, 3] and list(stored.obs["array_col"]) == [1, 2, 1, 2]
    categories = [name for name in stored.obs if stored.obs[name].dtype == "category"]
    assert categories == ["patient", "section", "label", "label_source"]
    assert stored.obs["tumour"].dtype == np.float32 and list(stored.obs["label"]) == [
        *("invasive cancer", "", "", "")
    ]
    np.testing.assert_array_equal(stored.obsm["spatial"], stored.obs[["pixel_x", "pixel_y"]])
    assert stored.uns["um_per_px"] == pytest.approx(2.0)  # 200 um in 100 px
    (drawn,) = stored.uns["spatial"].values()
    assert list(stored.uns["spatial"]) == ["S1"] and drawn["images"]["hires"].shape == (32, 32, 3)
    assert drawn["scalefactors"] == pytest.approx(
        {"tissue_hires_scalef": 0.08, "spot_diameter_fullres": 50.0}
    )
    assert {key: stored.uns[key] for key in stored.uns if key not in ("um_per_px", "spatial")} == {
        "cohort": "c",
        "section": "S1",
        "patient": "P1",
        "image": files["image"],
        "image_width": 400,
        "image_height": 400,
        "spot_um": 100.0,
        "pitch_um": 200.0,
        "grid": "square",
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["S1.h5ad", "S1.jpg", "S1.json"]
    assert json.loads((tmp_path / "S1.json").read_text()) == row


def test_row_counts_what_was_raw_kept_and_dropped(tmp_path: Path) -> None:
    places = [*GRID, (3, 1), (3, 3)]
    values = [[1, 1], [2, 1], [1, 2], [2, 3], [0, 0], [5, 5]]
    files = {"image": image(tmp_path, width=250, height=350)}
    adata, row = assemble(raw_section(places, values), INFO, files)
    assert adata.n_obs == 4
    assert row["dropped_spots"] == {"3x1": "outside_image", "3x3": "outside_image"}
    adata, row = assemble(raw_section(places, values), INFO, {"image": image(tmp_path, 301, 350)})
    assert list(adata.obs_names) == [*(f"{x}x{y}" for x, y in GRID), "3x3"]
    assert row["dropped_spots"] == {"3x1": "zero_umi"} and row["dropped_zero_umi"] == 1
    assert row["dropped_outside_image"] == 0 and row["dropped_no_position"] == 2
    assert row["n_spots_raw"] == 6 + 2  # rows with counts; positions and labels without are not among them
    assert row["n_spots_kept"] == 5
    assert row["median_umi"] == 3.0  # of 2, 3, 3, 5, 10
    assert (row["image_width"], row["image_height"]) == (301, 350)
    assert row["sha256_image"] == sha256(files["image"]) and row["patient_alias"] == "Q9"
    assert (row["n_labelled"], row["n_tumour"], row["n_normal"], row["label_source"]) == (
        1,
        1,
        0,
        "pathologist",
    )


@pytest.mark.parametrize(("x", "kept"), [(-0.5, False), (0.0, True), (249.9, True), (250.0, False)])
def test_centre_must_lie_inside_the_image(tmp_path: Path, x: float, kept: bool) -> None:
    raw = raw_section(GRID)
    raw.spots.loc["2x3", "pixel_x"] = x
    if x < 200:  # keep the grid plausible: move the spot's grid position along
        raw.spots.loc["2x3", "array_x"] = x / PITCH
    _, row = assemble(raw, info(um_per_px=None), {"image": image(tmp_path, 250, 400)})
    assert row["dropped_outside_image"] == int(not kept)


def test_without_image_nothing_is_outside() -> None:
    adata, row = assemble(raw_section([(1, 1), (2, 2), (900, 900)]), INFO, {})
    assert row["n_spots_kept"] == 3 and row["image_width"] == 0 and row["sha256_image"] == ""
    assert adata.uns["image"] == ""


@pytest.mark.parametrize(("value", "shown"), [(-1, "-1"), (1.5, "1.5"), (math.nan, "nan"), (math.inf, "inf")])
def test_counts_must_be_whole_and_not_negative(value: float, shown: str) -> None:
    values = np.ones((4, 2))
    values[2, 1] = value
    with pytest.raises(UserError, match=f"Section S1: the count of gene G1 at spot 1x2 is {shown}"):
        assemble(raw_section(GRID, values), INFO, {})


def test_spots_must_be_unique_and_placed() -> None:
    with pytest.raises(UserError, match="Section S1: spot 1x1 occurs twice"):
        assemble(raw_section([(1, 1), (2, 1), (1, 1)]), INFO, {})
    raw = raw_section(GRID)
    raw.spots.loc["1x2", "pixel_y"] = math.nan
    with pytest.raises(UserError, match="Section S1: pixel_y of spot 1x2 is missing"):
        assemble(raw, INFO, {})


def test_genes_that_share_a_symbol_are_told_apart_by_their_identifier() -> None:
    """The name must not depend on the order of a section's file."""
    first, row = assemble(raw_section(GRID, genes=["TBCE", "TBCE"]), INFO, {})
    assert list(first.var_names) == ["TBCE.E0", "TBCE.E1"] and row["n_genes_renamed"] == 2
    raw = raw_section(GRID, genes=["TBCE", "TBCE"])
    raw.genes["gene_id"] = ["E1", "E0"]
    second, _ = assemble(raw, INFO, {})
    assert list(second.var_names) == ["TBCE.E1", "TBCE.E0"]
    raw.genes["gene_id"] = ""
    with pytest.raises(UserError, match="gene TBCE occurs twice"):
        assemble(raw, INFO, {})


def test_one_spot_needs_a_declared_scale() -> None:
    one = raw_section([(4, 5)])
    with pytest.raises(UserError, match="declare um_per_px"):
        assemble(one, INFO, {})
    adata, row = assemble(one, info(um_per_px=0.688), {})
    assert adata.n_obs == 1 and row["um_per_px"] == 0.688 and row["scale_residual_px"] is None


def test_declared_scale_must_agree() -> None:
    assemble(raw_section(GRID), info(um_per_px=1.92), {})  # 4 %
    with pytest.raises(UserError, match=r"declared as 1\.8"):
        assemble(raw_section(GRID), info(um_per_px=1.8), {})


def test_swapped_axes_are_refused() -> None:
    raw = raw_section([(x, y) for x in range(6) for y in range(3) if x + y])
    raw.spots[["pixel_x", "pixel_y"]] = raw.spots[["pixel_y", "pixel_x"]].to_numpy()
    with pytest.raises(UserError, match="swapped"):
        assemble(raw, INFO, {})


def test_nothing_left_says_why() -> None:
    with pytest.raises(UserError, match=r"no spot is left of 4 .*zero_umi: 4"):
        assemble(raw_section(GRID, np.zeros((4, 2))), INFO, {})


def test_gene_that_is_constant_or_never_seen_stays() -> None:
    adata, _ = assemble(raw_section(GRID, [[3, 0, 1], [3, 0, 2], [3, 0, 3], [3, 0, 4]]), INFO, {})
    assert adata.n_vars == 3 and adata.X[:, 1].nnz == 0


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "S1.jpg: the image does not exist"), (b"", "empty"), (b"\xff\xd8\xff\xe0", "S1.jpg")],
)
def test_missing_or_broken_image(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "S1.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=says):
        assemble(raw_section(GRID), INFO, {"image": str(path)})


@pytest.mark.parametrize(
    "entry", ["histobench.cohorts.nowhere:read", "histobench.cohorts.readers.her2st:nothing", "read"]
)
def test_reader_that_does_not_exist(entry: str) -> None:
    with pytest.raises(UserError, match=f'reader "{entry}" cannot be found'):
        load_entry(entry, "reader")


def legacy_files(folder: Path, name: str = "S1") -> dict[str, str]:
    counts, spots = folder / f"{name}.tsv", folder / f"{name}_spots.tsv"
    counts.write_text("\tA\tB\n1x1\t1\t0\n2x1\t2\t5\n9x9\t1\t1\n1x2\t0\t0\n")
    spots.write_text(
        "x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y\n1\t1\t1\t1\t100\t100\n2\t1\t2\t1\t200\t100\n1\t2\t1\t2\t100\t200\n"
    )
    return {"counts": str(counts), "spots": str(spots)}


def write(folder: Path, files: dict[str, str], section: str = "S1", **changes: Any) -> tuple[Path, Path]:
    outputs = folder / f"{section}.h5ad", folder / f"{section}.json"
    arguments: dict[str, Any] = {
        "reader": "histobench.cohorts.readers.her2st:read_section",
        "cohort": "c",
        "section": section,
        "record": {"patient": "P1", "um_per_px": 2.0},
        "files": files,
        "options": {},
        "pitch_um": 200,
        "spot_um": 100,
        "output_h5ad": outputs[0],
        "output_json": outputs[1],
    }
    write_section(**{**arguments, **changes})
    return outputs


def test_write_section_from_files(tmp_path: Path) -> None:
    files = legacy_files(tmp_path)
    h5ad, row = write(tmp_path, files, alias="BC1")
    stored = json.loads(row.read_text())
    assert stored["dropped_no_position"] == 1 and stored["dropped_zero_umi"] == 1
    assert (stored["n_spots_raw"], stored["n_spots_kept"]) == (4, 2)
    assert stored["sha256_counts"] == sha256(files["counts"]) and stored["patient_alias"] == "BC1"
    assert list(load_section(h5ad).obs_names) == ["1x1", "2x1"]


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    files = legacy_files(tmp_path)
    first = [path.read_bytes() for path in write(tmp_path, files)]
    again = [path.read_bytes() for path in write(tmp_path, files)]
    assert first == again


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("counts", "\t5\n", "\t-5\n"),
        ("counts", "2x1", "1x1"),
        ("spots", "\t200\t100", "\t200\t"),
        ("counts", "\t2\t", "\t2.5\t"),
    ],
)
def test_bad_input_leaves_nothing_behind(tmp_path: Path, kind: str, old: str, new: str) -> None:
    files = legacy_files(tmp_path)
    path = Path(files[kind])
    path.write_text(path.read_text().replace(old, new))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=str(path)):
        write(tmp_path, files)
    assert sorted(tmp_path.iterdir()) == before


def test_unfinished_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that cannot be stored must not leave a section without it."""
    files = legacy_files(tmp_path)
    before = sorted(tmp_path.iterdir())

    def fail(*_: object) -> None:
        raise UserError("the disk is full")

    monkeypatch.setattr(section_module, "write_json", fail)
    with pytest.raises(UserError):
        write(tmp_path, files)
    assert sorted(tmp_path.iterdir()) == before


def test_wrong_number_of_spots_is_caught_before_the_rename(tmp_path: Path) -> None:
    adata, row = assemble(raw_section(GRID), INFO, {})
    with pytest.raises(RuntimeError, match="instead of 5"):
        store_section(adata, {**row, "n_spots_kept": 5}, tmp_path / "a.h5ad", tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []


def test_cohort_table(tmp_path: Path) -> None:
    rows = []
    for name, patient, counts in (("S2", "NA", [[1, 1], [0, 0], [1, 2], [2, 3]]), ("S1", "P1", None)):
        raw = raw_section(GRID, counts)
        raw.dropped = {"no_position": 1} if name == "S2" else {}
        adata, row = assemble(raw, info(section=name, patient=patient, patient_alias=""), {})
        store_section(adata, row, tmp_path / f"{name}.h5ad", tmp_path / f"{name}.json")
        rows.append(tmp_path / f"{name}.json")
    write_cohort_table(rows, tmp_path / "sections.tsv")
    table = pd.read_csv(tmp_path / "sections.tsv", sep="\t", keep_default_na=False)
    assert list(table["section"]) == ["S2", "S1"]  # as given
    assert list(table["patient"]) == ["NA", "P1"]
    assert list(table.columns[:5]) == ["section", "patient", "patient_alias", "n_spots_raw", "n_spots_kept"]
    assert list(table["dropped_no_position"]) == [1, 0] and list(table["dropped_zero_umi"]) == [1, 0]
    assert list(table["dropped_spots"]) == ["2x1 (zero_umi)", ""]
    assert list(table["n_spots_raw"] - table["n_spots_kept"]) == [2, 0]
    with pytest.raises(UserError, match="Section S2 occurs twice"):
        write_cohort_table([rows[0], rows[0]], tmp_path / "again.tsv")


def gene_section(
    folder: Path, name: str, genes: list[str], values: Any, ids: list[str] | None = None
) -> Path:
    raw = raw_section(GRID, values, genes)
    raw.genes["gene_id"] = ids or [""] * len(genes)
    adata, row = assemble(raw, info(section=name), {})
    store_section(adata, row, folder / f"{name}.h5ad", folder / f"{name}.json")
    return folder / f"{name}.h5ad"


def test_gene_table_is_the_sorted_union(tmp_path: Path) -> None:
    first = gene_section(tmp_path, "S1", ["NA", "B"], [[1, 0], [2, 0], [0, 7], [1, 0]], ["", "E2"])
    second = gene_section(tmp_path, "S2", ["A", "NA"], [[1, 1], [1, 1], [1, 1], [0, 1]], ["E1", "E9"])
    write_gene_table([first, second], tmp_path / "genes.tsv")
    table = pd.read_csv(tmp_path / "genes.tsv", sep="\t", keep_default_na=False)
    assert table.to_dict("list") == {
        "gene": ["A", "B", "NA"],
        "gene_id": ["E1", "E2", "E9"],
        "n_sections": [1, 1, 2],
        "n_spots": [3, 1, 7],
        "total_counts": [3, 7, 8],
    }
    third = gene_section(tmp_path, "S3", ["B"], [[1], [1], [1], [1]], ["E7"])
    with pytest.raises(UserError, match="gene B has the identifier E7, but E2"):
        write_gene_table([first, third], tmp_path / "clash.tsv")


def test_missing_section_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such section"):
        load_section(tmp_path / "S9.h5ad")


@settings(max_examples=60, deadline=None)
@given(
    own=st.lists(st.sampled_from("ABCDEFG"), unique=True, min_size=1),
    wanted=st.lists(st.sampled_from("ABCDEFGH"), unique=True),
    seed=st.integers(0, 2**31),
)
def test_aligned_counts_equal_a_dense_reindex(own: list[str], wanted: list[str], seed: int) -> None:
    import anndata

    values = np.random.default_rng(seed).integers(0, 3, (5, len(own)))
    adata = anndata.AnnData(X=sparse.csr_matrix(values.astype(np.int32)), var=pd.DataFrame(index=own))
    aligned = align_counts(adata, wanted)
    expected = pd.DataFrame(values, columns=own).reindex(columns=wanted, fill_value=0).to_numpy()
    assert aligned.shape == (5, len(wanted)) and aligned.dtype == np.int32 and aligned.has_sorted_indices
    np.testing.assert_array_equal(aligned.toarray(), expected)


def test_align_refuses_repeated_genes() -> None:
    adata, _ = assemble(raw_section(GRID), INFO, {})
    with pytest.raises(ValueError, match="unique"):
        align_counts(adata, ["G0", "G0"])


@pytest.mark.parametrize("mixed", ["sorted", "shuffled"])
def test_pixels_that_were_mixed_up_are_told_by_the_geometry_also_where_spots_share_some(mixed: str) -> None:
    raw = raw_section([(x, y) for x in range(1, 8) for y in range(1, 7)])
    x = raw.spots["pixel_x"].to_numpy()
    raw.spots["pixel_x"] = np.sort(x) if mixed == "sorted" else np.random.default_rng(0).permutation(x)
    raw.spots["pixel_y"] = np.sort(raw.spots["pixel_y"])
    with pytest.raises(UserError, match="pitches from where the array says"):
        assemble(raw, INFO, {})


def test_two_spots_at_one_pixel_are_refused() -> None:
    raw = raw_section([(x, y) for x in range(1, 8) for y in range(1, 7)])
    raw.spots.loc["3x3", ["pixel_x", "pixel_y"]] = [350.0, 300.0]
    raw.spots.loc["4x3", ["pixel_x", "pixel_y"]] = [350.0, 300.0]
    with pytest.raises(UserError, match=r"spots 3x3 and 4x3 lie at one pixel \(350, 300\), and 2 of 42"):
        assemble(raw, INFO, {})


def test_a_spot_that_lies_outside_because_it_lies_wrong_is_named(tmp_path: Path) -> None:
    places = [(x, y) for x in range(1, 8) for y in range(1, 7)]
    files = {"image": image(tmp_path, 620, 700)}  # cut off before the last column: six spots of 42
    _, row = assemble(raw_section([*places[:-6], (6, 7)]), INFO, files)
    assert row["dropped_outside_image"] == 1
    raw = raw_section(places[:-6])
    raw.spots.loc["2x2", "pixel_x"] = 2000.0
    with pytest.raises(UserError, match=r"spot 2x2 lies .* pitches from where the array says"):
        assemble(raw, INFO, files)
    _, row = assemble(raw, info(allow_losses=["outside_image"]), files)
    assert row["dropped_spots"] == {"2x2": "outside_image"}


@pytest.mark.parametrize(("n_columns", "lost"), [(6, 0), (7, 6), (8, 12)])
def test_a_fifth_of_the_spots_outside_the_image_is_too_many(
    tmp_path: Path, n_columns: int, lost: int
) -> None:
    raw = raw_section([(x, y) for x in range(1, n_columns + 1) for y in range(1, 7)])
    files = {"image": image(tmp_path, 620, 700)}
    if lost <= 0.2 * 6 * n_columns:
        assert assemble(raw, INFO, files)[1]["dropped_outside_image"] == lost
        return
    with pytest.raises(UserError, match=rf"{lost} of \d+ spots lie outside the image"):
        assemble(raw, INFO, files)
    _, row = assemble(raw, info(allow_losses=["outside_image"]), files)
    assert row["dropped_outside_image"] == lost


def test_where_nothing_is_left_no_key_is_offered_that_does_not_help() -> None:
    places = [(x, y) for x in range(1, 8) for y in range(1, 7)]
    with pytest.raises(
        UserError, match=r"42 of 44 spots have no count of any gene; .*, or leave the section out"
    ):
        assemble(raw_section(places, np.zeros((42, 2))), INFO, {})
    with pytest.raises(UserError, match="no spot is left of 42"):
        assemble(raw_section(places, np.zeros((42, 2))), info(allow_losses=["zero_umi"]), {})
