"""Visium files as published: positions, scale and regions of a breast section, counts of a mouse brain."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from unit.visium_files import write_matrix, write_positions

from histobench.cohorts.readers.visium import read_positions, read_section, read_spatial
from histobench.cohorts.section import SectionInfo, assemble
from histobench.imaging.scale import fit_scale
from histobench.yamlfiles import read_yaml


@pytest.fixture(scope="module")
def breast(shared_data: Path) -> Path:
    folder = shared_data / "visium_block_a_s1"
    if not folder.is_dir():
        pytest.skip("the mirror has no visium_block_a_s1")
    return folder


@pytest.fixture(scope="module")
def mouse(shared_data: Path) -> Path:
    folder = shared_data / "visium_mouse_mini"
    if not folder.is_dir():
        pytest.skip("the mirror has no visium_mouse_mini")
    return folder


def test_positions_of_all_barcodes(breast: Path) -> None:
    found = read_spatial(breast / "spatial")
    assert len(found) == 4992 and int(found["selected"].sum()) == 3798
    first = found.loc["ACGCCTGACACGCGCT-1"]  # the file's first line: 0,0,0,4034,3524
    assert first.to_dict() == {
        "array_x": 0.0, "array_y": 0.0, "pixel_x": 3524.0, "pixel_y": 4034.0, "selected": False, "unsaid": False,
    }  # fmt: skip


def test_scale_follows_from_the_pitch_not_from_the_spot_diameter(breast: Path) -> None:
    found = read_positions(breast / "spatial/tissue_positions_list.csv")
    columns = [found[name] for name in ("array_x", "array_y", "pixel_x", "pixel_y")]
    fit = fit_scale(*columns, pitch_um=100, grid="hexagonal", allow_flipped=True)
    # 273.05 px between neighbours of a row; rows are half a percent further apart than on a regular grid, and
    # the image lies turned by a tenth of a degree, which leaves some pixels of residual
    assert fit.um_per_px_x == pytest.approx(100 / 273.05, rel=1e-4)
    assert fit.um_per_px == pytest.approx(0.3662, rel=0.005)
    assert fit.um_per_px_x == pytest.approx(fit.um_per_px_y, rel=0.005) and fit.residual_px < 0.1 * 273
    diameter = json.loads((breast / "spatial/scalefactors_json.json").read_text())["spot_diameter_fullres"]
    assert diameter * fit.um_per_px == pytest.approx(65.0, rel=0.005)


def test_regions_join_every_spot(breast: Path, project: Path, tmp_path: Path) -> None:
    spots = read_spatial(breast / "spatial")
    inside = spots.index[spots["selected"]]
    matrix = write_matrix(tmp_path / "m.h5", np.ones((len(inside), 1)), inside, ["A"], ["ENSG1"])
    cohort = read_yaml(project / "config/cohorts/visium_breast.yaml")
    files = {
        "counts": str(matrix),
        "spatial": str(breast / "spatial"),
        "labels": str(breast / "region_labels.tsv"),
    }
    raw = read_section("S1", files, cohort["options"])
    words = {"Invasive": 1663, "Tumor": 827, "Surrounding tumor": 823, "Healthy": 485}
    assert raw.spots["label"].value_counts().to_dict() == words
    assert (raw.spots["tumour"] == 1).sum() == 1663 + 827 and (raw.spots["tumour"] == 0).sum() == 485
    assert raw.dropped["label_no_spot"] == raw.dropped["no_counts"] == 0
    info = SectionInfo(
        "visium_breast", "S1", "BlockA", 100, 55, um_per_px=cohort["sections"]["S1"]["um_per_px"]
    )
    _, row = assemble(raw, info, files)
    assert row["n_spots_kept"] == 3798 and row["n_tumour"] == 2490


def test_counts_of_a_mouse_brain(mouse: Path, breast: Path, tmp_path: Path) -> None:
    """624 spots x 634 genes with their true barcodes, which say where each spot lies on the array."""
    with gzip.open(mouse / "visium_DG_expr.txt.gz", "rt") as stream:
        expected = pd.read_csv(stream, sep=" ").T
    pixels = np.loadtxt(mouse / "visium_DG_locs.txt")
    # Every slide of this generation has the same barcodes at the same places of the array.
    array = read_spatial(breast / "spatial").loc[expected.index]
    rows = [
        (barcode, 1, int(y), int(x), int(-pixel_y), int(pixel_x))
        for barcode, x, y, (pixel_x, pixel_y) in zip(
            expected.index, array["array_x"], array["array_y"], pixels, strict=True
        )
    ]
    files = {
        "counts": str(
            write_matrix(tmp_path / "m.h5", expected, expected.index, expected.columns, expected.columns)
        ),
        "positions": str(write_positions(tmp_path / "tissue_positions.csv", rows, header=True)),
    }
    adata, row = assemble(read_section("M1", files, {}), SectionInfo("mouse", "M1", "M", 100, 55), files)
    assert adata.shape == (624, 634) and row["n_spots_raw"] == 624
    np.testing.assert_array_equal(adata.X.toarray(), expected.to_numpy())
    # The slide's own scale factors say 65 µm wide spots, as on every slide of this generation.
    diameter = json.loads((mouse / "scalefactors_json.json").read_text())["spot_diameter_fullres"]
    assert row["um_per_px"] == pytest.approx(65.0 / diameter, rel=0.01)
    assert row["scale_residual_px"] < 2
