"""Patches, their index and a look-up by hand agree; borders, scale and failed writes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from histobench.errors import UserError
from histobench.files import read_table, write_json
from histobench.imaging.patches import (
    cut_patches,
    iter_patches,
    place_windows,
    white_fraction,
    write_patches,
)
from histobench.imaging.patchview import window_pixels
from histobench.imaging.slides import ArraySlide
from histobench.imaging.stain import StainFit, fit_stain, normalise, stain_map, write_stain


def coded(height: int, width: int) -> np.ndarray:
    """An image whose pixel says where it is: R = x, G = y (both modulo 256), B = the carries."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x % 256, y % 256, 16 * (x // 256) + y // 256], axis=2).astype(np.uint8)


def by_hand(array: np.ndarray, x: float, y: float, width: int) -> np.ndarray:
    """The patch as one would cut it with Pillow: paste the image on white, crop around the spot."""
    far = 1000
    canvas = Image.new("RGB", (array.shape[1] + 2 * far, array.shape[0] + 2 * far), (255, 255, 255))
    canvas.paste(Image.fromarray(array), (far, far))
    left, top = round(x) - width // 2 + far, round(y) - width // 2 + far
    return np.asarray(canvas.crop((left, top, left + width, top + width)))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-30, 330), st.floats(-30, 240)), min_size=1, max_size=5),
    st.integers(1, 90),
)
def test_patches_equal_a_crop_by_hand(spots, width):
    array = coded(210, 300)
    x, y = np.array(spots).T
    patches = cut_patches(ArraySlide(array), x, y, width)
    assert patches.shape == (len(spots), width, width, 3)
    for patch, (sx, sy) in zip(patches, spots, strict=True):
        np.testing.assert_array_equal(patch, by_hand(array, sx, sy, width))


def test_the_centre_pixel_of_a_patch_is_the_spot():
    array = coded(600, 700)
    patches = cut_patches(ArraySlide(array), [300.4, 444.6], [150.5, 299.0], 224)
    # 150.5 lies between two pixels and goes to the even one
    np.testing.assert_array_equal(patches[:, 112, 112], array[[150, 299], [300, 445]])


def test_margin_tells_whether_the_window_is_inside():
    windows = place_windows(1000, 800, [112, 111, 888, 889, 500, -3], [400, 400, 400, 400, 688, 5], 224)
    assert windows.margin_px.tolist() == [112, 111, 112, 111, 112, -3]
    inside = (
        (windows.left >= 0) & (windows.left + 224 <= 1000) & (windows.top >= 0) & (windows.top + 224 <= 800)
    )
    np.testing.assert_array_equal(windows.margin_px >= 112, inside)


def stripes(um_per_px: float, period_um: float, size: int = 900) -> np.ndarray:
    """Vertical cosine stripes of a known period in micrometres, so a resampled patch shows its scale."""
    x = np.arange(size) * um_per_px
    row = np.rint(127.5 + 120 * np.cos(2 * np.pi * x / period_um)).astype(np.uint8)
    return np.broadcast_to(row[None, :, None], (size, size, 3)).copy()


@pytest.mark.parametrize(
    ("native", "target"), [(0.917, 0.6875), (0.3662, 0.6875), (0.6875, 0.6875), (0.25, 1.0)]
)
def test_resampled_patches_have_the_target_scale(native, target):
    width, period_um = 224, 14.0
    image = stripes(native, period_um, size=max(900, round(2 * width * target / native)))
    centre = image.shape[0] // 2
    patch = cut_patches(ArraySlide(image), [centre], [centre], width, native, target)[0]
    spectrum = np.abs(np.fft.rfft(patch[100, :, 0] - patch[100, :, 0].mean(), n=1 << 16))
    period_px = (1 << 16) / spectrum.argmax()
    assert period_px * target == pytest.approx(period_um, rel=0.01)
    # The middle of the window stays the middle of the patch: compare the phase of the stripes there.
    phase = 2 * np.pi * (centre - 0.5) * native / period_um
    from_middle_um = (np.arange(width) + 0.5 - width / 2) * target
    wave = np.sum((patch[100, :, 0] - 127.5) * np.exp(-2j * np.pi * from_middle_um / period_um))
    shift_um = np.angle(wave * np.exp(-1j * phase)) / (2 * np.pi) * period_um
    assert abs(shift_um) < 0.6 * native  # an odd window is half a pixel off the middle


def test_shrinking_averages_instead_of_aliasing():
    """A checkerboard finer than the target's pixels becomes its mean grey."""
    y, x = np.mgrid[:400, :400]
    board = np.where((x + y) % 2 == 0, 0, 200).astype(np.uint8)[:, :, None].repeat(3, axis=2)
    patch = cut_patches(ArraySlide(board), [200], [200], 64, 0.25, 1.0)[0]
    assert np.abs(patch.astype(int) - 100).max() <= 1


