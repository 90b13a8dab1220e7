"""Spots on tissue: thumbnail, scale bar, discs of the size of the spot grid; shared by all maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image
from scipy.spatial import cKDTree

from histobench.figures.drawing.style import SEQUENTIAL

Box = tuple[float, float, float, float]
Tissue = tuple["np.ndarray", Box]
Thumbnail = tuple["np.ndarray", int, int]

_THUMBNAIL_PX = 900
_PANEL_PX = 240
_INK = 0.45
_LARGEST_PX = 60_000_000
# Beyond this many discs they are stored as pixels inside the vector file.
MOST_DISCS = 6000


def spot_pitch(positions: np.ndarray) -> float:
    """Return the median distance of a spot to its nearest neighbour, in pixels; 1.0 for a single spot."""
    if len(positions) < 2:
        return 1.0
    distances = cKDTree(positions).query(positions, k=2)[0][:, 1]
    return float(np.median(distances)) or 1.0


def thumbnail(path: str | Path) -> Thumbnail | None:
    """Return a small RGB version of an image and its full width and height in pixels.

    A JPEG is decoded at an eighth of its size, so a section of 10,000 px takes a fraction of a second. Other
    formats cannot be: a whole slide in one of them gives None, and the map has no tissue below it.
    """
    Image.MAX_IMAGE_PIXELS = None  # whole sections are larger than Pillow's guard against archive bombs
    with Image.open(path) as image:
        width, height = image.size
        if image.format != "JPEG" and width * height > _LARGEST_PX:
            return None
        image.draft("RGB", (_THUMBNAIL_PX, _THUMBNAIL_PX))
        small = image.convert("RGB")
        small.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    return np.asarray(small), width, height


def faint(image: Thumbnail, box: Box, ink: float = _INK, pixels: int = _PANEL_PX) -> Tissue:
    """Return a thumbnail inside the box, washed out, and where it lies (left, right, bottom, top).

    It is stored once per panel, so it is as small as a panel in print, and coarse in colour to compress well.
    """
    slide, width, height = image
    across, down = slide.shape[1] / width, slide.shape[0] / height
    left, right = max(0, int(box[0] * across)), min(slide.shape[1], int(np.ceil(box[1] * across)))
    top, bottom = max(0, int(box[2] * down)), min(slide.shape[0], int(np.ceil(box[3] * down)))
    if right <= left or bottom <= top:
        return np.full((1, 1, 3), 255, np.uint8), (box[0], box[1], box[3], box[2])
    part = Image.fromarray(slide[top:bottom, left:right])
    part.thumbnail((pixels, pixels))
    washed = 255 - ink * (255 - np.asarray(part, dtype=float))
    coarse = (np.round(washed / 5) * 5).astype(np.uint8)
    return coarse, (left / across, right / across, bottom / down, top / down)


def scale_bar(axes: Any, box: Box, um_per_px: float) -> None:
    """Draw 1 mm below the first panel of the last row, where the scale is known."""
    if not um_per_px > 0 or (length := 1000 / um_per_px) > box[1] - box[0]:
        return
    y = box[3] + 0.02 * (box[3] - box[2])
    axes.plot([box[0], box[0] + length], [y, y], color="#222222", lw=2, clip_on=False, solid_capstyle="butt")
    axes.annotate(
        "1 mm", (box[0] + length, y), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7,
        annotation_clip=False,
    )  # fmt: skip


class SpotMaps:
    """Spots of one section on several panels, over its tissue, as discs of the size of the spot grid.

    Parameters
    ----------
    table
        ``spot``, ``pixel_x``, ``pixel_y``, in pixels of the image; rows of one spot lie in one place.
        ``um_per_px`` among its attributes is the scale, where known.
    image
        What lies below, if anything; ``look`` goes to :func:`faint`.
    """

    def __init__(self, table: pd.DataFrame, image: Thumbnail | None = None, **look: Any) -> None:
        spots = table.drop_duplicates("spot")
        x, y = spots["pixel_x"], spots["pixel_y"]
        pitch = self.pitch = spot_pitch(spots[["pixel_x", "pixel_y"]].to_numpy(float))
        left, right, top, bottom = x.min() - pitch, x.max() + pitch, y.min() - pitch, y.max() + pitch
        self.box: Box = float(left), float(right), float(top), float(bottom)
        self.tissue = faint(image, self.box, **look) if image is not None else None
        self.um_per_px = float(table.attrs.get("um_per_px", float("nan")))
        self.discs: list[Any] = []

    def height(self, width: float) -> float:
        """Return how high a panel of such a width is, in the same unit."""
        left, right, top, bottom = self.box
        return width * (bottom - top) / (right - left)

    def draw(self, axes: Any, spots: pd.DataFrame, **look: Any) -> Any:
        """Draw spots at ``pixel_x``, ``pixel_y``; y runs downwards as in the image.

        ``look`` goes to matplotlib's scatter (``c``, ``cmap``, ``vmin``, ``vmax``). The discs get their size
        from :func:`size_discs` once all panels are there.
        """
        if self.tissue is not None:
            axes.imshow(self.tissue[0], extent=self.tissue[1], interpolation="none", zorder=0)
        left, right, top, bottom = self.box
        axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        drawn = axes.scatter(spots["pixel_x"], spots["pixel_y"], linewidths=0, plotnonfinite=True, **look)
        self.discs.append(drawn)
        return drawn


def shades(values: pd.DataFrame) -> dict[str, Any]:
    """Return how :meth:`SpotMaps.draw` colours values: columns alike, from the 2nd to the 98th percentile."""
    low, high = float(values.quantile(0.02).min()), float(values.quantile(0.98).max())
    return {"cmap": SEQUENTIAL, "vmin": low, "vmax": high if high > low else low + 1}


def size_discs(figure: Figure, sections: Sequence[SpotMaps], share: float = 0.92) -> None:
    """Give discs a share of the pitch of their section as diameter, known in points only after layout.

    Markers of one size are stored once in an SVG; shapes in data units would make it twenty times larger.
    """
    for pitch in dict.fromkeys(section.pitch for section in sections):
        figure.draw_without_rendering()  # anew, since the discs that were sized take part in the layout
        for drawn in (disc for section in sections if section.pitch == pitch for disc in section.discs):
            to_screen = drawn.axes.transData.transform
            across = to_screen((share * pitch, 0))[0] - to_screen((0, 0))[0]
            drawn.set_sizes([(across * 72 / figure.dpi) ** 2])
