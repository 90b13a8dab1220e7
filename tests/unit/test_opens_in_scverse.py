"""Sections and predictions open in scanpy and squidpy as they are, as the tutorials of both call them."""

from __future__ import annotations

import warnings

import anndata
import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from unit.own_cohort import OwnCohort
from unit.section_files import section_adata

from histobench.cohorts.library import HIRES_PX, LOWRES_PX, library, small_library, with_conventions
from histobench.cohorts.section import write_section
from histobench.evaluation.metrics import gene_metrics
from histobench.training.contract import Prediction
from histobench.training.load import load_section
from histobench.training.run import write_prediction

SPOT_PX = 100 / (200 / 60)  # 100 µm on a pitch of 200 µm, which is 60 pixels


@pytest.fixture
def own(tmp_path):
    return OwnCohort(tmp_path / "mine", sections=("S1",))


@pytest.fixture
def section(own, tmp_path):
    files = {kind: str(own.folder / own.row("S1")[kind]) for kind in ("image", "counts", "positions")}
    write_section(
        reader="histobench.cohorts.readers.table_cohort:read_section", cohort="mine", section="S1",
        record={"patient": "P1"}, files=files, options={}, pitch_um=200, spot_um=100,
        output_h5ad=tmp_path / "S1.h5ad", output_json=tmp_path / "S1.json",
    )  # fmt: skip
    return tmp_path / "S1.h5ad"


def predict(section, path, noise=0.0):
    """A prediction file of a section: its own truth, as an oracle would write it, with some noise."""
    genes = tuple(anndata.read_h5ad(section).var_names)
    loaded = load_section(section, panel=genes, all_genes=genes)
    about = {"section": "S1", "grid": loaded.data.grid, "spatial": small_library(loaded.spatial)}
    if not loaded.spatial:
        del about["spatial"]
    values = loaded.data.targets + np.random.default_rng(0).normal(0, noise, loaded.data.targets.shape)
    values[:, -1] = 1.5  # constant, as a method that knows nothing of a gene predicts it
    write_prediction(path, loaded, Prediction(expression=values), genes, about)
    return path


@pytest.fixture(params=["section", "prediction"])
def table(request, section, tmp_path):
    path = section if request.param == "section" else predict(section, tmp_path / "p.h5ad", noise=0.3)
    return anndata.read_h5ad(path)


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the tools about their own functions
        yield


def test_a_section_knows_how_large_its_spots_are(section):
    (spatial,) = anndata.read_h5ad(section).uns["spatial"].values()
    assert spatial["scalefactors"]["spot_diameter_fullres"] == pytest.approx(SPOT_PX, rel=1e-6)


def test_the_picture_is_that_of_the_section(own, section, tmp_path):
    full = np.asarray(Image.open(own.folder / own.row("S1")["image"]).convert("RGB"))
    predicted = anndata.read_h5ad(predict(section, tmp_path / "p.h5ad")).uns["spatial"]["S1"]
    stored = anndata.read_h5ad(section).uns["spatial"]["S1"]
    assert set(stored["images"]) == {"hires", "lowres"} and set(predicted["images"]) == {"hires"}
    for entry, name, longest in (
        (stored, "hires", HIRES_PX),
        (stored, "lowres", LOWRES_PX),
        (predicted, "hires", LOWRES_PX),
    ):
        picture, scale = entry["images"][name], entry["scalefactors"][f"tissue_{name}_scalef"]
        assert picture.dtype == np.uint8 and max(picture.shape[:2]) == min(longest, max(full.shape[:2]))
        assert scale == pytest.approx(picture.shape[1] / full.shape[1], rel=0.01)
        expected = cv2.resize(full, picture.shape[1::-1], interpolation=cv2.INTER_AREA).astype(float)
        assert np.abs(picture.astype(float) - expected).mean() < 3
        assert picture.std() > 5  # no white sheet


def test_a_large_picture_keeps_its_form_and_a_small_one_its_pixels():
    wide = np.zeros((400, 1000, 3), np.uint8)
    entry = library((20_000, 8_000), 50.0, wide)
    assert entry["images"]["hires"].shape == (240, 600, 3) and entry["images"]["lowres"].shape == (
        120,
        300,
        3,
    )
    assert entry["scalefactors"]["tissue_hires_scalef"] == pytest.approx(0.03)
    small = library((80, 40), 5.0, np.zeros((40, 80, 3), np.uint8))
    assert small["images"]["hires"].shape == (40, 80, 3)
    assert small["scalefactors"]["tissue_hires_scalef"] == 1.0
    sheet = library((500, 1000), 5.0)
    assert sheet["images"]["hires"].shape == (32, 16, 3) and sheet["images"]["hires"].min() == 255
    assert small_library({"S": sheet})["S"]["scalefactors"] == sheet["scalefactors"]


