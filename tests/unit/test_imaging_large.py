"""A 300-megapixel image is read by window in bounded memory, however its file is laid out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

SIDE = 17_408  # 303 megapixels, 909 MB decoded
TILE = 1024
ACROSS = SIDE // TILE

# Runs by itself, so that the peak of memory is its own.
CHILD = """
import json, sys
import numpy as np
from histobench.imaging.slides import image_size
from histobench.imaging.patches import iter_patches, place_windows
from histobench.imaging.slides import open_slide
from histobench.training.record import peak_memory

path, side, tile = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
assert image_size(path) == (side, side)
column, row = np.meshgrid(np.arange(side // tile), np.arange(side // tile))
x, y = (tile * axis.ravel() + tile // 2 for axis in (column, row))
centres = []
with open_slide(path) as slide:
    for _, batch in iter_patches(slide, place_windows(side, side, x, y, 224, 0.25, 0.5)):
        centres += batch[:, 112, 112].tolist()
    corner = slide.read_region(side - 5, side - 5, 10, 10)
print(json.dumps({"centres": centres, "corner": corner[[0, 9], [0, 9]].tolist(), **peak_memory()}))
"""


def value(n: int) -> tuple[int, int, int]:
    """Colour of the n-th tile."""
    return n % 251, n % 7, n // 7


def write_pyramid(path: Path) -> None:
    """A pyramid of compressed tiles, written tile by tile."""
    with tifffile.TiffWriter(path) as writer:
        writer.write(
            (np.full((TILE, TILE, 3), value(n), np.uint8) for n in range(ACROSS**2)),
            shape=(SIDE, SIDE, 3),
            dtype=np.uint8,
            tile=(TILE, TILE),
            compression="deflate",
            photometric="rgb",
        )
        writer.write(
            np.zeros((SIDE // 16, SIDE // 16, 3), np.uint8),
            tile=(256, 256),
            photometric="rgb",
            subfiletype=1,
        )


def write_one_strip(path: Path) -> None:
    """One strip without compression; what is zero takes no room on the disk."""
    pixels = tifffile.memmap(path, shape=(SIDE, SIDE, 3), dtype=np.uint8, photometric="rgb")
    for n in range(ACROSS**2):
        y, x = (TILE * k + TILE // 2 for k in divmod(n, ACROSS))
        pixels[y : y + 2, x : x + 2] = value(n)
    pixels[-5, -5] = value(ACROSS**2 - 1)
    pixels.flush()


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_pyramid, write_one_strip])
def test_windows_of_300_megapixels_need_little_memory(write, tmp_path, project):
    path = tmp_path / "image.tif"
    write(path)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), str(SIDE), str(TILE)],
        env={**os.environ, "PYTHONPATH": str(project / "workflow/lib"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["centres"] == [list(value(n)) for n in range(ACROSS**2)]
    assert found["corner"] == [list(value(ACROSS**2 - 1)), [255, 255, 255]]
    # well below the 909 MB that decoding the whole image takes
    assert found["peak_memory_mb"] < 600
