"""The table of nuclei: discs that are drawn are found, counted and measured in micrometres."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

from histobench.errors import UserError
from histobench.evaluation.nuclei import write_nuclei
from histobench.filelists import write_list
from histobench.files import write_table
from histobench.results.catalogue import catalogue
from histobench.results.tables import read

NUCLEUS, STROMA = (80, 50, 140), (235, 180, 210)
RADIUS_PX, UM_PER_PX = 6, 0.7


def patch(centres) -> np.ndarray:
    image = np.full((96, 96, 3), STROMA, np.uint8)
    y, x = np.mgrid[:96, :96]
    for row, column in centres:
        image[(y - row) ** 2 + (x - column) ** 2 <= RADIUS_PX**2] = NUCLEUS
    return image


@pytest.fixture
def section(tmp_path):
    patches = np.stack([patch([(30, 30), (60, 70)]), patch([(20, 20), (20, 70), (70, 45)]), patch([])])
    np.save(tmp_path / "A1.npy", patches)
    write_table(pd.DataFrame({"spot": ["1x1", "1x2", "1x3"]}), tmp_path / "A1.tsv")
    data = anndata.AnnData(np.ones((3, 1), np.float32), uns={"um_per_px": UM_PER_PX, "section": "A1"})
    data.write_h5ad(tmp_path / "A1.h5ad")
    write_list({"A1": {"patches": tmp_path / "A1.npy", "index": tmp_path / "A1.tsv"}}, tmp_path / "list.tsv")
    return [[tmp_path / "list.tsv"], tmp_path / "A1.h5ad"]


RECIPE = {
    "threshold": "otsu",
    "min_radius_um": 3.0,
    "max_radius_um": 5.0,
    "clustering_um": 5.0,
    "min_area_um2": 10.0,
}


def test_drawn_nuclei_are_counted_and_measured(section, tmp_path):
    write_nuclei(*section, tmp_path / "nuclei.parquet", recipe=RECIPE, um_per_px="native")
    table = read(tmp_path / "nuclei.parquet", catalogue()["nuclei"]).set_index("spot")
    assert table["n_nuclei"].tolist() == [2, 3, 0] and set(table["section"]) == {"A1"}
    area = np.pi * (RADIUS_PX * UM_PER_PX) ** 2
    assert table.loc["1x1", "area"] == pytest.approx(area, rel=0.1)
    field = (96 * UM_PER_PX) ** 2
    assert table.loc["1x2", "density"] == pytest.approx(3e6 / field)
    assert table.loc["1x2", "area_share"] == pytest.approx(3 * table.loc["1x2", "area"] / field)
    assert table.loc["1x1", "min_distance"] == pytest.approx(50 * UM_PER_PX, rel=0.02)
    assert np.isnan(table.loc["1x3", "area"]) and table.loc["1x3", "area_share"] == 0
    assert table["haematoxylin"].is_monotonic_decreasing is False and table.loc["1x3", "haematoxylin"] < 0.3


def test_a_resampled_patch_has_the_scale_it_was_cut_at(section, tmp_path):
    write_nuclei(*section, tmp_path / "nuclei.parquet", recipe={**RECIPE, "min_area_um2": 1.0}, um_per_px=1.4)
    table = read(tmp_path / "nuclei.parquet", catalogue()["nuclei"])
    assert table["area"].iloc[0] == pytest.approx(np.pi * (RADIUS_PX * 1.4) ** 2, rel=0.1)


def test_a_section_without_scale_is_one_sentence(section, tmp_path):
    anndata.AnnData(np.ones((3, 1), np.float32), uns={"section": "A1"}).write_h5ad(section[1])
    with pytest.raises(UserError, match="section A1: nuclei need um/px"):
        write_nuclei(*section, tmp_path / "nuclei.parquet", recipe=RECIPE, um_per_px="native")
