"""Scale, decoding, stain and patches on real HER2+ sections."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from histobench.errors import UserError
from histobench.imaging.dictionary import degrees_between, haematoxylin_first
from histobench.imaging.jpeg import find_damage
from histobench.imaging.patches import cut_patches, place_windows
from histobench.imaging.phash import describe_picture, same_images
from histobench.imaging.scale import check_declared, fit_scale, frame_offset
from histobench.imaging.slides import image_size, open_slide, read_image
from histobench.imaging.stain import StainFit, fit_stain, normalise, stain_map
from histobench.imaging.thumbnail import thumbnail

IMAGES = {
    "B4": ("B/B4/BT10737_D2_HE.jpg", 9272, 9923),
    "C2": ("C/C2/5714_HE_BT_C2.jpg", 9274, 9911),
    "C3": ("C/C3/5714_HE_BT_D1.jpg", 9270, 9936),
    "C4": ("C/C4/5714_HE_BT_D2.jpg", 9278, 9916),
    "C5": ("C/C5/5714_HE_BT_E1.jpg", 9272, 9901),
    "C6": ("C/C6/5714_HE_BT_E2.jpg", 9288, 9907),
}
# Sizes of patient A's images as HEST-1k lists them (the images themselves are not needed).
A_SIZES = {"A1": (6954, 7435), "A2": (6966, 7441), "A5": (6966, 7419), "A6": (6980, 7404)}
SECTIONS = [f"{p}{i}" for p in "ABCD" for i in range(1, 7)] + [f"{p}{i}" for p in "EFGH" for i in range(1, 4)]
CROPS = {"B4": (1500, 6000), "C2": (5000, 5500), "C6": (0, 0)}  # left, top; C6 is glass


def image_path(shared_data: Path, section: str) -> Path:
    return shared_data / "her2st" / "data" / "ST-imgs" / IMAGES[section][0]


def spots(shared_data: Path, section: str) -> pd.DataFrame:
    return pd.read_csv(shared_data / "her2st/data/ST-spotfiles" / f"{section}_selection.tsv", sep="\t")


def crop(shared_data: Path, section: str, size: int = 1000) -> np.ndarray:
    left, top = CROPS[section]
    with open_slide(image_path(shared_data, section)) as slide:
        return slide.read_region(left, top, size, size).copy()


@pytest.mark.parametrize("section", SECTIONS)
def test_scale_of_all_sections(shared_data, section):
    table = spots(shared_data, section)
    fit = fit_scale(table.new_x, table.new_y, table.pixel_x, table.pixel_y, 200, section=section)
    expected = 0.917 if section.startswith("A") else 0.688
    assert fit.um_per_px == pytest.approx(expected, rel=0.01)
    assert fit.um_per_px_x == pytest.approx(fit.um_per_px_y, rel=0.011)
    assert fit.max_residual_px < 2
    check_declared(fit, expected, section)
    with pytest.raises(UserError, match=f"Section {section}"):
        check_declared(fit, 0.688 if section.startswith("A") else 0.917, section)
    with pytest.raises(UserError, match="swapped"):
        fit_scale(table.new_x, table.new_y, table.pixel_y, table.pixel_x, 200)


@pytest.mark.parametrize("section", SECTIONS)
def test_only_a6_breaks_the_frame_rule(shared_data, section):
    table = spots(shared_data, section)
    position = (table.new_x, table.new_y, table.pixel_x, table.pixel_y)
    assert (frame_offset(*position).pitches > 0.25) == (section == "A6")
    size = A_SIZES.get(section) or IMAGES.get(section, (None, None, None))[1:]
    offset = frame_offset(*position, *size)
    if section == "A6":
        assert offset.pitches > 1
        assert min(offset.dx, offset.dy) > 190
    else:
        assert max(abs(offset.dx), abs(offset.dy)) < 1


@pytest.mark.parametrize("section", IMAGES)
def test_image_sizes(shared_data, section):
    _, width, height = IMAGES[section]
    assert image_size(image_path(shared_data, section)) == (width, height)
    assert find_damage(image_path(shared_data, section).read_bytes()) is None


def test_a_truncated_section_is_refused_at_any_cut(shared_data, tmp_path):
    data = image_path(shared_data, "C5").read_bytes()
    for end in [*np.linspace(3, len(data) - 1, 40).astype(int), len(data) - 2]:
        damage = find_damage(data[:end])
        assert damage is not None, f"cut after {end} of {len(data)} bytes went unnoticed"
    path = tmp_path / "C5.jpg"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"C5\.jpg: the JPEG is truncated; get the file again\.$"):
        read_image(path)


@pytest.mark.parametrize("section", ["B4", "C2"])
def test_patches_equal_pillow_crops_at_the_published_positions(shared_data, section, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    table = spots(shared_data, section).iloc[::12]
    with open_slide(image_path(shared_data, section)) as slide:
        patches = cut_patches(slide, table.pixel_x, table.pixel_y, 224)
        windows = place_windows(slide.width, slide.height, table.pixel_x, table.pixel_y, 224)
    with Image.open(image_path(shared_data, section)) as picture:
        picture.load()
        for patch, x, y in zip(patches, table.pixel_x, table.pixel_y, strict=True):
            left, top = round(x) - 112, round(y) - 112
            np.testing.assert_array_equal(patch, picture.crop((left, top, left + 224, top + 224)))
    assert (windows.margin_px >= 112).all()
    # Spots lie on tissue: darker than the glass around them (a flip or shift would not be).
    assert patches.mean() < 190


def fixed_staintools(image: np.ndarray, source: StainFit, target: StainFit) -> np.ndarray:
    """StainTools 2.1.2 with given stain vectors in place of its own fit; it changes images in place."""
    import staintools

    class Fixed:
        @staticmethod
        def get_stain_matrix(_):
            return source.stain_matrix

    normaliser = staintools.StainNormalizer(method="vahadane")
    normaliser.extractor = Fixed
    normaliser.stain_matrix_target = target.stain_matrix
    normaliser.maxC_target = target.max_concentrations.reshape(1, 2)
    return normaliser.transform(staintools.LuminosityStandardizer.standardize(image.copy()))


@pytest.mark.parametrize("section", ["B4", pytest.param("C2", marks=pytest.mark.slow)])
def test_stain_of_real_tissue_equals_staintools(shared_data, section):
    image = crop(shared_data, section)
    source = fit_stain(image)
    assert source.flags == ()
    for target in (StainFit.reference(), fit_stain(crop(shared_data, "B4" if section == "C2" else "C2"))):
        expected = fixed_staintools(image, source, target)
        got = normalise(image, source, target)
        assert int((got != expected).sum()) == 0
    mapping = stain_map(source)
    np.testing.assert_array_equal(
        mapping(image[300:524, 100:324]), normalise(image, source)[300:524, 100:324]
    )


@pytest.mark.parametrize("method", ["vahadane", "macenko"])
def test_with_the_fit_of_staintools_real_tissue_equals_it_and_lies_near_ours(shared_data, method):
    image = crop(shared_data, "B4")
    source, own = fit_stain(image, f"{method}_staintools"), fit_stain(image, method)
    assert int((normalise(image, source) != fixed_staintools(image, source, StainFit.reference())).sum()) == 0
    apart = max(degrees_between(*pair) for pair in zip(source.stain_matrix, own.stain_matrix, strict=True))
    assert apart < (10 if method == "vahadane" else 1e-5)  # its solver stops after a second


def test_glass_without_tissue_is_flagged(shared_data):
    fit = fit_stain(crop(shared_data, "C6", 600))
    assert {"no_tissue", "little_tissue", "single_colour"} & set(fit.flags)


@pytest.mark.slow
def test_stain_fit_is_the_converged_optimum_of_staintools(shared_data):
    """SPAMS with many iterations, as StainTools calls it, ends where the fit is."""
    import spams
    import staintools
    from staintools.miscellaneous.optical_density_conversion import convert_RGB_to_OD
    from staintools.tissue_masks.luminosity_threshold_tissue_locator import LuminosityThresholdTissueLocator

    image = crop(shared_data, "C2", 1000)
    fit = fit_stain(image)
    assert fit.to_dict() == fit_stain(image).to_dict()
    standard = staintools.LuminosityStandardizer.standardize(image.copy())
    mask = LuminosityThresholdTissueLocator.get_tissue_mask(standard).reshape(-1)
    assert fit.tissue_share == mask.mean()
    od = convert_RGB_to_OD(standard).reshape(-1, 3)[mask]
    theirs = spams.trainDL(
        X=od.T, K=2, lambda1=0.1, mode=2, modeD=0, posAlpha=True, posD=True, verbose=False, iter=50000,
        numThreads=1,
    ).T  # fmt: skip
    theirs = haematoxylin_first(theirs / np.linalg.norm(theirs, axis=1, keepdims=True))
    angles = [degrees_between(fit.stain_matrix[j], theirs[j]) for j in (0, 1)]
    assert max(angles) < 0.05, angles


@pytest.mark.slow
@pytest.mark.parametrize("section", IMAGES)
def test_whole_sections_give_ordinary_fits(shared_data, section):
    fit = fit_stain(read_image(image_path(shared_data, section)))
    assert fit.flags == ()
    assert 10 < fit.separation_degrees < 25
    assert 0.12 < fit.tissue_share < 0.16
    assert (fit.max_concentrations > 0.5).all()


MEMORY = """
import sys
import numpy as np
from histobench.imaging.slides import ArraySlide, read_image
from histobench.imaging.stain import fit_stain, stain_map
from histobench.training.record import peak_memory

