"""Tiles of whole slides: bounded memory, and what cannot be predicted is said in one sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from unit.test_methods_slide import train

from histobench.errors import UserError
from histobench.files import read_table
from histobench.slides.tiles import predict_tiles

SIDE, BLOCK = 40_000, 1024
UM = 0.25
TILE = round(512 * 0.5 / UM)  # of 512 px at 20x, in pixels of the slide
# Runs by itself, so that the peak of memory is its own.
CHILD = """
import json, sys
from histobench.training.record import peak_memory
from histobench.slides.tiles import predict_tiles

predict_tiles(sys.argv[1], sys.argv[2], sys.argv[3], device="cpu")
print(json.dumps(peak_memory()))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    return train(folder, "colour_ridge", "histobench.methods.colour_ridge:ColourRidge", {"patches": True})


def encoded(colour, noise=0):
    """A block as the scanner stores it."""
    rng = np.random.default_rng(0)
    pixels = np.array(colour, np.uint8) + rng.integers(0, noise + 1, (BLOCK, BLOCK, 1), dtype=np.uint8)
    return imagecodecs.jpeg_encode(pixels, level=90, subsampling="420")


def write_slide(path, side=SIDE, scale=UM, island=True):
    """A pyramid of JPEG blocks as an Aperio scanner writes it: an island of tissue, redder on its right."""
    number = -(-side // BLOCK)
    kinds = [encoded((235, 235, 235)), encoded((90, 60, 130), 40), encoded((170, 90, 150), 40)]

    def blocks():
        for row in range(number):
            for column in range(number):
                inside = number // 4 <= row < number // 2 and number // 8 <= column < 7 * number // 8
                yield kinds[(1 + (column >= number // 2)) if inside and island else 0]

    stated = f"|MPP = {scale}" if scale else "|ImageID = 1"
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for level, content in ((side, blocks()), (side // 16, None)):
            small = np.full((level, level, 3), 235, np.uint8) if content is None else content
            writer.write(
                small,
                shape=(level, level, 3),
                dtype=np.uint8,
                tile=(BLOCK, BLOCK),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                description=f"Aperio Image Library v11.2.1\n{level}x{level} {stated}",
                metadata=None,
            )
    return number


@pytest.mark.slow
def test_tiles_of_a_slide_of_40000_pixels_need_less_than_2_gb(model, project, tmp_path):
    path = tmp_path / "slide.svs"
    number = write_slide(path)
    slide = openslide.OpenSlide(path)
    assert slide.dimensions == (SIDE, SIDE) and slide.level_count == 2
    assert slide.properties["openslide.vendor"] == "aperio"
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, model, path, tmp_path / "tiles.parquet"],
        env={**os.environ, "PYTHONPATH": str(project / "workflow/lib"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    peak = json.loads(done.stdout)["peak_memory_mb"]
    table = read_table(tmp_path / "tiles.parquet")
    print(f"{time.perf_counter() - start:.1f} s, {peak:.0f} MB, {len(table)} tiles")
    # decoding the whole slide takes 4.8 GB
    assert peak < 2000
    # blocks and tiles are equally wide
    assert len(table) == (number // 2 - number // 4) * (7 * number // 8 - number // 8)
    right = table["left"] >= TILE * (number // 2)
    assert table.loc[right, "gene.RED"].min() > table.loc[~right, "gene.RED"].max()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": None}, "neither a plausible scale nor a magnification of 20 or 40"),
        ({"island": False}, "no tile is tissue (each is more than 50% white)"),
        (None, "not an image that can be read"),
    ],
)
def test_a_slide_that_cannot_be_predicted_is_named_and_leaves_nothing(model, tmp_path, change, message):
    path = tmp_path / "slide.svs"
    if change is None:
        path.write_bytes(b"no slide")
    else:
        write_slide(path, side=2 * BLOCK, **change)
    with pytest.raises(UserError) as caught:
        predict_tiles(model, path, tmp_path / "out/tiles.parquet", device="cpu")
    assert message in str(caught.value) and str(path) in str(caught.value)
    assert not (tmp_path / "out").exists()
