"""Tiles that cover a whole image, for photographs and slides without spots.

Tiles lie side by side without overlap from the top left corner; those that an edge would cut off are left
out. They are cut batch by batch, so that a slide of any size needs the memory of one batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from histobench.imaging.patches import Image, Windows, cut_windows, place_windows, unscanned, white_fraction
from histobench.imaging.slides import Slide

__all__ = ["TileBatch", "cover", "iter_tissue"]

_BATCH = 16  # tiles held at a time: 50 MB where a slide is twice as fine as its tiles


@dataclass(frozen=True)
class TileBatch:
    """Some tiles: ``left`` and ``top`` in native pixels, ``white`` share of white pixels, and their pixels.

    ``pixels`` is uint8 (n, W, W, 3); the vectors have n values.
    """

    left: npt.NDArray[np.int64]
    top: npt.NDArray[np.int64]
    white: npt.NDArray[np.float64]
    pixels: Image


def cover(
    width: int, height: int, width_px: int, um_per_px_native: float | None, um_per_px: float | None
) -> Windows:
    """Place tiles side by side over an image.

    Parameters
    ----------
    width, height
        Size of the image in pixels.
    width_px
        Width and height of a tile.
    um_per_px_native, um_per_px
        Scale of the image and of the tiles; without the latter, tiles are cut pixel by pixel.

    Returns
    -------
    Windows
        In reading order; empty if the image is smaller than one tile.

    Raises
    ------
    UserError
        A scale or the width is not positive.
    """
    # The width of a tile in native pixels is worked out in one place for patches and tiles.
    crop = place_windows(width, height, [], [], width_px, um_per_px_native, um_per_px).crop_px
    column, row = np.meshgrid(np.arange(width // crop), np.arange(height // crop))
    centre_x, centre_y = (crop * axis.ravel().astype(np.float64) + crop // 2 for axis in (column, row))
    return place_windows(width, height, centre_x, centre_y, width_px, um_per_px_native, um_per_px)


def iter_tissue(
    slide: Slide,
    windows: Windows,
    *,
    max_white: float | None = 0.5,
    batch: int = _BATCH,
) -> Iterator[TileBatch]:
    """Cut tiles in batches, leaving out those that are mostly glass, or black where nothing was scanned.

    Parameters
    ----------
    slide
        The image.
    windows
        From :func:`cover`.
    max_white
        Tiles with a larger share of white pixels (mean of RGB above 220, He et al. 2020) are left out; None
        keeps all.
    batch
        Tiles that are read at a time; a batch that is yielded may be smaller.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    for start in range(0, len(windows), batch):
        part = slice(start, start + batch)
        some = replace(
            windows, left=windows.left[part], top=windows.top[part], margin_px=windows.margin_px[part]
        )
        pixels = cut_windows(slide, some)
        white = white_fraction(pixels)
        empty = white + unscanned(pixels).mean(axis=(1, 2))
        kept = np.ones(len(white), bool) if max_white is None else empty <= max_white
        if not kept.any():
            continue
        yield TileBatch(some.left[kept], some.top[kept], white[kept], pixels[kept])
