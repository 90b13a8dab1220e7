"""What scverse's tools ask of a section or prediction before they draw it, written as Visium's readers do.

``uns["spatial"][section]`` holds a small picture, its scale and the diameter of a spot; ``obs`` has
``array_row``, ``array_col`` and ``in_tissue`` beside this project's own columns. scanpy and squidpy find them
there without further arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from histobench.imaging.grid import GRIDS

HIRES_PX, LOWRES_PX = 600, 300
"""Longest sides of the two pictures of a section; predictions, of which there are many, have the smaller."""
_SHEET_PX = 32
CATEGORIES = ("patient", "section", "label", "label_source")
"""Columns of ``obs`` that are stored as categories, so that they are coloured and have a legend."""

Image = npt.NDArray[np.uint8]


def library(extent: tuple[float, float], spot_px: float, picture: Image | None = None) -> dict[str, Any]:
    """Return the entry of one section in ``uns["spatial"]``.

    Parameters
    ----------
    extent
        Width and height of the full-resolution image in pixels.
    spot_px
        Diameter of a spot in its pixels.
    picture
        The whole image as RGB bytes, at least as large as the stored ones; None for a section without an
        image, which gets a white sheet, because the tools draw nothing without one.
    """
    width, height = (max(float(side), 1.0) for side in extent)
    images: dict[str, Image] = {}
    scales: dict[str, float] = {}
    if picture is None:
        share = _SHEET_PX / max(width, height)
        size = int(np.ceil(height * share)), int(np.ceil(width * share)), 3
        images["hires"], scales["tissue_hires_scalef"] = np.full(size, 255, dtype=np.uint8), share
    else:
        for name, longest in (("hires", HIRES_PX), ("lowres", LOWRES_PX)):
            images[name] = _shrunk(picture, longest)
            scales[f"tissue_{name}_scalef"] = max(images[name].shape) / max(width, height)
    return {"images": images, "scalefactors": {**scales, "spot_diameter_fullres": spot_px}, "metadata": {}}


def _shrunk(picture: Image, longest: int) -> Image:
    import cv2

    shrink = max(picture.shape) / longest
    if shrink <= 1:
        return picture
    height, width = (max(1, round(side / shrink)) for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def small_library(spatial: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``uns["spatial"]`` of a section with the smaller of its pictures only, under the usual name."""
    small = {}
    for name, entry in spatial.items():
        images, scales = dict(entry["images"]), dict(entry["scalefactors"])
        if "lowres" in images:
            images = {"hires": images["lowres"]}
            scales["tissue_hires_scalef"] = scales.pop("tissue_lowres_scalef")
        small[name] = {"images": images, "scalefactors": scales, "metadata": {}}
    return small


def with_conventions(obs: pd.DataFrame, grid: str) -> pd.DataFrame:
    """Return spot columns with those that the tools look for, text as categories.

    ``array_row`` and ``array_col`` are the whole-numbered place on the array, of which ``array_y`` and
    ``array_x`` may differ by what a spot was measured to lie beside it; an irregular section has none. Spots
    off the tissue are not stored, so that ``in_tissue`` is 1.
    """
    obs = obs.copy()
    if GRIDS[grid].regular:
        for name, place in (("array_row", "array_y"), ("array_col", "array_x")):
            obs[name] = np.rint(obs[place].to_numpy(np.float64)).astype(np.int32)
    obs["in_tissue"] = np.ones(len(obs), dtype=np.int8)
    for name in CATEGORIES:
        if name in obs:
            obs[name] = pd.Categorical(obs[name].astype(str))
    return obs
