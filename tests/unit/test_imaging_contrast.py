"""Images on which there is nothing to see stop a run, a check and a prediction; faint and small tissue does not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from unit.own_cohort import OwnCohort, tissue

from histobench.cli.cohortcheck import check_cohort
from histobench.cohorts.section import write_section
from histobench.errors import UserError
from histobench.files import read_json
from histobench.imaging.contrast import LOOK_PX, nothing_to_see, refuse_blank, remarks
from histobench.imaging.thumbnail import thumbnail

SIZE = (640, 700)


def noise(level, sd, seed=0):
    rng = np.random.default_rng(seed)
    return (level + rng.normal(0, sd, (*SIZE, 3))).clip(0, 255).astype(np.uint8)


def speck(pixels):
    picture = noise(244, 1)
    picture[300 : 300 + pixels, 300 : 300 + pixels] = (150, 80, 140)
    return picture


BLANK = {
    "white": (noise(255, 0), "white throughout"),
    "white with noise": (noise(243, 1.5), "white throughout"),
    "black": (noise(0, 0), "black throughout"),
    "black with noise": (noise(3, 1), "black throughout"),
    "grey glass": (noise(180, 1), "of one colour throughout"),
    "one pink": (np.full((*SIZE, 3), (230, 150, 190), np.uint8), "of one colour throughout"),
    "12 bits in 16, shifted": (tissue(0) // 16, "throughout"),
    "dark": (tissue(0) // 5, "dark throughout"),
    "dust": (speck(12), "no tissue (0.0"),
    "noisy glass": (noise(238, 6), "no tissue"),
}


@pytest.mark.parametrize("kind", BLANK)
def test_a_picture_without_anything_to_see_is_told(kind, tmp_path):
    picture, words = BLANK[kind]
    assert words in nothing_to_see(picture)
    with pytest.raises(UserError, match=r"^S1\.png: the image .*; check that it is the right file .*\.$"):
        refuse_blank("S1.png", picture)


@pytest.mark.parametrize(
    "picture",
    [
        tissue(0),
        tissue(1)[200:420, 200:420],  # nothing but tissue
        (tissue(2) * 0.7).astype(np.uint8),  # a dim lamp
        (255 - (255 - tissue(3).astype(int)) // 3).astype(np.uint8),  # a faint stain
        speck(40),  # a core on a slide
        np.pad(tissue(4), ((0, 900), (300, 300), (0, 0))),  # black where nothing was scanned
    ],
)
def test_faint_small_dim_and_padded_tissue_passes(picture):
    assert nothing_to_see(picture) == ""


def test_what_is_worth_knowing_is_said(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    grey = cv2.cvtColor(tissue(0), cv2.COLOR_RGB2GRAY)
    Image.fromarray(grey).save(tmp_path / "grey.jpg", exif=exif)
    Image.fromarray(tissue(0)).save(tmp_path / "plain.jpg")
    turned, colourless = remarks(tmp_path / "grey.jpg", thumbnail(tmp_path / "grey.jpg", LOOK_PX))
    assert "turned by 180 degrees" in turned and "no colour" in colourless
    assert remarks(tmp_path / "plain.jpg", tissue(0)) == []


@pytest.mark.parametrize("kind", ["inverted", "masked"])
def test_a_picture_that_is_black_where_glass_should_be_is_noted(tmp_path, kind):
    picture = tissue(0)
    Image.fromarray(picture).save(tmp_path / "plain.jpg")
    if kind == "masked":
        picture = np.where((picture > 240).all(axis=2, keepdims=True), 0, picture).astype(np.uint8)
    black = 255 - picture if kind == "inverted" else picture
    (noted,) = remarks(tmp_path / "plain.jpg", black)
    assert "nearly black, where glass should be bright" in noted


def put(own, picture, **options):
    Image.fromarray(picture).save(own.folder / "S1.jpg", quality=95, **options)


def read(own, project):
    record = own.rows[0]
    files = {kind: str(own.folder / record[kind]) for kind in ("image", "counts", "positions")}
    write_section(
        reader="histobench.cohorts.readers.table_cohort:read_section",
        cohort="mine",
        section="S1",
        record={"patient": "P1"},
        files=files,
        options={"genes": "any"},
        output_h5ad=own.folder / "S1.h5ad",
        output_json=own.folder / "S1.json",
        pitch_um=200,
        spot_um=100,
    )
    return read_json(own.folder / "S1.json")


@pytest.mark.parametrize("kind", ["white", "black", "one pink", "dust"])
def test_a_run_and_a_check_stop_at_a_blank_image(kind, tmp_path, project):
    own = OwnCohort(tmp_path, sections=("S1",))
    picture, words = BLANK[kind]
    put(own, picture)
    with pytest.raises(UserError, match=r"S1\.jpg: the image .*check that it is the right file"):
        read(own, project)
    assert not (tmp_path / "S1.h5ad").exists()
    problems = check_cohort(tmp_path / "mine.yaml", project, tmp_path / "out").problems
    (problem,) = [text for text in problems if "S1.jpg" in text]
    assert words in problem


def test_a_run_and_a_check_say_that_an_image_wants_to_be_turned(tmp_path, project):
    own = OwnCohort(tmp_path, sections=("S1",))
    assert read(own, project)["flag"] == ""
    exif = Image.Exif()
    exif[0x0112] = 6
    put(own, tissue(0), exif=exif)
    row = read(own, project)
    assert "turned by 90 degrees clockwise" in row["flag"]
    assert (row["image_width"], row["image_height"]) == tissue(0).shape[1::-1]
    found = check_cohort(tmp_path / "mine.yaml", project, tmp_path / "out")
    assert not found.problems
    assert any("S1.jpg: the image wants to be shown turned" in note for note in found.notes)


def test_a_run_stops_at_colours_that_are_inks(tmp_path, project):
    own = OwnCohort(tmp_path, sections=("S1",))
    own.rows[0]["image"] = "S1.tif"
    own.write_table()
    Image.fromarray(tissue(0)).convert("CMYK").save(tmp_path / "S1.tif")
    for stop in (lambda: read(own, project), lambda: _first_problem(tmp_path, project)):
        with pytest.raises(UserError, match=r"S1\.tif: the TIFF holds printing inks \(CMYK\)"):
            stop()
    tifffile.imwrite(tmp_path / "S1.tif", tissue(0).astype(np.uint16) * 16, photometric="rgb")
    for stop in (lambda: read(own, project), lambda: _first_problem(tmp_path, project)):
        with pytest.raises(UserError, match=r"S1\.tif: values have 16 bits, but the largest is"):
            stop()


def _first_problem(folder, project):
    problems = check_cohort(folder / "mine.yaml", project, folder / "out").problems
    assert problems == list(dict.fromkeys(problems))
    raise UserError(problems[0])


def test_a_small_biopsy_is_not_called_grey(tmp_path):
    """Less than a hundredth of the picture is tissue, and the glass around it has no colour."""
    picture = noise(244, 1)
    picture[300:350, 300:350] = tissue(0)[300:350, 300:350]
    path = tmp_path / "S1.png"
    Image.fromarray(picture).save(path)
    assert remarks(path, picture) == []
    grey = picture.mean(axis=2, keepdims=True).astype(np.uint8).repeat(3, axis=2)
    assert remarks(path, grey) == ["the image has no colour, so stains cannot be told apart"]
