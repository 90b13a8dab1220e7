"""Geometry of a user's own cohort: a run and ``check-cohort`` ask one gate and say the same."""

from __future__ import annotations

import json

import cv2
import imagecodecs
import numpy as np
import pandas as pd
import pytest
from unit.own_cohort import PITCH, OwnCohort, tissue

from histobench.cli.cohortcheck import check_cohort
from histobench.cohorts.section import write_section
from histobench.cohorts.sheet import local_sections, read_sheet
from histobench.cohorts.table import load_section
from histobench.config.schemas import fill_defaults, schema
from histobench.errors import UserError
from histobench.files import read_json
from histobench.yamlfiles import read_yaml

pytestmark = pytest.mark.slow


class Both:
    """Both entrances to a cohort of one section: the rule ``read_section`` and ``check-cohort``."""

    def __init__(self, folder, project):
        self.own = OwnCohort(folder, sections=("S1",))
        self.project = project

    def yaml(self, text: str) -> None:
        """Add to the cohort's file."""
        path = self.own.folder / "mine.yaml"
        path.write_text(path.read_text() + text)

    def without_pitch(self) -> None:
        path = self.own.folder / "mine.yaml"
        path.write_text("".join(line for line in path.read_text().splitlines(True) if "pitch_um" not in line))

    def run(self):
        """Read the section as the rule does; returns it and its row."""
        path = self.own.folder / "mine.yaml"
        cohort = fill_defaults(read_yaml(path), schema(self.project, "cohort"))
        record = local_sections(self.own.folder / "mine.tsv", cohort=cohort, where=str(path))["S1"]
        files = {kind: value for kind, value in record.items() if kind not in ("patient", "um_per_px")}
        stored, row = self.own.folder / "s.h5ad", self.own.folder / "s.json"
        write_section(
            reader=cohort["reader"], cohort="mine", section="S1", record=record, files=files,
            options=cohort["options"], pitch_um=cohort.get("pitch_um"), spot_um=cohort["spot_um"],
            geometry=cohort["geometry"], output_h5ad=stored, output_json=row,
        )  # fmt: skip
        return load_section(stored), read_json(row)

    def check(self):
        return check_cohort(self.own.folder / "mine.yaml", self.project, self.own.folder / "drawings")

    def fine(self):
        """Both let the section through; returns it and its row."""
        found = self.check()
        assert found.problems == []
        adata, row = self.run()
        for note in filter(None, row["flag"].split("; ")):
            assert any(note in told for told in found.notes)
        return adata, row

    def refused(self, *words: str) -> str:
        """Both stop with the same words."""
        with pytest.raises(UserError) as error:
            self.run()
        told = self.check().problems
        assert len(told) == 1 and "\n" not in told[0]
        for word in words:
            assert word in str(error.value) and word in told[0], (word, str(error.value), told)
        return told[0]

    def scale(self) -> float:
        adata, row = self.fine()
        assert adata.uns["um_per_px"] == row["um_per_px"] and adata.uns["grid"] == row["grid"]
        return row["um_per_px"]


@pytest.fixture
def both(tmp_path, project):
    return Both(tmp_path / "mine", project)


def turn_positions(path, degrees: float) -> None:
    """Turn the positions of a Space Ranger file about the middle of the image of 700 x 640 px."""
    table = pd.read_csv(path)
    x, y = table["pxl_col_in_fullres"] - 350, table["pxl_row_in_fullres"] - 320
    a = np.deg2rad(degrees)
    table["pxl_col_in_fullres"] = 350 + 0.8 * (x * np.cos(a) - y * np.sin(a))
    table["pxl_row_in_fullres"] = 320 + 0.8 * (x * np.sin(a) + y * np.cos(a))
    table.to_csv(path, index=False)


@pytest.mark.parametrize("degrees", [10, 45, 90, 180, 270, 333])
def test_a_turned_visium_section_needs_no_pitch(both, degrees):
    outs = both.own.use_visium("S1")
    both.without_pitch()
    turn_positions(outs / "spatial/tissue_positions.csv", degrees)
    assert both.scale() == pytest.approx(100 / (0.8 * PITCH), rel=1e-4)
    adata, row = both.run()
    assert row["rotation_deg"] == pytest.approx((degrees + 180) % 360 - 180) and adata.uns["pitch_um"] == 100
    assert "the array lies turned by" in row["flag"]


def test_visium_with_the_pitch_of_another_array(both):
    both.own.use_visium("S1")
    path = both.own.folder / "mine.yaml"
    path.write_text(path.read_text().replace("pitch_um: 100", "pitch_um: 200"))
    both.refused("`pitch_um` is 200", "100 µm apart")


def test_a_legacy_cohort_needs_its_pitch_before_any_job(both):
    both.without_pitch()
    assert "`pitch_um` is missing" in both.refused("`pitch_um` is missing")


def factors(scale: float = 100 / PITCH, **more) -> dict[str, float]:
    return {
        "spot_diameter_fullres": 65 / scale,
        "tissue_hires_scalef": 0.2,
        "tissue_lowres_scalef": 0.06,
        **more,
    }


def test_scale_factors_beside_the_positions_are_compared(both):
    outs = both.own.use_visium("S1")
    path = outs / "spatial/scalefactors_json.json"
    path.write_text(json.dumps(factors()))
    assert read_sheet(both.own.folder / "mine.tsv").sections["S1"]["scalefactors"] == str(path)
    assert both.scale() == pytest.approx(100 / PITCH)
    path.write_text(json.dumps(factors(0.5)))
    both.refused("scalefactors_json.json says 0.4231 to 0.5385", "the spot grid shows 1.667")
    path.write_text("{")
    with pytest.raises(UserError, match="is no JSON"):
        both.run()


