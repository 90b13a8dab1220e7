"""Small pictures of whole sections, for looking at and for telling images apart."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from histobench.imaging.headers import JPEG, image_kind, image_size, unreadable
from histobench.imaging.jpeg import find_damage
from histobench.imaging.slides import open_slide, over_white, vendor_format

Image = npt.NDArray[np.uint8]

_LEVEL_PIXELS = 2**25  # of a stored copy that is read whole, 128 MB
_ROWS = 512  # rows of the full image in memory at a time, for images that are not decoded whole


def thumbnail(path: str | Path, longest: int) -> Image:
    """Return the whole image, averaged down so that its longer side has at most ``longest`` pixels.

    A JPEG is decoded at an eighth, a quarter or half of its size, which costs a fraction of decoding it;
    other images are read in bands, so that a whole-slide image needs little memory.

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

    path = Path(path)
    vendor = vendor_format(path)
    if vendor is None:
        width, height = image_size(path)
    else:
        with open_slide(path) as slide:
            width, height = slide.width, slide.height
    shrink = max(1.0, max(width, height) / longest)
    size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    if vendor is None and image_kind(path) == JPEG:
        picture = _small_jpeg(path, shrink)
    elif (level := _pyramid_level(path, shrink)) is not None:
        picture = level
    else:
        factor = max(1, math.floor(shrink))
        bands: list[npt.NDArray[Any]] = []
        with open_slide(path) as slide:
            for _, band in slide.bands(rows=factor * max(1, _ROWS // factor)):
                rows = math.ceil(len(band) / factor)
                bands.append(
                    cv2.resize(band, (math.ceil(width / factor), rows), interpolation=cv2.INTER_AREA)
                )
        picture = np.concatenate(bands).astype(np.uint8, copy=False)
    if picture.shape[1::-1] == size:
        return picture
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _pyramid_level(path: Path, shrink: float) -> Image | None:
    """Return the smallest stored copy of a slide of at least 1/``shrink`` of its size, if there is one."""
    import openslide

    if path.suffix.lower() == ".png" or openslide.OpenSlide.detect_format(path) is None:
        return None
    try:
        with openslide.OpenSlide(path) as slide:
            level = slide.get_best_level_for_downsample(shrink)
            width, height = slide.level_dimensions[level]
            if level == 0 or width * height > _LEVEL_PIXELS:
                return None
            picture = np.asarray(slide.read_region((0, 0), level, (width, height)))
    except openslide.OpenSlideError as error:
        raise unreadable(path, f"OpenSlide cannot read the slide ({error})") from error
    return over_white(picture)


def _small_jpeg(path: Path, shrink: float) -> Image:
    """Decode a JPEG at the smallest of the scales 1, 1/2, 1/4, 1/8 that is at least 1/``shrink``."""
    import cv2

    data = path.read_bytes()
    damage = find_damage(data)
    if damage is not None:
        raise unreadable(path, damage)
    scale = next(
        (flag for least, flag in ((8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4),
                                  (2, cv2.IMREAD_REDUCED_COLOR_2)) if shrink >= least),
        cv2.IMREAD_COLOR,
    )  # fmt: skip
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), scale | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        raise unreadable(path, "the JPEG cannot be decoded")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)
