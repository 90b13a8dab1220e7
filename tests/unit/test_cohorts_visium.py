"""Visium sections: both kinds of position files, the HDF5 matrix, labels, and the scale of the hexagonal grid."""

from __future__ import annotations

import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from unit.visium_files import grid, write_matrix, write_positions

from histobench.cohorts.readers.visium import (
    read_labels,
    read_matrix,
    read_positions,
    read_section,
    read_spatial,
)
from histobench.cohorts.section import SectionInfo, assemble
from histobench.errors import UserError
from histobench.yamlfiles import read_yaml

PLACES = grid()
BARCODES = [f"ACGT{n:04d}-1" for n in range(len(PLACES))]
IN_TISSUE = [n % 5 != 0 for n in range(len(PLACES))]
KEPT = [barcode for barcode, inside in zip(BARCODES, IN_TISSUE, strict=True) if inside]
NAMES = ["ERBB2", "TBCE", "TBCE", "CD3D"]
IDS = ["ENSG00000141736", "ENSG00000285053", "ENSG00000284770", "CD3D-antibody"]
KINDS = ["Gene Expression"] * 3 + ["Antibody Capture"]


def positions(folder: Path, *, header: bool, name: str = "tissue_positions.csv") -> Path:
    rows = [
        (barcode, int(inside), *place)
        for barcode, inside, place in zip(BARCODES, IN_TISSUE, PLACES, strict=True)
    ]
    return write_positions(folder / name, rows, header=header)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    counts = np.random.default_rng(0).poisson(2.0, (len(KEPT), len(IDS)))
    counts[:, 0] += 1
    return {
        "counts": str(write_matrix(tmp_path / "m.h5", counts, KEPT[::-1], NAMES, IDS, KINDS)),
        "positions": str(positions(tmp_path, header=True)),
    }


@pytest.mark.parametrize("header", [True, False])
def test_positions_with_and_without_header_lose_no_spot(tmp_path: Path, header: bool) -> None:
    found = read_positions(positions(tmp_path, header=header))
    assert list(found.index) == BARCODES
    row, column, pixel_row, pixel_column = PLACES[7]
    assert found.iloc[7].tolist() == [column, row, pixel_column, pixel_row, IN_TISSUE[7], False]


def test_position_errors_name_the_line(tmp_path: Path) -> None:
    path = write_positions(tmp_path / "p.csv", [("A-1", 1, 0, 0, 5, 6), ("A-1", 1, 0, 2, 5, 7)], header=False)
    with pytest.raises(UserError, match="spot A-1 stands in lines 1 and 2"):
        read_positions(path)
    path = write_positions(
        tmp_path / "p.csv", [("A-1", 1, 0, 0, 5, 6), ("B-1", 1, 0, "x", 5, 7)], header=True
    )
    with pytest.raises(UserError, match='line 3, column array_col: expected a number, found "x"'):
        read_positions(path)
    path.write_text("barcode,in_tissue,array_row,array_col,imagerow,imagecol\nA-1,1,0,0,5,6\n")
    with pytest.raises(UserError, match="column pxl_row_in_fullres is missing"):
        read_positions(path)
    path.write_text("A-1,1,0,0,5\n")
    with pytest.raises(UserError, match="line 1 has 5 fields, expected 6"):
        read_positions(path)


