"""Small pictures of whole sections, for looking at and for telling images apart."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from histobench.imaging.slides import open_slide

Image = npt.NDArray[np.uint8]

_ROWS = 512  # rows of the full image in memory at a time, for images that are not decoded whole


def thumbnail(path: str | Path, longest: int) -> Image:
    """Return the whole image, averaged down so that its longer side has at most ``longest`` pixels.

    A JPEG is decoded at an eighth, a quarter or half of its size, which costs a fraction of decoding it, and
    of a pyramid the smallest level that will do is read; other images are read in bands, so that a
    whole-slide image needs little memory.

    Returns
    -------
    array
        RGB bytes, height x width x 3. Smaller images are returned as they are.

    Raises
    ------
    UserError
        The file is missing, truncated, damaged or not an image of a known kind.
    """
    import cv2

    with open_slide(path) as slide:
        width, height = slide.width, slide.height
        shrink = max(1.0, max(width, height) / longest)
        size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
        picture = slide.reduced(shrink)
        if picture is None:
            factor = max(1, math.floor(shrink))
            bands: list[npt.NDArray[Any]] = []
            for _, band in slide.bands(rows=factor * max(1, _ROWS // factor)):
                rows = math.ceil(len(band) / factor)
                bands.append(
                    cv2.resize(band, (math.ceil(width / factor), rows), interpolation=cv2.INTER_AREA)
                )
            picture = np.concatenate(bands).astype(np.uint8, copy=False)
    if picture.shape[1::-1] == size:
        return picture
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