def test_same_scale_is_not_resampled():
    array = coded(400, 400)
    native = cut_patches(ArraySlide(array), [200], [200], 100)
    np.testing.assert_array_equal(cut_patches(ArraySlide(array), [200], [200], 100, 0.688, 0.6875), native)


@pytest.mark.parametrize("native", [None, 0.0, float("nan")])
def test_resampling_needs_a_scale(native):
    with pytest.raises(UserError, match="declare um_per_px"):
        cut_patches(ArraySlide(coded(50, 50)), [20], [20], 10, native, 0.5)


def test_impossible_requests_are_named():
    slide = ArraySlide(coded(50, 50))
    with pytest.raises(UserError, match="width_px of at least 1"):
        cut_patches(slide, [20], [20], 0)
    with pytest.raises(UserError, match="give a positive number"):
        cut_patches(slide, [20], [20], 10, 0.5, -1.0)
    with pytest.raises(UserError, match="Spot number 2 has no pixel position"):
        cut_patches(slide, [20, np.nan], [20, 20], 10)


def test_batches_do_not_change_patches():
    slide = ArraySlide(coded(300, 300))
    windows = place_windows(300, 300, np.arange(70) * 4, np.arange(70) * 4, 32)
    whole = cut_patches(slide, np.arange(70) * 4, np.arange(70) * 4, 32)
    seen = []
    for spots, patches in iter_patches(slide, windows, batch=32):
        np.testing.assert_array_equal(patches, whole[spots])
        seen.append(spots)
    assert [len(spots) for spots in seen] == [32, 32, 6]
    assert sorted(np.concatenate(seen)) == list(range(70))


def test_batches_go_down_the_image():
    slide = ArraySlide(coded(300, 300))
    y = np.array([250, 10, 100, 40])
    windows = place_windows(300, 300, y * 0 + 50, y, 32)
    order = np.concatenate([spots for spots, _ in iter_patches(slide, windows, batch=2)])
    assert order.tolist() == [1, 3, 2, 0]


def test_white_fraction_counts_pixels_above_220():
    patches = np.full((2, 10, 10, 3), 255, np.uint8)
    patches[0, :3] = 220  # not above
    patches[1] = (200, 230, 231)  # mean 220.33
    patches[1, 0, 0] = (200, 230, 230)  # mean 220
    assert white_fraction(patches).tolist() == [0.7, 0.99]