tiny = np.random.default_rng(0).integers(90, 250, (64, 64, 3), dtype=np.uint8)
stain_map(fit_stain(ArraySlide(tiny)))(tiny)  # compiled code and libraries are not counted
image = read_image(sys.argv[1])
before = peak_memory()["peak_memory_mb"]
out = stain_map(fit_stain(ArraySlide(image)))(image)
print(peak_memory()["peak_memory_mb"] - before - out.nbytes / 2**20)
"""


@pytest.mark.slow
def test_stain_of_a_whole_section_needs_half_a_gigabyte_at_most(shared_data, project):
    """Beside the section and its normalised copy."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(image_path(shared_data, "B4"))],
        env={**os.environ, "PYTHONPATH": str(project / "workflow/lib")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert float(done.stdout) < 500, done.stdout


def test_another_scan_of_a_real_section_is_found_and_serial_sections_are_not(shared_data):
    """C2 to C6 are serial sections of one block, the likest pictures that are not of one section."""
    small = {name: thumbnail(image_path(shared_data, name), 512) for name in IMAGES}
    pictures = {name: describe_picture(picture) for name, picture in small.items()}
    assert same_images(pictures) == []
    for name, picture in small.items():
        height, width = picture.shape[:2]
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), 5, 1.0)
        scans = {
            "cut": picture[height // 10 : -height // 10, width // 10 : -width // 10],
            "turned": cv2.warpAffine(picture, turn, (width, height), borderValue=(245, 240, 245)),
            "bordered": cv2.copyMakeBorder(
                picture, 50, 50, 48, 48, cv2.BORDER_CONSTANT, value=(255, 255, 255)
            ),
            "negative": 255 - picture[10:],
        }
        for what, scan in scans.items():
            again = describe_picture(np.ascontiguousarray(scan))
            found = {(one, other) for one, other, _ in same_images({**pictures, "again": again})}
            assert found == {(name, "again")}, f"{name} {what}"
