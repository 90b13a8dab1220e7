"""A photograph of real tissue, and a slide of 1.6 gigapixels: predicted in minutes, in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml

from histobench.cohorts.section import write_section
from histobench.imaging.patches import write_patches
from histobench.imaging.slides import read_image
from histobench.training import run

pytestmark = pytest.mark.slow

IMAGES = {"B4": ("B", "BT10737_D2_HE.jpg"), "C2": ("C", "5714_HE_BT_C2.jpg")}
SMALL = {
    "he2gene": {
        "backbone": "small_cnn",
        "input_px": 32,
        "epochs": 4,
        "learning_rate": 1e-2,
        "valid_folds": 3,
    },
    "colour_ridge": {},
}


@pytest.fixture(scope="module")
def trained(shared_data: Path, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small models of section C2; labels follow what a pathologist would see first, dark nuclei."""
    folder = tmp_path_factory.mktemp("trained")
    mirror = shared_data / "her2st" / "data"
    patient, image = IMAGES["C2"]
    picture = mirror / "ST-imgs" / patient / "C2" / image
    write_section(
        reader="histobench.cohorts.readers.her2st:read_section",
        cohort="her2st",
        section="C2",
        record={"patient": patient, "um_per_px": 0.688},
        files={
            "counts": str(mirror / "ST-cnts" / "C2.tsv.gz"),
            "spots": str(mirror / "ST-spotfiles" / "C2_selection.tsv"),
            "image": str(picture),
        },
        options={},
        output_h5ad=folder / "C2.h5ad",
        output_json=folder / "C2.json",
        pitch_um=200,
        spot_um=100,
    )
    write_patches(
        picture, folder / "C2.h5ad", folder / "C2.npy", folder / "C2.tsv", stain="raw", scale=2.4, width_px=64
    )
    table = anndata.read_h5ad(folder / "C2.h5ad")
    dark = np.load(folder / "C2.npy").mean(axis=(1, 2, 3))
    table.obs["tumour"] = (dark < np.median(dark)).astype(float)
    table.write_h5ad(folder / "C2.h5ad")
    means = pd.Series(np.asarray(table.X.mean(axis=0)).ravel(), index=table.var_names)
    pd.DataFrame({"gene": table.var_names}).to_csv(folder / "genes.tsv", sep="\t", index=False)
    panel = means.sort_values(ascending=False).index[:30]
    pd.DataFrame({"gene": panel}).to_csv(folder / "panel.tsv", sep="\t", index=False)
    for method, params in SMALL.items():
        described = yaml.safe_load((project / "config/methods" / f"{method}.yaml").read_text())
        run.train(
            entry=described["entry"],
            params={**described["params"], **params},
            needs=described["needs"],
            sections={"C2": {"h5ad": str(folder / "C2.h5ad"), "patches": str(folder / "C2.npy")}},
            roles={"C2": "train"},
            fold="all",
            panel_tsv=folder / "panel.tsv",
            genes_tsv=folder / "genes.tsv",
            transform="log1p_cp10k",
            experiment="real",
            method=method,
            weights="none",
            device="cpu",
            patch_um_per_px=2.4,
            output_weights=folder / method / "weights.pt",
            output_history=folder / method / "history.tsv",
            output_run=folder / method / "run.json",
            image={"stain": "raw", "stain_reference": None, "width_px": 64},
        )
    return folder


def environment(project: Path) -> dict[str, str]:
    """Environment of a process that uses this checkout's library."""
    return {**os.environ, "PYTHONPATH": str(project / "workflow/lib")}