def tissue_like(height: int = 300, width: int = 320) -> np.ndarray:
    rng = np.random.default_rng(0)
    amounts = rng.gamma(2, 0.4, (height, width, 2)) * (rng.random((height, width, 2)) < 0.5)
    amounts[:, : width // 4] = 0
    matrix = np.array([[0.65, 0.7, 0.29], [0.2, 0.9, 0.38]])
    return np.rint(255 * np.exp(-amounts @ matrix)).astype(np.uint8)


def write_section(path, x, y, image=None, um_per_px=0.5, **uns):
    obs = pd.DataFrame(
        {"pixel_x": np.asarray(x, float), "pixel_y": np.asarray(y, float)},
        index=[f"{i}x{i + 1}" for i in range(len(x))],
    )
    size = {} if image is None else {"image_width": image.shape[1], "image_height": image.shape[0]}
    adata = anndata.AnnData(np.ones((len(x), 2), np.float32), obs=obs)
    adata.uns.update({"um_per_px": um_per_px, "cohort": "c", "section": "S1", **size, **uns})
    adata.write_h5ad(path)


@pytest.fixture
def section(tmp_path):
    """An image, its section file and the stain of the image."""
    image = tissue_like()
    Image.fromarray(image).save(tmp_path / "image.png")
    x, y = np.array([40.2, 160.0, 300.7, 160.5]), np.array([50.0, 150.5, 280.1, 149.5])
    write_section(tmp_path / "S1.h5ad", x, y, image)
    write_stain(tmp_path / "image.png", tmp_path / "S1.json", tmp_path / "S1.png", "S1")
    return tmp_path, image, x, y


def run(folder, **options):
    arguments = {"stain": "raw", "scale": "native", "width_px": 64} | options
    write_patches(folder / "image.png", folder / "S1.h5ad", folder / "p.npy", folder / "p.tsv", **arguments)
    return np.load(folder / "p.npy", mmap_mode="r"), read_table(folder / "p.tsv", dtype={"spot": str})


def test_patches_index_and_look_up_by_hand_agree(section):
    folder, image, x, y = section
    patches, index = run(folder)
    assert isinstance(patches, np.memmap) and patches.dtype == np.uint8
    assert index["spot"].tolist() == ["0x1", "1x2", "2x3", "3x4"]
    assert list(index) == ["spot", "pixel_x", "pixel_y", "left", "top", "margin_px", "white_fraction"]
    np.testing.assert_array_equal(index[["pixel_x", "pixel_y"]], np.stack([x, y], axis=1))
    for i, row in index.iterrows():
        np.testing.assert_array_equal(patches[i], by_hand(image, x[i], y[i], 64))
        assert (row.left, row.top) == (round(x[i]) - 32, round(y[i]) - 32)
        white = (patches[i].astype(int).sum(-1) > 660).mean()
        assert row.white_fraction == pytest.approx(white, abs=1e-6)
    assert index["margin_px"].tolist() == [40, 150, 19, 150]
    assert (patches[2][:, -12:] == 255).all()  # 301 + 32 leaves the image of 320 by 13
    assert sorted(p.name for p in folder.iterdir() if p.name.startswith((".", "p."))) == ["p.npy", "p.tsv"]


def test_stained_patches_are_those_of_the_normalised_section(section):
    folder, image, x, y = section
    patches, _ = run(folder, stain="vahadane", stain_json=folder / "S1.json")
    whole = normalise(image, fit_stain(image), StainFit.reference())
    np.testing.assert_array_equal(patches, cut_patches(ArraySlide(whole), x, y, 64))
    assert (patches != cut_patches(ArraySlide(image), x, y, 64)).any()

    other = fit_stain(tissue_like()[:, ::-1] // 2 + 60)
    write_json(other.to_dict(), folder / "other.json")
    patches, _ = run(
        folder, stain="vahadane", stain_json=folder / "S1.json", reference_json=folder / "other.json"
    )
    np.testing.assert_array_equal(
        patches, stain_map(fit_stain(image), other)(cut_patches(ArraySlide(image), x, y, 64))
    )


def test_resampled_patches_are_normalised_before_they_are_averaged(section):
    folder, image, x, y = section
    patches, index = run(folder, stain="vahadane", stain_json=folder / "S1.json", scale=1.0, width_px=32)
    whole = normalise(image, fit_stain(image))
    np.testing.assert_array_equal(patches, cut_patches(ArraySlide(whole), x, y, 32, 0.5, 1.0))
    assert (index["left"] == np.rint(x) - 32).all()  # native pixels: the window is 64 wide


@pytest.mark.parametrize("n", [0, 1])
def test_sections_of_no_or_one_spot(section, n):
    folder, image, x, y = section
    write_section(folder / "S1.h5ad", x[:n], y[:n], image)
    patches, index = run(folder)
    assert patches.shape == (n, 64, 64, 3) and len(index) == n


def test_user_mistakes_are_one_sentence_and_leave_nothing(section):
    folder, image, x, y = section

    def refused(message, **options):
        with pytest.raises(UserError, match=message) as caught:
            run(folder, **options)
        assert "\n" not in str(caught.value)
        assert not [p.name for p in folder.iterdir() if p.name.startswith((".", "p."))]

    refused("choose raw, vahadane, macenko, vahadane_staintools", stain="reinhard")
    refused(
        "fitted by vahadane, but vahadane_staintools",
        stain="vahadane_staintools",
        stain_json=folder / "S1.json",
    )
    refused("no stain parameters", stain="vahadane", stain_json=folder / "absent.json")
    refused("fitted by vahadane, but macenko", stain="macenko", stain_json=folder / "S1.json")
    write_section(folder / "S1.h5ad", x, y, image, image_width=999)
    refused("use the image that belongs to the section")
    write_section(folder / "S1.h5ad", x + 1000, y, image)
    refused("4 of 4 spots lie outside")
    write_section(folder / "S1.h5ad", x, y, image, um_per_px=float("nan"))
    refused("declare um_per_px", scale=0.6875)
    (folder / "S1.h5ad").write_bytes(b"no hdf5")
    refused("not a readable section file")
    (folder / "S1.h5ad").unlink()
    refused("section file does not exist")
    (folder / "image.png").unlink()
    write_section(folder / "S1.h5ad", x, y, image)
    refused("image does not exist")


def test_a_file_size_limit_leaves_no_half_written_array(section):
    """The process may write 20 kB per file: the array of 49 kB cannot be completed."""
    folder, *_ = section
    code = (
        "import resource, sys, pathlib\n"
        "from histobench.imaging.patches import write_patches\n"
        "f = pathlib.Path(sys.argv[1])\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (20000, {resource.RLIM_INFINITY}))\n"
        "write_patches(f / 'image.png', f / 'S1.h5ad', f / 'p.npy', f / 'p.tsv',"
        " stain='raw', scale='native', width_px=64)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 1
    assert "UserError" in done.stderr and "p.npy: cannot be written because it would exceed" in done.stderr
    assert not [p.name for p in folder.iterdir() if p.name.startswith((".", "p."))]


@pytest.mark.parametrize(
    ("um", "um_per_px", "pixels"),
    [(154.0, 2.4, 64), (151.0, 2.4, 63), (150.0, 2.4, 62), (112.0, 0.688, 163), (100.0, 0.7, 143)],
)
def test_a_window_in_micrometres_is_the_nearest_number_of_pixels(um, um_per_px, pixels):
    """64.17, 62.92, 62.5 (to the even one), 162.8 and 142.9 pixels."""
    assert window_pixels({"um": um}, um_per_px, 256, "patches.npy") == pixels