@pytest.mark.parametrize("name", ["tissue_positions.csv", "tissue_positions_list.csv"])
def test_spatial_folder_and_tar(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "spatial"
    folder.mkdir()
    positions(folder, header=name == "tissue_positions.csv", name=name)
    with tarfile.open(tmp_path / "spatial.tar.gz", "w:gz") as packed:
        packed.add(folder, "spatial")
    for path in (folder, tmp_path, tmp_path / "spatial.tar.gz"):
        assert list(read_spatial(path).index) == BARCODES
    (folder / name).unlink()
    with pytest.raises(UserError, match=r"holds none of tissue_positions\.csv"):
        read_spatial(folder)
    with tarfile.open(tmp_path / "spatial.tar.gz", "w:gz") as packed:
        packed.add(tmp_path / "m.h5" if (tmp_path / "m.h5").exists() else __file__, "spatial/other")
    with pytest.raises(UserError, match=r"holds no tissue_positions\.csv"):
        read_spatial(tmp_path / "spatial.tar.gz")


def test_matrix_is_read_by_barcode(tmp_path: Path) -> None:
    expected = np.array([[1, 0, 5, 7], [0, 2, 0, 8]])
    path = write_matrix(tmp_path / "m.h5", expected, ["A-1", "B-1"], NAMES, IDS, KINDS)
    counts, barcodes, genes, n_other = read_matrix(path)
    np.testing.assert_array_equal(counts.toarray(), expected[:, :3])
    assert counts.dtype == np.int32 and list(barcodes) == ["A-1", "B-1"] and n_other == 1
    assert list(genes.index) == NAMES[:3] and list(genes["gene_id"]) == IDS[:3]


def test_matrix_errors(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with pytest.raises(UserError, match="no such file"):
        read_matrix(path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n truncated")
    with pytest.raises(UserError, match="damaged or no feature matrix"):
        read_matrix(path)
    write_matrix(path, [[1, 0, 5, 7]], ["A-1"], NAMES, IDS)
    with h5py.File(path, "a") as stored:
        del stored["matrix/indptr"]
        stored["matrix/indptr"] = np.array([0, 9])
    with pytest.raises(UserError, match="parts do not fit together"):
        read_matrix(path)
    with h5py.File(path, "w") as stored:
        stored["X"] = np.zeros(3)
    with pytest.raises(UserError, match="has no group matrix/features"):
        read_matrix(path)
    write_matrix(path, [[1, 0, 5, 7]], ["A-1"], NAMES, IDS)
    with h5py.File(path, "a") as stored:
        del stored["matrix/data"]
        stored["matrix/data"] = np.array([0.5, 1, 2])
    with pytest.raises(UserError, match="values that are no counts"):
        read_matrix(path)


def test_section(files: dict[str, str]) -> None:
    raw = read_section("S1", files, {})
    assert list(raw.spots.index) == KEPT[::-1] and raw.grid == "hexagonal"
    assert raw.dropped == {"no_position": 0, "no_counts": 0, "not_in_tissue": 0, "feature_other_type": 1}
    info = SectionInfo("visium", "S1", "P", pitch_um=100, spot_um=55)
    adata, row = assemble(raw, info, files)
    # 100 µm are 137.7 px; the diameter of 55 µm that Space Ranger reports is that of a wider circle
    assert row["um_per_px"] == pytest.approx(100 / 137.7) and row["scale_residual_px"] < 1e-6
    # genes that share a symbol are told apart by their id, whatever their order
    assert list(adata.var_names) == ["ERBB2", "TBCE.ENSG00000285053", "TBCE.ENSG00000284770"]


def test_spots_lost_in_the_join_are_counted(tmp_path: Path, files: dict[str, str]) -> None:
    outside = BARCODES[0]  # not in tissue, yet with counts
    barcodes = [*KEPT[:-2], outside, "NNNN-1"]
    files["counts"] = str(write_matrix(tmp_path / "n.h5", np.ones((len(barcodes), 4)), barcodes, NAMES, IDS))
    raw = read_section("S1", files, {})
    assert raw.dropped == {"no_position": 1, "no_counts": 2, "not_in_tissue": 1}
    assert list(raw.spots.index) == KEPT[:-2]


def test_files_and_options_are_checked(files: dict[str, str]) -> None:
    with pytest.raises(UserError, match='must name "counts", and "positions" or "spatial"'):
        read_section("S1", {"counts": files["counts"]}, {})
    with pytest.raises(UserError, match='no option "label"'):
        read_section("S1", files, {"label": {}})
    with pytest.raises(UserError, match="no key tumor; known are"):
        read_section("S1", {**files, "labels": files["positions"]}, {"labels": {"tumor": []}})
    with pytest.raises(UserError, match="must name the column with the label"):
        read_section("S1", {**files, "labels": files["positions"]}, {"labels": {"barcode": "barcode"}})


def test_layers_of_several_sections_without_a_header(
    tmp_path: Path, files: dict[str, str], project: Path
) -> None:
    path = tmp_path / "barcode_level_layer_map.tsv"
    path.write_text(
        f"{KEPT[0]}\t151507\tL1\n{KEPT[1]}\t151507\tWM\n{KEPT[2]}\t151507\t\n{KEPT[0]}\t151508\tL3\nNNNN-1\t151507\tL2\n"
    )
    options = read_yaml(project / "config/cohorts/dlpfc.yaml")["options"]
    raw = read_section("151507", {**files, "labels": str(path)}, options)
    found = raw.spots[raw.spots["label"] != ""]
    assert found["label"].to_dict() == {KEPT[0]: "L1", KEPT[1]: "WM"}
    assert raw.spots["tumour"].isna().all() and set(found["label_source"]) == {"expert"}
    assert raw.dropped["label_no_spot"] == 1
    with pytest.raises(UserError, match="column section never says 151510"):
        read_labels(path, options["labels"], "151510")


def test_layers_cover_the_donors(project: Path) -> None:
    sections = read_yaml(project / "config/cohorts/dlpfc.yaml")["sections"]
    donors = [record["patient"] for record in sections.values()]
    assert len(sections) == 12 and sorted(donors.count(name) for name in set(donors)) == [4, 4, 4]


@pytest.mark.parametrize("unsaid", ["NA", "", "nan", "None"])
def test_spots_of_which_nothing_is_said_are_counted_as_such(files, unsaid: str) -> None:
    path = Path(files["positions"])
    first, second = KEPT[:2]
    text = path.read_text()
    for barcode in (first, second):
        text = text.replace(f"{barcode},1,", f"{barcode},{unsaid},")
    path.write_text(text)
    raw = read_section("S1", files, {})
    assert raw.dropped["no_tissue_value"] == 2 and raw.dropped["not_in_tissue"] == 0
    assert list(raw.spots.index) == [barcode for barcode in KEPT[::-1] if barcode not in (first, second)]


@pytest.mark.parametrize(("sign", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_another_separator_of_positions_is_told_with_the_right_one(
    tmp_path: Path, sign: str, name: str
) -> None:
    path = positions(tmp_path, header=True)
    path.write_text(path.read_text().replace(",", sign))
    with pytest.raises(UserError, match=f"separated by {name}; separate barcode, .* by commas"):
        read_positions(path)
