"""Sections and predictions are drawn by scanpy as they are, without arguments that a user has to look up."""

from __future__ import annotations

import warnings

import anndata
import pytest
from unit.own_cohort import OwnCohort
from unit.section_files import section_adata

from histobench.cohorts.section import write_section
from histobench.training.contract import Prediction
from histobench.training.load import load_section
from histobench.training.run import write_prediction

SPOT_PX = 100 / (200 / 60)  # 100 µm on a pitch of 200 µm, which is 60 pixels


@pytest.fixture
def section(tmp_path):
    own = OwnCohort(tmp_path / "mine", sections=("S1",))
    files = {kind: str(own.folder / own.row("S1")[kind]) for kind in ("image", "counts", "positions")}
    write_section(
        reader="histobench.cohorts.table_cohort:read_section", cohort="mine", section="S1",
        record={"patient": "P1"}, files=files, options={}, pitch_um=200, spot_um=100,
        output_h5ad=tmp_path / "S1.h5ad", output_json=tmp_path / "S1.json",
    )  # fmt: skip
    return tmp_path / "S1.h5ad"


def predict(section, path):
    """A prediction file of a section: its own truth, as an oracle would write it."""
    genes = tuple(anndata.read_h5ad(section).var_names)
    loaded = load_section(section, panel=genes, all_genes=genes)
    about = {"section": "S1", **({"spatial": loaded.spatial} if loaded.spatial else {})}
    write_prediction(path, loaded, Prediction(expression=loaded.data.targets), genes, about)
    return path


def drawn(path):
    scanpy = pytest.importorskip("scanpy")
    table = scanpy.read_h5ad(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of scanpy about its own function
        (axes,) = scanpy.pl.spatial(table, color=table.var_names[0], show=False)
    return table, axes.collections[0]


def test_a_section_knows_how_large_its_spots_are(section):
    (spatial,) = anndata.read_h5ad(section).uns["spatial"].values()
    assert spatial["scalefactors"]["spot_diameter_fullres"] == pytest.approx(SPOT_PX, rel=1e-6)


def test_scanpy_draws_a_section_and_its_prediction(section, tmp_path):
    for path in (section, predict(section, tmp_path / "prediction.h5ad")):
        table, spots = drawn(path)
        assert list(table.uns["spatial"]) == ["S1"] and len(spots.get_paths()) >= 1
        assert len(spots.get_array()) == table.n_obs


def test_a_section_of_an_earlier_version_is_predicted_all_the_same(tmp_path):
    old = section_adata([[1, 2], [3, 4]], ["ACTB", "GNAS"], section="S1")
    old.write_h5ad(tmp_path / "old.h5ad", convert_strings_to_categoricals=False)
    assert "spatial" not in anndata.read_h5ad(predict(tmp_path / "old.h5ad", tmp_path / "p.h5ad")).uns