def test_columns_are_named_and_typed_as_the_tools_expect(table):
    for name in ("patient", "section", "label", "label_source"):
        assert isinstance(table.obs[name].dtype, pd.CategoricalDtype)
    assert np.abs(table.obs["array_row"] - table.obs["array_y"]).max() <= 0.5
    assert np.abs(table.obs["array_col"] - table.obs["array_x"]).max() <= 0.5
    assert table.obs["array_row"].dtype.kind == "i" and set(table.obs["in_tissue"]) == {1}
    assert "gene_id" in table.var


def test_an_irregular_section_has_no_rows_and_columns():
    spots = section_adata([[1], [2]], ["A"]).obs
    assert "array_row" not in with_conventions(spots, "irregular")
    assert list(with_conventions(spots, "square")["array_col"]) == [0, 1]
    assert list(with_conventions(spots.iloc[:0], "square")["array_col"]) == []


def test_genes_of_a_prediction_have_identifier_and_r(section, tmp_path):
    stored = anndata.read_h5ad(section)
    stored.var["gene_id"] = [f"ENSG{number:011d}" for number in range(stored.n_vars)]
    stored.write_h5ad(section, convert_strings_to_categoricals=False)
    predicted = anndata.read_h5ad(predict(section, tmp_path / "p.h5ad", noise=0.3))
    assert list(predicted.var["gene_id"]) == list(stored.var["gene_id"])
    expected = gene_metrics(predicted.layers["truth"], predicted.X)["pearson"]
    np.testing.assert_array_equal(predicted.var["pearson"], expected)
    by_hand = np.corrcoef(predicted.X[:, 0], predicted.layers["truth"][:, 0])[0, 1]
    assert predicted.var["pearson"].iloc[0] == pytest.approx(by_hand, abs=1e-6)
    assert predicted.var["pearson"].iloc[-1] == 0.0  # constant prediction


def test_a_gene_that_is_not_measured_or_seen_in_few_spots_has_no_r(section, tmp_path):
    genes = (*anndata.read_h5ad(section).var_names, "ABSENT")
    loaded = load_section(section, panel=genes, all_genes=genes)
    loaded.data.targets[:, -1] = np.nan
    values = np.nan_to_num(loaded.data.targets)
    write_prediction(tmp_path / "p.h5ad", loaded, Prediction(values), genes, {})
    var = anndata.read_h5ad(tmp_path / "p.h5ad").var
    assert np.isnan(var["pearson"].iloc[-1]) and var["gene_id"].iloc[-1] == ""
    few = load_section(
        section, panel=genes, all_genes=genes, keep=frozenset(loaded.obs.index[:5].astype(str))
    )
    write_prediction(tmp_path / "few.h5ad", few, Prediction(few.data.targets), genes, {})
    assert anndata.read_h5ad(tmp_path / "few.h5ad").var["pearson"].isna().all()


def test_scanpy_draws_spots_over_the_picture(table):
    scanpy = pytest.importorskip("scanpy")
    (axes,) = scanpy.pl.spatial(table, color=table.var_names[0], show=False)
    (shown,) = axes.images
    np.testing.assert_array_equal(shown.get_array(), table.uns["spatial"]["S1"]["images"]["hires"])
    assert len(axes.collections[0].get_array()) == table.n_obs
    axes = scanpy.pl.spatial(table, color=["label", "patient"], show=False)
    assert len(axes) == 2
    axes = scanpy.pl.embedding(table, basis="spatial", color="section", show=False)
    assert axes.get_legend() is not None  # of categories, not a colour bar


def test_squidpy_draws_and_computes_as_its_tutorial_does(table):
    squidpy = pytest.importorskip("squidpy", reason="squidpy is no dependency: no release fits the others")
    squidpy.pl.spatial_scatter(table, color=[table.var_names[0], "label"])
    squidpy.gr.spatial_neighbors(table)
    assert table.obsp["spatial_connectivities"].shape == (table.n_obs, table.n_obs)
    genes = list(table.var_names[:3])
    squidpy.gr.spatial_autocorr(table, mode="moran", genes=genes, n_perms=10, n_jobs=1)
    assert set(table.uns["moranI"].index) == set(genes)


def test_a_section_of_an_earlier_version_is_predicted_all_the_same(tmp_path):
    old = section_adata([[1, 2], [3, 4]], ["ACTB", "GNAS"], section="S1")
    old.write_h5ad(tmp_path / "old.h5ad", convert_strings_to_categoricals=False)
    predicted = anndata.read_h5ad(predict(tmp_path / "old.h5ad", tmp_path / "p.h5ad"))
    assert "spatial" not in predicted.uns and "array_row" in predicted.obs
