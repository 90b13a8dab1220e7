"""Prediction for a slide of nobody's cohort: tissue, scale, files, and every way in which it can be refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import anndata
import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile

from histobench.cli.command import main
from histobench.errors import UserError
from histobench.files import write_table
from histobench.slides.grid import grid_spots, predict_slide, read_run, white_around
from histobench.training import run

UM = 2.0
WIDTH = 16


def train(folder, method, entry, needs, image=None, labels=False):
    """A model of 40 random patches: the first gene follows their redness, the second is noise."""
    rng = np.random.default_rng(0)
    patches = rng.integers(60, 200, (40, 1, 1, 3)).repeat(WIDTH, 1).repeat(WIDTH, 2).astype(np.uint8)
    counts = np.stack([patches[:, 0, 0, 0], rng.integers(1, 9, 40), np.full(40, 900)], axis=1)
    obs = pd.DataFrame(
        {
            "array_x": np.arange(40.0),
            "array_y": np.zeros(40),
            "pixel_x": np.arange(40.0),
            "pixel_y": np.zeros(40),
            "patient": "p",
            "section": "s",
            "tumour": (patches[:, 0, 0, 0] > 130).astype(float),
        },
        index=[f"spot{n}" for n in range(40)],
    )
    from scipy import sparse

    names = ["RED", "NOISE", "REST"]
    table = anndata.AnnData(sparse.csr_matrix(counts.astype(np.int32)), obs, pd.DataFrame(index=names))
    table.uns |= {"cohort": "c", "section": "s", "patient": "p", "um_per_px": UM}
    table.write_h5ad(folder / "s.h5ad")
    np.save(folder / "s.npy", patches)
    write_table(pd.DataFrame({"gene": names[:2]}), folder / "panel.tsv")
    write_table(pd.DataFrame({"gene": names}), folder / "genes.tsv")
    model = folder / "models" / method
    run.train(
        entry=entry,
        params={},
        needs=needs,
        sections={"s": {"h5ad": str(folder / "s.h5ad"), "patches": str(folder / "s.npy")}},
        roles={"s": "train"},
        fold="all",
        panel_tsv=folder / "panel.tsv",
        genes_tsv=folder / "genes.tsv",
        transform="log1p_cp10k",
        experiment="e",
        method=method,
        weights="none",
        device="cpu",
        output_weights=model / "weights.pt",
        output_history=model / "history.tsv",
        output_run=model / "run.json",
        image=image or {"stain": "raw", "stain_reference": None, "width_px": WIDTH},
    )
    return model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return train(
        tmp_path_factory.mktemp("model"),
        "colour_ridge",
        "histobench.methods.colour_ridge:ColourRidge",
        {"patches": True},
    )


def tissue(height=400, width=600):
    """Grey glass with a block of tissue that is redder on its right."""
    picture = np.full((height, width, 3), 218, np.uint8)
    picture[100:300, 100:500] = (100, 90, 140)
    picture[100:300, 300:500, 0] = 190
    return picture


@pytest.fixture
def image(tmp_path):
    cv2.imwrite(str(tmp_path / "slide.png"), tissue()[:, :, ::-1])
    return tmp_path / "slide.png"


def test_tissue_is_predicted_where_it_lies(model, image):
    table = predict_slide(model, image, um_per_px=1.0, pitch_um=25, threads=1)
    x, y = table.obsm["spatial"].T
    assert table.n_obs > 100 and list(table.var_names) == ["RED", "NOISE"]
    assert (x > 80).all() and (x < 520).all() and (y > 80).all() and (y < 320).all()
    assert table.uns["histobench"]["n_glass"] == table.uns["histobench"]["n_positions"] - table.n_obs > 100
    inside = (x > 120) & (x < 480) & (y > 120) & (y < 280)
    left, right = (inside & side for side in (x < 280, x > 320))
    red = table.X[:, 0]
    assert red[left].max() < red[right].min()


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "pyramid"])
def test_every_kind_of_image_gives_the_same_positions(model, image, tmp_path, kind):
    reference = predict_slide(model, image, um_per_px=1.0, pitch_um=25)
    path = tmp_path / f"again.{'tif' if kind == 'pyramid' else kind}"
    if kind == "pyramid":
        with tifffile.TiffWriter(path) as writer:
            writer.write(tissue(), tile=(64, 64), photometric="rgb", compression="deflate")
            writer.write(tissue()[::2, ::2], tile=(64, 64), photometric="rgb", subfiletype=1)
    elif kind == "tif":
        tifffile.imwrite(path, tissue(), photometric="rgb")
    else:
        cv2.imwrite(str(path), tissue()[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    table = predict_slide(model, path, um_per_px=1.0, pitch_um=25)
    assert list(table.obs_names) == list(reference.obs_names)
    np.testing.assert_allclose(table.X, reference.X, atol=0.3)


def test_another_scan_of_the_same_slide_is_predicted_alike(model, image, tmp_path):
    half = cv2.resize(tissue(), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / "half.png"), half[:, :, ::-1])
    one = predict_slide(model, image, um_per_px=1.0, pitch_um=25)
    other = predict_slide(model, tmp_path / "half.png", um_per_px=2.0, pitch_um=25)
    shared = one.obs_names.intersection(other.obs_names)
    assert len(shared) > 0.9 * one.n_obs
    assert np.corrcoef(one[shared].X[:, 0], other[shared].X[:, 0])[0, 1] > 0.95


def test_the_grid_keeps_patches_inside_and_its_pitch():
    spots = grid_spots(1000, 500, 0.5, pitch_um=100, field_um=60)
    assert spots["pixel_x"].min() >= 60 and spots["pixel_x"].max() <= 940
    assert np.diff(np.unique(spots["pixel_x"])) == pytest.approx(200)
    assert len(spots) == 5 * 2
    assert len(grid_spots(1000, 100, 0.5, pitch_um=100, field_um=60)) == 0


def test_glass_is_what_is_bright_beside_the_lamp():
    overview = np.full((10, 20, 3), 210, np.uint8)
    overview[:, 10:] = 150
    spots = pd.DataFrame({"pixel_x": [50.0, 150.0, 100.0], "pixel_y": [50.0, 50.0, 50.0]})
    np.testing.assert_allclose(white_around(overview, spots, (200, 100), 60.0), [1.0, 0.0, 0.5], atol=0.01)
    overview[overview.mean(axis=2) > 200] = 2  # black, where a scanner has not been
    overview[0, 0] = 250
    np.testing.assert_allclose(white_around(overview, spots, (200, 100), 60.0), [1.0, 0.0, 0.5], atol=0.02)


def command(model, image, output, *more):
    arguments = ["predict", "--model", str(model), "--image", str(image), "--output", str(output)]
    return main([*arguments, "--device", "cpu", "--threads", "1", *more])


def test_the_command_writes_a_file_and_a_picture(model, image, tmp_path, capsys):
    assert command(model, image, tmp_path / "out/p.h5ad", "--um-per-px", "1.0") == 0
    assert "positions on tissue" in capsys.readouterr().out
    table = anndata.read_h5ad(tmp_path / "out/p.h5ad")
    (spatial,) = table.uns["spatial"].values()
    assert spatial["images"]["hires"].shape == (400, 600, 3)
    assert spatial["scalefactors"]["tissue_hires_scalef"] == 1.0
    assert cv2.imread(str(tmp_path / "out/p.png")).std() > 5


def test_a_name_of_an_old_archive_is_no_obstacle(model, image, tmp_path):
    """Latin-1 in the name of a file, which is no UTF-8: as from a zip of another time."""
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/pr\xe4parat.png"))
    odd.write_bytes(Path(image).read_bytes())
    output = odd.with_suffix(".h5ad")
    assert command(model, odd, output, "--um-per-px", "1.0") == 0
    shutil.copy(output, tmp_path / "p.h5ad")
    table = anndata.read_h5ad(tmp_path / "p.h5ad")
    assert table.uns["histobench"]["image"] == "pr\ufffdparat.png" and list(table.uns["spatial"]) == [
        "pr\ufffdparat"
    ]


def broken(tmp_path, kind):
    path = tmp_path / f"{kind}.png"
    if kind == "white":
        cv2.imwrite(str(path), np.full((300, 300, 3), 255, np.uint8))
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("no image")
    elif kind == "cut":
        cv2.imwrite(str(path), tissue()[:, :, ::-1])
        path.write_bytes(path.read_bytes()[:200])
    elif kind == "small":
        cv2.imwrite(str(path), tissue()[150:160, 150:160, ::-1])
    elif kind != "missing":
        cv2.imwrite(str(path), tissue()[:, :, ::-1])
    return path


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("missing", ["--um-per-px", "1"], "the image does not exist"),
        ("empty", ["--um-per-px", "1"], "the image file is empty"),
        ("text", ["--um-per-px", "1"], "not an image that can be read"),
        ("cut", ["--um-per-px", "1"], "truncated or damaged"),
        ("white", ["--um-per-px", "1"], "the image is white throughout; check that it is the right file"),
        ("small", ["--um-per-px", "1"], "less than one patch of 32 µm"),
        ("good", [], "does not say its scale; give micrometres per pixel with --um-per-px"),
        ("good", ["--um-per-px", "20"], "20 µm per pixel, which is implausible"),
        ("good", ["--um-per-px", "nan"], "implausible"),
        ("good", ["--um-per-px", "1", "--pitch-um", "0"], "the pitch must be positive"),
        ("good", ["--um-per-px", "1", "--pitch-um", "inf"], "the pitch must be positive and finite"),
        (
            "good",
            ["--um-per-px", "1", "--pitch-um", "0.01"],
            "a pitch of 0.01 µm is less than a pixel of 1 µm",
        ),
    ],
)
def test_what_cannot_be_predicted_is_said_in_one_sentence(model, tmp_path, capsys, kind, options, message):
    path = broken(tmp_path, kind)
    out = tmp_path / "out"
    assert command(model, path, out / "p.h5ad", *options) == 1
    (line,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("Error")]
    assert message in line and line.count(". ") == 0
    assert not out.exists() or not list(out.iterdir())


def pyramid(path, **options):
    with tifffile.TiffWriter(path) as writer:
        writer.write(tissue(), tile=(64, 64), photometric="rgb", **options)
        writer.write(tissue()[::2, ::2], tile=(64, 64), photometric="rgb", subfiletype=1)


def scanned(path, properties):
    text = f"Aperio Image Library v1\n600x400 {properties}"
    tifffile.imwrite(path, tissue(), tile=(64, 64), photometric="rgb", description=text, metadata=None)


def test_the_scale_that_a_file_states_is_used_and_compared(model, tmp_path):
    pyramid(tmp_path / "a.tif", resolution=(7267, 7267), resolutionunit=3)
    tifffile.imwrite(
        tmp_path / "b.ome.tif", tissue(), tile=(64, 64), photometric="rgb",
        metadata={"PhysicalSizeX": 1.376, "PhysicalSizeY": 1.376},
    )  # fmt: skip
    for name, where in (("a.tif", "TIFF resolution"), ("b.ome.tif", "OME PhysicalSizeX")):
        said = predict_slide(model, tmp_path / name, pitch_um=50).uns["histobench"]
        assert said["um_per_px"] == pytest.approx(1.376, rel=1e-3) and where in said["um_per_px_source"]
        assert (
            predict_slide(model, tmp_path / name, um_per_px=1.4, pitch_um=50).uns["histobench"][
                "um_per_px_source"
            ]
            == "given"
        )
        with pytest.raises(UserError, match=rf"is 1, but the file states 1.376 .*{where}"):
            predict_slide(model, tmp_path / name, um_per_px=1.0)


@pytest.mark.parametrize(
    ("properties", "given", "source"),
    [
        ("|AppMag = 20|MPP = 0", 1.0, "given"),  # once: leave --um-per-px out
        ("|AppMag = 20|MPP = 0", None, "assumed from a magnification of 20x"),
        ("|AppMag = 20", None, "assumed from a magnification of 20x"),
        ("|AppMag = 20", 1.0, "given"),
        ("|MPP = 1000", 1.0, "given"),
        ("|MPP = 1.0", 1.02, "given"),
        ("|MPP = 1.0", None, "MPP of the Aperio header"),
    ],
)
def test_no_advice_contradicts_another(properties, given, source, model, tmp_path):
    scanned(tmp_path / "a.svs", properties)
    said = predict_slide(model, tmp_path / "a.svs", um_per_px=given, pitch_um=50).uns["histobench"]
    assert said["um_per_px_source"] == source
    assert said["um_per_px"] == pytest.approx(given or (1.0 if "MPP = 1.0" in properties else 0.5))


def test_statements_that_cannot_be_used_are_named(model, tmp_path):
    scanned(tmp_path / "a.svs", "|AppMag = 10|MPP = 0")
    with pytest.raises(UserError, match=r"does not say its scale \(it states MPP .* of 0 .*--um-per-px"):
        predict_slide(model, tmp_path / "a.svs")
    pyramid(tmp_path / "b.tif", resolution=(20000, 10000), resolutionunit=3)
    with pytest.raises(UserError, match=r"0.5 x 1 µm per pixel .* not square"):
        predict_slide(model, tmp_path / "b.tif")
    tifffile.imwrite(
        tmp_path / "c.ome.tif", tissue(), photometric="rgb", resolution=(5000, 5000), resolutionunit=3,
        metadata={"PhysicalSizeX": 1.0, "PhysicalSizeY": 1.0},
    )  # fmt: skip
    with pytest.raises(UserError, match=r"states both 1 µm .* and 2 µm .* --um-per-px which is right"):
        predict_slide(model, tmp_path / "c.ome.tif")
    for right in (1.0, 2.0):
        assert predict_slide(model, tmp_path / "c.ome.tif", um_per_px=right, pitch_um=50).n_obs


def test_an_orientation_that_is_not_applied_is_said(model, image, tmp_path, capsys):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(image).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert command(model, tmp_path / "turned.jpg", tmp_path / "p.h5ad", "--um-per-px", "1") == 0
    assert "note: the image wants to be shown turned by 90 degrees clockwise" in capsys.readouterr().out


def test_what_has_no_certain_colours_is_refused_by_its_name(model, tmp_path):
    from PIL import Image

    Image.fromarray(tissue()).convert("CMYK").save(tmp_path / "inks.tif")
    Image.fromarray(tissue()).convert("CMYK").save(tmp_path / "inks.jpg")
    tifffile.imwrite(tmp_path / "deep.tif", tissue().astype(np.uint16) * 16, photometric="rgb")
    planes = np.moveaxis(tissue(), 2, 0)
    tifffile.imwrite(tmp_path / "planes.tif", planes, photometric="minisblack")
    for name, words in {
        "inks.tif": "printing inks",
        "inks.jpg": "4 colour channels",
        "deep.tif": "values have 16 bits",
        "planes.tif": "3 grey pages",
    }.items():
        with pytest.raises(UserError, match=rf"{name}: .*{words}"):
            predict_slide(model, tmp_path / name, um_per_px=1.0)
    tifffile.imwrite(tmp_path / "c.ome.tif", planes, photometric="minisblack", metadata={"axes": "CYX"})
    one, other = tmp_path / "c.ome.tif", tmp_path / "plain.tif"
    tifffile.imwrite(other, tissue(), photometric="rgb")
    got, expected = (predict_slide(model, path, um_per_px=1.0, pitch_um=25) for path in (one, other))
    np.testing.assert_array_equal(got.X, expected.X)


def test_only_models_that_look_at_images_predict_slides(model, tmp_path):
    with pytest.raises(UserError, match="no trained model; name a folder with weights"):
        read_run(tmp_path)
    mean = train(tmp_path, "train_mean", "histobench.methods.train_mean:TrainMean", {"patches": False})
    with pytest.raises(UserError, match="train_mean does not look at images"):
        read_run(mean)
