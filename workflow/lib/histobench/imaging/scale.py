"""Micrometres per pixel of a section, from the grid its spots were printed on.

The arrays are printed with a known pitch, so the slope of the pixel position on the grid position is the
scale of the image. Densities stored in image files are not: scanners and editors overwrite them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from histobench.errors import UserError

#: Largest disagreement between a fitted and a declared scale that is let through.
DECLARED_TOLERANCE = 0.05

#: Micrometres-per-pitch of one grid step (x, y): a hexagonal array counts columns in half pitches and
#: its rows are sqrt(3)/2 of a pitch apart.
_GRID_STEPS = {"square": (1.0, 1.0), "hexagonal": (0.5, math.sqrt(3.0) / 2.0)}


@dataclass(frozen=True)
class ScaleFit:
    """Scale of one section.

    ``um_per_px`` is the geometric mean of the two axes (it keeps areas). ``pitch_px_*`` is the distance of
    neighbouring spots in pixels, ``offset_*`` the pixel of grid position 0, ``residual_px`` the root mean
    square distance of the spots from the fitted grid. A value that was declared, not fitted, has NaN
    offsets and residuals. An axis along which all spots share one grid position takes the pitch of the
    other axis.
    """

    um_per_px: float
    um_per_px_x: float
    um_per_px_y: float
    pitch_px_x: float
    pitch_px_y: float
    offset_x: float
    offset_y: float
    residual_px: float
    max_residual_px: float

    @property
    def fitted(self) -> bool:
        """Whether the scale was measured on the grid (False: it is the declared value)."""
        return not math.isnan(self.residual_px)


class FrameOffset(NamedTuple):
    """How far the spots lie from where the printed frame puts them: median pixels, and spot pitches."""

    dx: float
    dy: float
    pitches: float


def _line(grid: npt.NDArray[np.float64], pixel: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    """Least-squares slope and offset of ``pixel`` on ``grid``; None if the grid has a single position."""
    centred = grid - grid.mean()
    spread = float(centred @ centred)
    if spread == 0.0:
        return None
    slope = float(centred @ (pixel - pixel.mean())) / spread
    return slope, float(pixel.mean()) - slope * float(grid.mean())


def _residuals(
    line: tuple[float, float] | None, grid: npt.NDArray[np.float64], pixel: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    if line is None:
        return pixel - pixel.mean()
    return pixel - (line[0] * grid + line[1])


def _checked(values: npt.ArrayLike, name: str, n: int | None, where: str) -> npt.NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or (n is not None and array.size != n):
        raise ValueError(f"{name}: expected a vector of one value per spot, got shape {array.shape}")
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array))[0])
        raise UserError(
            f"{where}{name} of spot number {row + 1} is not a number; "
            "correct or remove that row of the spot file."
        )
    return array


def fit_scale(
    array_x: npt.ArrayLike,
    array_y: npt.ArrayLike,
    pixel_x: npt.ArrayLike,
    pixel_y: npt.ArrayLike,
    pitch_um: float,
    *,
    declared: float | None = None,
    section: str = "",
    grid: str = "square",
    allow_flipped: bool = False,
) -> ScaleFit:
    """Fit micrometres per pixel by least squares of the pixel position on the grid position.

    Parameters
    ----------
    array_x, array_y
        Grid position of each spot (column, row); adjusted, fractional positions are better than integers.
    pixel_x, pixel_y
        Pixel position in the image, x to the right, y downwards.
    pitch_um
        Distance of neighbouring spots in micrometres (200 for the legacy ST array, 100 for Visium).
    declared
        Scale to fall back on where the grid cannot tell (a single spot); it is *not* compared with the
        fit here, see :func:`check_declared`.
    section
        Name used in messages.
    grid
        "square", or "hexagonal" for arrays that count columns in half pitches (Visium).
    allow_flipped
        Accept pixel coordinates that run against the grid (Visium slides may be scanned either way).

    Raises
    ------
    UserError
        Neither the grid nor ``declared`` gives a scale, a value is missing, or the axes of the pixel
        coordinates are swapped or flipped with respect to the grid.
    """
    where = f"Section {section}: " if section else ""
    if not pitch_um > 0:
        raise ValueError(f"pitch_um must be positive, got {pitch_um}")
    step_x, step_y = _GRID_STEPS[grid]
    gx = _checked(array_x, "array_x", None, where) * step_x
    gy = _checked(array_y, "array_y", gx.size, where) * step_y
    px = _checked(pixel_x, "pixel_x", gx.size, where)
    py = _checked(pixel_y, "pixel_y", gx.size, where)

    line_x = _line(gx, px) if gx.size else None
    line_y = _line(gy, py) if gx.size else None
    if line_x is None and line_y is None:
        return _declared_fit(declared, pitch_um, int(gx.size), where)
    residual = np.hypot(_residuals(line_x, gx, px), _residuals(line_y, gy, py))
    _refuse_swapped(gx, gy, px, py, residual, where)
    for name, line in (("x", line_x), ("y", line_y)):
        if line is None:
            continue
        if line[0] == 0.0:
            raise UserError(
                f"{where}all spots have the same pixel_{name} although their array_{name} differ; "
                "correct the pixel columns of the spot file."
            )
        if line[0] < 0.0 and not allow_flipped:
            raise UserError(
                f"{where}pixel_{name} falls while array_{name} rises, so the {name} axis is flipped; "
                f"correct the spot file or turn the image."
            )
    pitch_x = abs((line_x or line_y or (0.0,))[0])
    pitch_y = abs((line_y or line_x or (0.0,))[0])
    return ScaleFit(
        um_per_px=pitch_um / math.sqrt(pitch_x * pitch_y),
        um_per_px_x=pitch_um / pitch_x,
        um_per_px_y=pitch_um / pitch_y,
        pitch_px_x=pitch_x,
        pitch_px_y=pitch_y,
        offset_x=line_x[1] if line_x else float(px.mean() - pitch_x * gx.mean()),
        offset_y=line_y[1] if line_y else float(py.mean() - pitch_y * gy.mean()),
        residual_px=float(np.sqrt(np.mean(residual**2))),
        max_residual_px=float(residual.max()),
    )


def _declared_fit(declared: float | None, pitch_um: float, n_spots: int, where: str) -> ScaleFit:
    if declared is None:
        what = "it has no spots" if n_spots == 0 else "all its spots share one grid position"
        raise UserError(
            f"{where}the scale cannot be fitted because {what}; "
            "declare um_per_px for this section in the cohort's configuration."
        )
    pitch = pitch_um / declared
    nan = math.nan
    return ScaleFit(declared, declared, declared, pitch, pitch, nan, nan, nan, nan)


def _refuse_swapped(
    gx: npt.NDArray[np.float64],
    gy: npt.NDArray[np.float64],
    px: npt.NDArray[np.float64],
    py: npt.NDArray[np.float64],
    residual: npt.NDArray[np.float64],
    where: str,
) -> None:
    """Stop if x and y fit the grid clearly better when exchanged (two spots on a diagonal fit either way)."""
    swapped = np.hypot(_residuals(_line(gy, px), gy, px), _residuals(_line(gx, py), gx, py))
    straight_rms, swapped_rms = (float(np.sqrt(np.mean(r**2))) for r in (residual, swapped))
    extent = max(float(np.ptp(px)), float(np.ptp(py)))
    if swapped_rms < 0.5 * straight_rms and straight_rms > 0.01 * extent:
        raise UserError(
            f"{where}pixel_x follows array_y and pixel_y follows array_x, so the axes are swapped; "
            "exchange the pixel columns of the spot file."
        )


def check_declared(fit: ScaleFit, declared: float | None, section: str) -> None:
    """Stop if a declared scale is more than 5 % from the one the spot grid shows.

    Raises
    ------
    UserError
        The two disagree. ``declared`` of None (nothing declared) always passes.
    """
    if declared is None:
        return
    if not (math.isfinite(declared) and declared > 0):
        raise UserError(
            f"Section {section}: um_per_px is declared as {declared}, but must be a positive number."
        )
    difference = fit.um_per_px / declared - 1.0
    if abs(difference) > DECLARED_TOLERANCE:
        raise UserError(
            f"Section {section}: um_per_px is declared as {declared:g}, but the spot grid shows "
            f"{fit.um_per_px:.4g} ({difference:+.1%}); correct um_per_px or pitch_um in the cohort's "
            "configuration, or check that image and spot file belong together."
        )


def frame_offset(
    array_x: npt.ArrayLike,
    array_y: npt.ArrayLike,
    pixel_x: npt.ArrayLike,
    pixel_y: npt.ArrayLike,
    width: int | None = None,
    height: int | None = None,
    *,
    columns: int = 32,
    rows: int = 34,
) -> FrameOffset:
    """How far the spots lie from the frame rule of images cropped to the printed array frame.

    Legacy ST images are cropped to the frame of the 33 x 35 array, which puts grid position ``g`` at pixel
    ``(g - 1) * width / 32`` and ``(g - 1) * height / 34``. A median offset near one pitch means that
    coordinates or image were shifted by a spot; a value above about a quarter of a pitch deserves a look.
    Where the image is not at hand (``width`` or ``height`` of None or 0), the pitch is fitted to the spots.

    Returns
    -------
    FrameOffset
        Median of (pixel - rule) along x and y in pixels, and their length in spot pitches.
    """
    gx, gy = np.asarray(array_x, np.float64), np.asarray(array_y, np.float64)
    px, py = np.asarray(pixel_x, np.float64), np.asarray(pixel_y, np.float64)
    if width and height:
        step_x, step_y = width / columns, height / rows
    else:
        fit = fit_scale(gx, gy, px, py, pitch_um=1.0)
        step_x, step_y = fit.pitch_px_x, fit.pitch_px_y
    dx = float(np.median(px - (gx - 1.0) * step_x))
    dy = float(np.median(py - (gy - 1.0) * step_y))
    return FrameOffset(dx, dy, math.hypot(dx / step_x, dy / step_y))