def test_scanpy_plots_the_prediction_over_the_photograph(
    trained: Path, shared_data: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    patient, image = IMAGES["B4"]
    path = shared_data / "her2st/data/ST-imgs" / patient / "B4" / image
    output = tmp_path / "b4.h5ad"
    start = time.perf_counter()
    done = subprocess.run(
        [
            sys.executable, "-m", "histobench", "predict", "--model", trained / "he2gene", "--image", path,
            "--um-per-px", "0.688", "--device", "cpu", "--threads", "2", "--output", output,
        ],
        capture_output=True,
        text=True,
        env=environment(project),
    )  # fmt: skip
    seconds = time.perf_counter() - start
    assert done.returncode == 0, done.stderr[-2000:]
    assert "predicting: 100%" in done.stderr
    print(f"{seconds:.1f} s; {done.stdout.splitlines()[0]}")
    assert seconds < 180
    import scanpy

    table = scanpy.read_h5ad(output)
    assert 500 < table.n_obs < 2500  # a quarter of the photograph is tissue
    probability = table.obs["tumour_probability"]
    assert probability.between(0, 1).all() and probability.std() > 0.01
    axes = scanpy.pl.embedding(table, "spatial", color="tumour_probability", show=False)
    assert axes is not None
    over = scanpy.pl.spatial(table, color=table.var_names[0], show=False)[0]
    assert len(over.images) == 1  # the tissue lies below the positions
    # dark tissue, which the labels followed, and not the pale
    pixels = read_image(path)
    x, y = table.obsm["spatial"].astype(int).T
    dark = np.array([pixels[b - 50 : b + 50, a - 50 : a + 50].mean() for a, b in zip(x, y, strict=True)])
    assert np.corrcoef(probability, dark)[0, 1] < -0.5


SIDE, TILE = 40_000, 1000
CHILD = """
import json, sys
from histobench.training.record import peak_memory
from histobench.slides.newslide import write_slide_prediction

facts = write_slide_prediction(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], um_per_px=0.25, device="cpu")
print(json.dumps({**facts, **peak_memory()}))
"""


def write_slide(path: Path) -> None:
    """A pyramid of JPEG tiles with an island of tissue (8 by 4 mm), whose right half is another colour."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 40, (TILE, TILE, 1), dtype=np.uint8)
    kinds = [np.full((TILE, TILE, 3), 235, np.uint8)]
    kinds += [np.array(colour, np.uint8) + noise for colour in ((90, 60, 130), (170, 90, 150))]

    def kind(row: int, column: int) -> int:
        return 0 if not (12 <= row < 28 and 4 <= column < 36) else 1 if column < 20 else 2

    number = SIDE // TILE
    layout = np.array([[kind(row, column) for column in range(number)] for row in range(number)])
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for shrink in (1, 16):
            # tiles of a TIFF are multiples of 16 pixels wide
            width, block = SIDE // shrink, 2000 if shrink == 1 else 2512
            if shrink == 1:
                tiles = (
                    np.vstack([np.hstack([kinds[k] for k in pair]) for pair in layout[r : r + 2, c : c + 2]])
                    for r in range(0, number, 2)
                    for c in range(0, number, 2)
                )
            else:
                colours = np.array([k.mean(axis=(0, 1)) for k in kinds]).astype(np.uint8)
                at = np.minimum(np.arange(block) * shrink // TILE, number - 1)
                tiles = iter([np.ascontiguousarray(colours[layout[np.ix_(at, at)]])])
            writer.write(
                tiles,
                shape=(width, width, 3),
                dtype=np.uint8,
                tile=(block, block),
                photometric="rgb",
                compression="jpeg",
                subfiletype=int(shrink > 1),
            )


def test_a_slide_of_40000_pixels_needs_less_than_2_gb(trained: Path, project: Path, tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    write_slide(path)
    import openslide

    assert openslide.OpenSlide(path).dimensions == (SIDE, SIDE)  # a true pyramid
    assert openslide.OpenSlide(path).level_count == 2
    start = time.perf_counter()
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            CHILD,
            trained / "colour_ridge",
            path,
            tmp_path / "p.h5ad",
            tmp_path / "p.png",
        ],
        capture_output=True,
        text=True,
        env=environment(project),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    facts = json.loads(done.stdout)
    found = facts["n_positions"] - facts["n_glass"]
    print(f"{time.perf_counter() - start:.1f} s, {facts['peak_memory_mb']:.0f} MB, {found} positions")
    assert facts["peak_memory_mb"] < 2000
    assert found == pytest.approx(80 * 40, rel=0.05)
    table = anndata.read_h5ad(tmp_path / "p.h5ad")
    left = table.obsm["spatial"][:, 0] < SIDE / 2
    assert (
        abs(table.X[left].mean(axis=0) - table.X[~left].mean(axis=0)).max()
        > 3 * table.X[left].std(axis=0).max()
    )
