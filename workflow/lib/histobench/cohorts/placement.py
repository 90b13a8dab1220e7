"""Single spots that do not lie where the grid of all the others says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd


def distances(spots: pd.DataFrame) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Say how far spots lie from where the grid of the others says, in grid steps.

    Parameters
    ----------
    spots
        ``array_x``, ``array_y``, ``pixel_x``, ``pixel_y``.

    Returns
    -------
    as they are, swapped
        Distance of each spot, and what it would be with pixel x and y exchanged; zeros where there are too
        few spots to tell.
    """
    gx, gy, px, py = (spots[name].to_numpy() for name in ("array_x", "array_y", "pixel_x", "pixel_y"))
    if len(spots) < 6 or np.ptp(gx) == 0 or np.ptp(gy) == 0:
        return np.zeros(len(spots)), np.zeros(len(spots))
    (slope_x, base_x), (slope_y, base_y) = _robust_line(gx, px), _robust_line(gy, py)
    step = max(np.sqrt(abs(slope_x * slope_y)), 1e-9)
    place_x, place_y = slope_x * gx + base_x, slope_y * gy + base_y
    return np.hypot(px - place_x, py - place_y) / step, np.hypot(py - place_x, px - place_y) / step


def _robust_line(grid: npt.NDArray[np.float64], pixel: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Fit slope and offset that single wrong spots do not move: least squares, refitted without the worst."""
    keep = np.ones(len(grid), bool)
    for _ in range(4):
        slope, base = np.polyfit(grid[keep], pixel[keep], 1)
        off = np.abs(pixel - (slope * grid + base))
        keep = off <= max(3 * float(np.median(off)), 1e-6)
        if np.ptp(grid[keep]) == 0:
            break
    return float(slope), float(base)
