"""Spots over tissue: a picture in which a person sees a flip, a shift or a wrong image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure

from histobench.figures.drawing.style import RASTER_DPI, new_figure, styled
from histobench.files import atomic_path

SPOT, COLUMN, ROW = "#1a1a1a", "#D55E00", "#0072B2"
WIDTH = 1400
"""Pixels along the longer side at which images are drawn."""


@styled
def draw_spots(
    picture: npt.NDArray[np.uint8] | None,
    size: tuple[int, int],
    spots: pd.DataFrame,
    *,
    radius_px: float,
    title: str,
    staggered: bool = False,
) -> Figure:
    """Draw spots as circles of their true size over the tissue.

    The first column and the first row of the array are coloured, so that a mirrored or turned section shows
    even where tissue fills the frame: the first column belongs to the left, the first row to the top.

    Parameters
    ----------
    picture
        The section's image made small, RGB bytes; None draws spots only.
    size
        Width and height of the full image in pixels, (0, 0) without one.
    spots
        ``array_x``, ``array_y`` (grid; NaN where there is no array), ``pixel_x``, ``pixel_y`` (full image).
    radius_px
        Radius of a spot in pixels of the full image.
    title
        Above the picture.
    staggered
        Columns of neighbouring rows are staggered (a hexagonal array): two make the first one.
    """
    x, y = spots["pixel_x"].to_numpy(), spots["pixel_y"].to_numpy()
    width, height = size if size[0] else (float(x.max() + radius_px), float(y.max() + radius_px))
    margin = 0.02 * max(width, height)
    left, right = (
        min(0.0, float(x.min()) - radius_px) - margin,
        max(width, float(x.max()) + radius_px) + margin,
    )
    top, bottom = (
        min(0.0, float(y.min()) - radius_px) - margin,
        max(height, float(y.max()) + radius_px) + margin,
    )
    figure = new_figure(7.0, min(7.0 * (bottom - top) / (right - left) + 0.75, 12.0))
    axes = figure.subplots()
    if picture is not None:
        axes.imshow(picture, extent=(0, width, height, 0), interpolation="antialiased")
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    axes.set_aspect("equal")
    column, row = _first(spots["array_x"], 2 if staggered else 1), _first(spots["array_y"], 1)
    outside = (x < 0) | (y < 0) | (x >= width) | (y >= height)
    groups = (
        (~column & ~row, SPOT, "spot", 0.6),
        (row & ~column, ROW, f"first row of the array ({spots['array_y'].min():.0f}): top", 1.6),
        (column, COLUMN, f"first column of the array ({spots['array_x'].min():.0f}): left", 1.6),
    )
    for chosen, colour, label, line in groups:
        if label == "spot" or chosen.any():
            _circles(axes, x[chosen], y[chosen], radius_px, colour, line, label)
    if outside.any() and picture is not None:
        axes.plot(x[outside], y[outside], "x", color="#CC0000", markersize=5, label="outside the image")
    axes.set_xlabel("pixel_x of the image")
    axes.set_ylabel("pixel_y of the image")
    axes.set_title(title, loc="left")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def _first(position: pd.Series, steps: int) -> npt.NDArray[np.bool_]:
    """Mark the spots on the first steps of the grid; measured positions lie beside whole numbers."""
    whole = np.rint(position.to_numpy())
    return np.asarray(whole < whole.min() + steps)


def _circles(
    axes: Axes,
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    radius: float,
    colour: str,
    line: float,
    label: str,
) -> None:
    sizes = np.full(len(x), 2 * radius)
    circles = EllipseCollection(
        sizes, sizes, np.zeros(len(x)), offsets=np.column_stack([x, y]), units="xy", facecolors="none",
        edgecolors=colour, linewidths=line, offset_transform=axes.transData,
    )  # fmt: skip
    axes.add_collection(circles)
    axes.plot([], [], "o", markerfacecolor="none", markeredgecolor=colour, markeredgewidth=line, label=label)


def save_png(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG; it appears whole or not at all."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=RASTER_DPI, metadata={"Software": None})
