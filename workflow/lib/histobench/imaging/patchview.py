"""Patches as a method sees them: the kept spots and the method's own window, read when asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from histobench.errors import UserError


class PatchView:
    """Rows and the central window of a patch array, without copying it.

    The patch array of a section holds one wide field for all methods and all spots; a method works on
    some of the spots and on the window that it is configured for. Indexing along the first axis, as with
    a NumPy array, reads just that.

    Parameters
    ----------
    array
        uint8, (spots, width, width, 3), usually a memory map.
    rows
        Rows to show, in this order.
    window_px
        Width of the central window in pixels; None for the whole field. Where the margin is odd the
        window begins half a pixel up and left.
    """

    def __init__(self, array: np.ndarray, rows: np.ndarray, window_px: int | None = None) -> None:
        width = array.shape[1]
        size = width if window_px is None else window_px
        if not 1 <= size <= width:
            raise ValueError(f"a window of {size} px does not fit into patches of {width} px")
        first = (width - size) // 2
        self._cropped = array[:, first : first + size, first : first + size]
        self._rows = np.asarray(rows, dtype=np.int64)
        self.shape = (len(self._rows), size, size, 3)
        self.dtype = array.dtype
        self.ndim = 4

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.asarray(self._cropped[self._rows[index]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        values = self[:]
        return values if dtype is None else values.astype(dtype, copy=False)

    def take(self, order: np.ndarray) -> PatchView:
        """Return a view of the same window with its rows in another order."""
        view = object.__new__(PatchView)
        view._cropped, view._rows, view.dtype, view.ndim = self._cropped, self._rows[order], self.dtype, 4
        view.shape = (len(view._rows), *self.shape[1:])
        return view


def window_pixels(window: dict[str, float] | None, um_per_px: float, width: int, path: str | Path) -> int:
    """Return the width in pixels of a window given as ``{"um": ...}`` or ``{"px": ...}``.

    Parameters
    ----------
    window
        None stands for the whole field.
    um_per_px
        Micrometres per pixel of the patches.
    width
        Width of the stored field in pixels.
    path
        The patch file, for the message.

    Raises
    ------
    UserError
        The window is larger than the field, or its scale is unknown.
    """
    if not window:
        return width
    if set(window) == {"px"}:
        size = round(window["px"])
    elif set(window) == {"um"}:
        if not np.isfinite(um_per_px) or um_per_px <= 0:
            raise UserError(
                f"{path}: a window of {window['um']:g} um needs um/px, which this section lacks; use px."
            )
        size = round(window["um"] / um_per_px)
    else:
        raise UserError(f"window {window}: give either um or px.")
    if not 1 <= size <= width:
        raise UserError(
            f"{path}: a window of {size} px was asked for but the patches are {width} px wide; "
            f"raise patches.width_px of the experiment to at least {size}."
        )
    return size