def test_positions_of_the_small_image(both):
    outs = both.own.use_visium("S1")
    positions = outs / "spatial/tissue_positions.csv"
    table = pd.read_csv(positions)
    for name in ("pxl_row_in_fullres", "pxl_col_in_fullres"):
        table[name] *= 0.2
    table.to_csv(positions, index=False)
    both.refused("8.333 µm per pixel, which is implausible", "full image")
    (outs / "spatial/scalefactors_json.json").write_text(json.dumps(factors()))
    both.refused("divide them by tissue_hires_scalef (0.2)")


@pytest.mark.parametrize("hires", [False, True])
def test_scale_factors_of_an_anndata_file_are_compared(both, hires):
    def visium(adata):
        places = [(row, column) for row in range(8) for column in range(row % 2, 16, 2)][: len(adata)]
        row, column = np.array(places, float).T
        adata.obs = pd.DataFrame({"array_row": row, "array_col": column}, index=adata.obs_names)
        pixel = np.column_stack([80 + column * PITCH / 2, 60 + row * PITCH * np.sqrt(3) / 2])
        share = 0.4031 if hires else 1.0
        adata.obsm["spatial"] = pixel * share
        adata.uns["spatial"] = {"L1": {"scalefactors": factors(tissue_hires_scalef=0.4031)}}

    both.own.use_anndata("S1", visium)
    both.without_pitch()
    if hires:
        both.refused(
            "uns['spatial']['L1']['scalefactors'] says", "divide them by tissue_hires_scalef (0.4031)"
        )
    else:
        assert both.scale() == pytest.approx(100 / PITCH)


def test_square_bins_named_as_visium(both):
    def bins(adata):
        adata.obs = adata.obs.rename(columns={"array_x": "array_col", "array_y": "array_row"})

    both.own.use_anndata("S1", bins)
    assert both.scale() == pytest.approx(200 / PITCH)
    assert "square grid, not on a hexagonal one" in both.run()[1]["flag"]
    both.yaml("options: {grid: hexagonal}\n")
    both.refused("two axes disagree by 73%", "options: {grid: square}")


def test_a_mirrored_image_is_allowed_by_a_key(both):
    spots = both.own.spots()
    both.own.write_spots("S1", spots.assign(pixel_x=700 - spots.pixel_x))
    both.refused("the x axis is flipped", "geometry: {mirrored: true}")
    both.yaml("geometry: {mirrored: true}\n")
    assert both.scale() == pytest.approx(200 / PITCH, rel=1e-3)


def test_limits_are_keys_of_the_cohort(both):
    spots = both.own.spots()
    both.own.write_spots("S1", spots.assign(pixel_x=spots.pixel_x * 1.1))
    both.refused("two axes disagree by 10%")
    both.yaml("geometry: {max_axes: 0.12}\n")
    both.fine()


def test_what_the_image_says_of_its_scale_is_compared(both):
    picture = tissue(0)
    meta = {
        "PhysicalSizeX": 0.5,
        "PhysicalSizeY": 0.5,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeYUnit": "µm",
        "axes": "YXS",
    }
    import tifffile

    tifffile.imwrite(both.own.folder / "S1.ome.tif", picture, metadata=meta, photometric="rgb")
    both.own.row("S1")["image"] = "S1.ome.tif"
    both.own.write_table()
    both.refused("the image states 0.5 µm per pixel (OME PhysicalSizeX", "declare um_per_px")
    both.own.row("S1")["um_per_px"] = "3.33"
    both.own.write_table()
    assert both.scale() == pytest.approx(200 / PITCH, rel=1e-3)
    assert "OME PhysicalSizeX" in both.run()[1]["flag"]


def strew(adata) -> None:
    """Spots at places of their own, without any array: only obsm['spatial']."""
    adata.obs = pd.DataFrame(index=adata.obs_names)
    adata.obsm["spatial"] = np.random.default_rng(0).uniform([130, 140], [510, 520], (len(adata), 2))


def test_spots_without_an_array(both):
    both.own.use_anndata("S1", strew)
    both.without_pitch()
    both.refused("no array positions", "declare um_per_px")
    both.own.row("S1")["um_per_px"] = "2.5"
    both.own.write_table()
    adata, row = both.fine()
    assert adata.uns["grid"] == "irregular" and adata.uns["um_per_px"] == 2.5
    pixel = adata.obsm["spatial"]
    away = np.hypot(*(pixel[:, None] - pixel[None]).T)
    np.fill_diagonal(away, np.inf)
    assert adata.uns["pitch_um"] == pytest.approx(2.5 * np.median(away.min(axis=0)))
    np.testing.assert_allclose(adata.obs[["array_x", "array_y"]] * adata.uns["pitch_um"], pixel * 2.5)
    assert row["scale_residual_px"] is None and row["rotation_deg"] is None
    drawing = imagecodecs.png_decode((both.own.folder / "drawings/S1.png").read_bytes())
    assert cv2.cvtColor(drawing[..., :3], cv2.COLOR_RGB2GRAY).std() > 5


def test_one_spot_with_a_declared_scale(both):
    both.own.write_spots("S1", both.own.spots().iloc[:1])
    both.own.write_counts("S1", both.own.counts().iloc[:1])
    both.refused("declare um_per_px")
    both.own.row("S1")["um_per_px"] = "2.5"
    both.own.write_table()
    assert both.scale() == 2.5
