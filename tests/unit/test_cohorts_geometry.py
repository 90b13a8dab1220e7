"""The gate for geometry: real positions pass at any angle, and what does not belong together stops in one sentence."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from unit import coordinates

from histobench.cohorts.geometry import GeometryError, Limits, Question, judge, limits_from
from histobench.cohorts.readers.scalefactors import read_scale_factors, scale_factors
from histobench.imaging.statements import StatedScale

VISIUM_PITCH = 100.0


def turned(spots: pd.DataFrame, degrees: float) -> pd.DataFrame:
    """The same spots in an image that was turned clockwise by an angle about its centre."""
    angle = math.radians(degrees)
    x, y = spots["pixel_x"] - 9000.0, spots["pixel_y"] - 8000.0
    return spots.assign(
        pixel_x=9000.0 + x * math.cos(angle) - y * math.sin(angle),
        pixel_y=8000.0 + x * math.sin(angle) + y * math.cos(angle),
    )


def array(columns: int, rows: int, pitch: float = 290.0, grid: str = "square") -> pd.DataFrame:
    """A drawn section: ``pitch`` pixels between neighbours, 1-based."""
    x, y = np.meshgrid(np.arange(1.0, columns + 1), np.arange(1.0, rows + 1))
    x, y = x.ravel(), y.ravel()
    step_x, step_y = (1.0, 1.0)
    if grid == "hexagonal":
        keep = (x + y) % 2 == 0
        x, y, (step_x, step_y) = x[keep], y[keep], (0.5, math.sqrt(3) / 2)
    names = [f"{a:.0f}x{b:.0f}" for a, b in zip(x, y, strict=True)]
    values = {"array_x": x, "array_y": y, "pixel_x": x * pitch * step_x, "pixel_y": y * pitch * step_y}
    return pd.DataFrame(values, index=names)


def about(**changes) -> Question:
    return Question(**{"section": "S1", "pitch_um": 200.0, **changes})


def visium(**changes) -> Question:
    return about(**{"grid": "hexagonal", "pitch_um": None, "maker_pitch_um": VISIUM_PITCH, **changes})


def refused(spots: pd.DataFrame, question: Question, limits: Limits | None = None) -> str:
    with pytest.raises(GeometryError) as error:
        judge(spots, question, limits)
    text = str(error.value)
    assert text.startswith("Section S1: ") and "\n" not in text and text.endswith(".")
    return text


# -- real positions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("section", coordinates.CSCC)
def test_skin_sections_fit_a_diamond_grid(section):
    found = judge(coordinates.cscc(section), about(grid="diamond", pitch_um=148.66, declared=0.55))
    assert found.scale.um_per_px == pytest.approx(0.55, rel=0.02)
    assert found.scale.residual_px < 10
    assert found.scale.um_per_px_x == pytest.approx(found.scale.um_per_px_y, rel=0.03)
    assert found.scale.axis_ratio < 1.03
    nearest = math.hypot(100, 110) / found.scale.um_per_px
    assert 263 <= nearest <= 272 and found.notes == ()


@pytest.mark.parametrize("section", coordinates.CSCC)
def test_skin_sections_are_told_from_a_hexagonal_or_square_guess(section):
    spots = coordinates.cscc(section)
    for guess in ("square", "hexagonal"):
        found = judge(spots, about(grid=guess, guessed=True, pitch_um=148.66))
        assert found.grid == "diamond" and f"diamond grid, not on a {guess} one" in found.notes[0]
    text = refused(spots, about(grid="hexagonal", pitch_um=148.66))
    assert "two axes disagree by" in text and "options: {grid: diamond}" in text


@pytest.mark.parametrize(("section", "patient_a"), [("B1", False), ("F1", False)])
@pytest.mark.parametrize("whole", [False, True])
def test_legacy_sections_pass_with_measured_and_with_whole_positions(section, patient_a, whole):
    found = judge(coordinates.her2st(section, whole=whole), about(declared=0.688, framed=True))
    assert found.scale.um_per_px == pytest.approx(0.688, rel=0.01) and found.notes == ()
    assert found.scale.residual_px < (0.09 * 290 if whole else 1)


@pytest.mark.parametrize(
    ("name", "expected"), [("visium_breast_S1", 0.3654), ("dlpfc_151507", 0.7247), ("dlpfc_151673", 0.7245)]
)
def test_visium_sections_agree_with_their_scale_factors_at_any_angle(name, expected):
    spots = coordinates.visium(name)
    factors = read_scale_factors(coordinates.FOLDER / f"{name}_scalefactors.json")
    straight = judge(spots, visium(factors=factors)).scale.um_per_px
    assert straight == pytest.approx(expected, rel=0.001)
    for degrees in range(360):
        found = judge(turned(spots, degrees), visium(factors=factors))
        assert found.scale.um_per_px == pytest.approx(straight, rel=1e-6)
        assert (
            found.scale.rotation_deg == pytest.approx((degrees + 180) % 360 - 180, abs=0.6)
            or abs(degrees - 180) < 1
        )
        assert bool(found.notes) == (abs(found.scale.rotation_deg) > 5)


@pytest.mark.parametrize("degrees", [0, 10, 45, 60, 90, 180, 270, 301])
@pytest.mark.parametrize("grid", ["square", "hexagonal"])
def test_no_angle_changes_the_scale_of_a_drawn_section(degrees, grid):
    spots = turned(array(12, 9, 60.0, grid), degrees)
    question = visium() if grid == "hexagonal" else about()
    found = judge(spots, question)
    assert found.scale.um_per_px == pytest.approx((question.pitch_um and 200 / 60) or 100 / 60, rel=1e-9)
    assert found.scale.um_per_px_x == pytest.approx(found.scale.um_per_px_y, rel=1e-9)


# -- positions that do not follow the array ---------------------------------------------------------------


@pytest.fixture
def legacy():
    """28 x 31 spots with measured positions that miss the whole ones by a tenth of a pitch."""
    spots = array(28, 31)
    wobble = np.random.default_rng(3).normal(0, 0.06, (len(spots), 2))
    pixels = spots[["pixel_x", "pixel_y"]].to_numpy() + 290 * wobble
    return spots.assign(pixel_x=pixels[:, 0], pixel_y=pixels[:, 1])


def permuted(values: pd.Series, share: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(values), int(share * len(values)), replace=False)
    mixed = values.to_numpy().copy()
    mixed[chosen] = rng.permutation(mixed[chosen])
    return mixed


@pytest.mark.parametrize("declared", [None, 0.69])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.assign(**s[["pixel_x", "pixel_y"]].sample(frac=1, random_state=1).set_index(s.index)), "of 868 spots lie more than 0.75 pitches"),
        (lambda s: s.assign(pixel_x=np.sort(s["pixel_x"])), "of 868 spots lie more than 0.75 pitches"),
        (lambda s: s.assign(array_y=np.sort(s["array_y"])[::-1]), "mirror|flipped|of 868 spots lie more"),
        (lambda s: s.assign(pixel_x=permuted(s["pixel_x"], 0.1)), r"\d+ of 868 spots lie more than 0.75 pitches from where the array says: \d+x\d+ \(\d"),
        (lambda s: s.assign(pixel_x=s["pixel_x"] / 2), "two axes disagree by 100% on a square grid"),
        (lambda s: s.assign(pixel_y=s["pixel_y"] / 10), "two axes disagree by"),
        (lambda s: turned(s, 33).assign(pixel_x=turned(s, 33)["pixel_x"] / 2), "two axes disagree by"),
        (lambda s: s.assign(array_x=s["array_x"] * 2), "two axes disagree by"),
        (lambda s: s.assign(pixel_x=s["pixel_x"].mean()), "same pixel_x"),
        (lambda s: s.assign(pixel_x=s["pixel_y"], pixel_y=s["pixel_x"]), "axes are swapped; exchange the pixel columns"),
        (lambda s: s.assign(pixel_x=9000 - s["pixel_x"]), "the x axis is flipped; count pixel_x from the left"),
        (lambda s: s.assign(pixel_y=9000 - s["pixel_y"]), "the y axis is flipped; count pixel_y from the top"),
        (lambda s: turned(s.assign(pixel_y=-s["pixel_y"]), 45), "mirror image of the array|axes are swapped"),
    ],
)  # fmt: skip
def test_positions_that_do_not_follow_the_array_stop(legacy, change, words, declared):
    import re

    assert re.search(words, refused(change(legacy), about(declared=declared)))


def test_one_wrong_spot_in_a_thousand_is_named(legacy):
    legacy.loc["4x5", "pixel_x"] += 290
    assert "spot 4x5 lies 1." in (text := refused(legacy, about())) and "correct its position" in text
    legacy.loc["4x5", ["pixel_x", "pixel_y"]] = legacy.loc["5x4", ["pixel_x", "pixel_y"]].to_numpy()
    assert (
        "spot 4x5 lies 1.4 pitches" in (text := refused(legacy, about())) and "swapped, exchange them" in text
    )
    legacy.loc["20x8", "pixel_y"] -= 4000
    assert "2 of 868 spots lie more than 0.75 pitches from where the array says: 4x5 (1." in refused(
        legacy, about()
    )


def test_half_a_pitch_of_scatter_is_not_a_grid(legacy):
    scatter = np.random.default_rng(0).uniform(-0.5, 0.5, (len(legacy), 2)) * 290
    spots = legacy.assign(
        pixel_x=legacy["pixel_x"] + scatter[:, 0], pixel_y=legacy["pixel_y"] + scatter[:, 1]
    )
    assert "pitches from where the array says" in refused(spots, about())
    assert judge(spots, about(), Limits(max_residual=0.6, max_spot=1.0)).scale.um_per_px == pytest.approx(
        0.69, rel=0.01
    )


def test_a_mirrored_image_may_be_allowed():
    spots = coordinates.visium("dlpfc_151507")
    mirrored = turned(spots.assign(pixel_x=13332 - spots["pixel_x"]), 20)
    assert "mirror image of the array" in refused(mirrored, visium())
    found = judge(mirrored, visium(), limits_from({"mirrored": True}))
    assert found.scale.um_per_px == pytest.approx(0.7247, rel=0.001)
    assert "the image is a mirror image of the array" in found.notes


def test_pixels_exchanged_as_imagerow_and_imagecol_are_refused_at_any_quarter_turn():
    for degrees in (0, 90, 180, 270):
        spots = turned(coordinates.visium("visium_breast_S1"), degrees)
        swapped = spots.assign(pixel_x=spots["pixel_y"], pixel_y=spots["pixel_x"])
        text = refused(swapped, visium())
        assert "exchange the pixel columns" in text or "axis is flipped" in text or "mirror" in text


def test_row_and_column_of_the_array_exchanged():
    spots = coordinates.visium("dlpfc_151507")
    text = refused(spots.assign(array_x=spots["array_y"], array_y=spots["array_x"]), visium())
    assert "column and row of the array are exchanged" in text


def test_an_image_cropped_to_its_frame_cannot_lie_turned(legacy):
    assert "cropped to the frame" in refused(turned(legacy, 30), about(framed=True))
    assert judge(turned(legacy, 30), about()).notes == ("the array lies turned by 30 degrees in the image",)


# -- kinds of grid ------------------------------------------------------------------------------------------


def test_square_bins_named_as_visium_are_told():
    spots = array(7, 6, 60.0)
    found = judge(spots, about(grid="hexagonal", guessed=True, maker_pitch_um=VISIUM_PITCH))
    assert found.grid == "square" and found.scale.um_per_px == pytest.approx(200 / 60)
    assert "options: {grid: square}" in refused(spots, about(grid="hexagonal"))
    assert "`pitch_um`" in refused(
        spots, about(grid="hexagonal", guessed=True, pitch_um=None, maker_pitch_um=100.0)
    )


def test_bins_of_eight_micrometres():
    spots = array(120, 90, 29.2)
    found = judge(
        turned(spots, 187), about(grid="hexagonal", guessed=True, maker_pitch_um=VISIUM_PITCH, pitch_um=8)
    )
    assert (found.grid, found.pitch_um) == ("square", 8) and found.scale.um_per_px == pytest.approx(8 / 29.2)


def test_a_hexagonal_array_under_square_names_is_told():
    spots = array(14, 9, 60.0, "hexagonal")
    assert judge(spots, about(guessed=True)).grid == "hexagonal"
    assert "options: {grid: hexagonal}" in refused(spots, about())


def test_few_spots():
    one = array(1, 1)
    assert "declare um_per_px" in refused(one, about())
    assert judge(one, about(declared=0.5)).scale.um_per_px == 0.5
    for degrees in (0, 30, 90, 200):
        for spots in (array(2, 1), array(1, 9), array(9, 1), array(2, 2).iloc[:3], array(2, 2)):
            found = judge(turned(spots, degrees), about(grid="square", guessed=True))
            assert found.grid == "square" and found.scale.um_per_px == pytest.approx(200 / 290)
    hexagonal = array(2, 2, 60.0, "hexagonal")  # two spots at one pitch
    assert judge(turned(hexagonal, 77), visium()).scale.um_per_px == pytest.approx(100 / 60)
    row = array(1, 9).assign(array_x=1 + 0.05 * np.random.default_rng(0).normal(size=9))
    assert judge(row, about()).scale.um_per_px == pytest.approx(200 / 290, rel=0.01)


def test_small_sections_with_whole_positions_are_not_accused():
    """Any five neighbouring real spots of a legacy array, whose whole numbers miss the spots by a tenth."""
    spots = coordinates.her2st("F1", whole=True)
    for first in range(len(spots) - 8):
        found = judge(spots.iloc[first : first + 8], about())
        assert found.scale.um_per_px == pytest.approx(0.688, rel=0.1)


# -- the scale ---------------------------------------------------------------------------------------------


def test_positions_that_may_be_in_micrometres_are_noted():
    """Nothing else says the scale, and the pitch in pixels is the one in micrometres: real spots times 0.688."""
    spots = coordinates.her2st("F1")
    scale = judge(spots, about()).scale.um_per_px
    assert judge(spots, about()).notes == ()
    in_um = spots.assign(pixel_x=spots["pixel_x"] * scale, pixel_y=spots["pixel_y"] * scale)
    (note,) = judge(in_um, about()).notes
    assert "positions may be in micrometres and not in pixels" in note and "declare um_per_px: 1" in note
    assert judge(in_um, about(declared=1.0)).notes == ()
    scanner = StatedScale(1.0, 1.0, "aperio.MPP", measured=True)
    assert judge(in_um, about(stated=[scanner])).notes == ()
    assert "declared" in refused(in_um, about(declared=0.688))


def test_the_pitch_of_visium_is_a_constant():
    spots = coordinates.visium("dlpfc_151507")
    assert judge(spots, visium(pitch_um=100)).pitch_um == judge(spots, visium()).pitch_um == 100
    text = refused(spots, visium(pitch_um=200))
    assert "`pitch_um` is 200" in text and "100 µm apart; leave `pitch_um` out" in text
    assert "give `pitch_um`" in refused(array(4, 4), about(pitch_um=None))


@pytest.mark.parametrize("name", coordinates.VISIUM)
@pytest.mark.parametrize("small", ["tissue_hires_scalef", "tissue_lowres_scalef"])
def test_positions_of_a_small_image_are_diagnosed(name, small):
    factors = read_scale_factors(coordinates.FOLDER / f"{name}_scalefactors.json")
    spots = coordinates.visium(name)
    share = factors.reduced[small]
    reduced = spots.assign(pixel_x=spots["pixel_x"] * share, pixel_y=spots["pixel_y"] * share)
    text = refused(reduced, visium(factors=factors, size=(24240, 24240)))
    assert f"divide them by {small}" in text and "scalefactors.json says" in text


def test_implausible_scales_stop_without_scale_factors():
    spots = array(20, 20, 12.0, "hexagonal")
    assert "8.333 µm per pixel, which is implausible" in (text := refused(spots, visium()))
    assert "full image" in text
    assert "implausible" in refused(array(5, 5, 4000.0), about())
    text = refused(array(5, 5, 50.0), about(size=(24240, 20000)))
    assert "97 mm long" in text and "reduced image" in text
    assert judge(spots, visium(), Limits(max_um_per_px=10)).scale.um_per_px == pytest.approx(100 / 12)


@pytest.mark.parametrize(("value", "fine"), [(0.72, True), (0.70, True), (0.6, False), (1.45, False)])
def test_declared_scales_are_compared(value, fine):
    spots = coordinates.visium("dlpfc_151507")
    if fine:
        judge(spots, visium(declared=value))
    else:
        assert f"declared as {value:g}, but the spot grid shows 0.7247" in refused(
            spots, visium(declared=value)
        )


def test_scale_factors_of_other_arrays_are_no_witness():
    spots = array(9, 9, 60.0)
    anything = scale_factors({"spot_diameter_fullres": 1.0, "tissue_hires_scalef": "NaN"}, "a")
    assert anything.reduced == {}
    judge(spots, about(factors=anything))
    exact = scale_factors({"microns_per_pixel": 0.27, "spot_diameter_fullres": 29}, "bins.json")
    assert "bins.json says 0.27" in refused(spots, about(factors=exact))


def test_what_the_image_states_is_compared():
    spots = array(9, 9, 400.0)
    stated = (StatedScale(0.26, 0.26, "TIFF resolution of 100 pixels per mm"),)
    note = judge(spots, about(stated=stated)).notes[0]
    assert "the image states 0.26 µm per pixel (TIFF resolution" in note and "shows 0.5" in note
    stated = (StatedScale(0.26, 0.26, "OME PhysicalSizeX", measured=True),)
    text = refused(spots, about(stated=stated))
    assert "the image states 0.26 µm per pixel (OME PhysicalSizeX)" in text and "declare um_per_px" in text
    assert "(OME PhysicalSizeX)" in judge(spots, about(stated=stated, declared=0.5)).notes[0]
    agreeing = (StatedScale(0.51, 0.51, "OME PhysicalSizeX", measured=True),)
    assert judge(spots, about(stated=agreeing)).notes == ()


# -- without an array --------------------------------------------------------------------------------------


def test_an_irregular_section_takes_its_pitch_from_the_spots():
    pixel = np.random.default_rng(0).uniform(0, 3000, (400, 2))
    spots = pd.DataFrame(pixel, columns=["pixel_x", "pixel_y"]).assign(array_x=np.nan, array_y=np.nan)
    question = about(grid="irregular", pitch_um=None)
    assert "declare um_per_px" in refused(spots, question)
    found = judge(spots, about(grid="irregular", pitch_um=None, declared=0.5))
    assert found.grid == "irregular" and found.scale.um_per_px == 0.5
    away = np.hypot(*(pixel[:, None] - pixel[None]).T)
    np.fill_diagonal(away, np.inf)
    assert found.pitch_um == pytest.approx(0.5 * np.median(away.min(axis=0)))
    np.testing.assert_allclose(found.array * found.pitch_um, 0.5 * pixel)
    exact = scale_factors({"microns_per_pixel": 0.4}, "bins.json")
    assert judge(spots, about(grid="irregular", pitch_um=None, factors=exact)).scale.um_per_px == 0.4
    assert "implausible" in refused(spots, about(grid="irregular", declared=30.0))
    one = spots.iloc[:1]
    assert judge(one, about(grid="irregular", declared=0.5)).pitch_um == 200
    assert "`pitch_um`" in refused(one, about(grid="irregular", pitch_um=None, declared=0.5))
