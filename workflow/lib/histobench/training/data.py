"""Patches of several sections as one numbered set that a device can draw batches from."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from histobench.errors import UserError
from histobench.training.device import on_device

# Share of the free device memory that patches may take; the rest is for the network.
_RESIDENT_SHARE = 0.4


def resize(batch: torch.Tensor, width: int) -> torch.Tensor:
    """Resize uint8 (batch, 3, height, width) images to a square, antialiased bilinear, rounded to uint8."""
    if batch.shape[-1] == width and batch.shape[-2] == width:
        return batch
    out = functional.interpolate(
        batch.float(), size=(width, width), mode="bilinear", antialias=True, align_corners=False
    )
    return out.round_().clamp_(0, 255).to(torch.uint8)


class PatchSource:
    """Numbered patches of several sections.

    Where they fit, patches lie on the device as uint8 and a batch is one gather there; otherwise a batch
    is read from the memory maps, by a thread of its own if it was announced (:meth:`prefetch`). Either way
    the numbers are the same.

    Parameters
    ----------
    arrays
        One uint8 array or lazy view per section, (spots, width, width, 3). Widths may differ between
        sections when ``input_px`` is given.
    input_px
        Width to resize to; None keeps the width.
    device
        Where batches are wanted.
    resident
        Keep all patches on the device; None decides by its free memory (on a CPU: no, the page cache
        does that already).
    """

    def __init__(
        self,
        arrays: Sequence[Any],
        *,
        input_px: int | None = None,
        device: torch.device | str = "cpu",
        resident: bool | None = None,
    ) -> None:
        self.device = torch.device(device)
        self._arrays = list(arrays)
        widths = {array.shape[1] for array in self._arrays}
        if input_px is None and len(widths) > 1:
            raise UserError(
                f"the sections' patches are {', '.join(map(str, sorted(widths)))} px wide; "
                "set input_px of the method to resize them to one width."
            )
        self.input_px: int = input_px if input_px is not None else widths.pop()
        self._plain = {array.shape[1:3] for array in self._arrays} <= {(self.input_px, self.input_px)}
        lengths = [len(array) for array in self._arrays]
        self._starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self._reader: ThreadPoolExecutor | None = None
        self._ahead: tuple[np.ndarray, Future[torch.Tensor]] | None = None
        self._resident: torch.Tensor | None = None
        if self._fits() if resident is None else resident:
            self._resident = torch.empty(
                (len(self), self.input_px, self.input_px, 3), dtype=torch.uint8, device=self.device
            )
            for first in range(0, len(self), 256):
                rows = np.arange(first, min(first + 256, len(self)))
                self._resident[first : first + len(rows)] = self._read(rows).permute(0, 2, 3, 1)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _fits(self) -> bool:
        if self.device.type != "cuda":
            return False
        free, _ = torch.cuda.mem_get_info(self.device)
        return len(self) * self.input_px**2 * 3 <= _RESIDENT_SHARE * free

    def _read(self, rows: np.ndarray) -> torch.Tensor:
        """Read rows from the sections, resized: uint8 (batch, 3, px, px) on the device."""
        section = np.searchsorted(self._starts, rows, side="right") - 1
        pin = self.device.type == "cuda"
        out = torch.empty(
            (len(rows), 3, self.input_px, self.input_px),
            dtype=torch.uint8,
            device=self.device,
            memory_format=torch.channels_last,  # as the patches lie in their files
        )
        if not pin and self._plain:
            self._copy(rows, section, out)
            return out
        for number in np.unique(section):
            where = np.flatnonzero(section == number)
            # in file order: sorted reads of a memory map are sequential reads of the disk
            where = where[np.argsort(rows[where], kind="stable")]
            part = torch.from_numpy(np.asarray(self._arrays[number][rows[where] - self._starts[number]]))
            if pin:
                part = part.pin_memory()
            part = part.to(self.device, non_blocking=pin).permute(0, 3, 1, 2)
            out[torch.from_numpy(where).to(self.device)] = resize(part, self.input_px)
        return out

    def _copy(self, rows: np.ndarray, section: np.ndarray, out: torch.Tensor) -> None:
        """Copy rows that need no resizing straight to where they are wanted."""
        target = out.permute(0, 2, 3, 1).numpy()
        # in file order: sorted reads of a memory map are sequential reads of the disk
        for place in np.argsort(rows, kind="stable"):
            number = section[place]
            target[place] = self._arrays[number][rows[place] - self._starts[number]]

    def prefetch(self, rows: np.ndarray) -> None:
        """Begin to read the batch that will be asked for next, while the caller does something else.

        Has no effect where the patches are on the device already.
        """
        if self._resident is not None:
            return
        if self._reader is None:
            self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="patches")
        rows = np.asarray(rows)
        self._ahead = rows, self._reader.submit(self._read, rows)

    def batch(self, rows: np.ndarray) -> torch.Tensor:
        """Return patches by number: uint8, (batch, 3, px, px), on the device."""
        rows = np.asarray(rows)
        if self._resident is None:
            ahead, self._ahead = self._ahead, None
            if ahead is not None and np.array_equal(ahead[0], rows):
                return ahead[1].result()
            return self._read(rows)
        return self._resident.index_select(0, on_device(rows, self.device)).permute(0, 3, 1, 2)


def pixel_statistics(batches: Sequence[torch.Tensor]) -> tuple[list[float], list[float]]:
    """Return mean and sd of each channel, on the scale 0 to 1, pooled over the pixels of uint8 batches.

    Sums of integers are exact, so the result does not depend on the order of pixels.
    """
    n, total, squares = 0, torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for batch in batches:
        values = batch.to(torch.int64)
        total += values.sum(dim=(0, 2, 3)).double().cpu()
        squares += (values * values).sum(dim=(0, 2, 3)).double().cpu()
        n += batch.shape[0] * batch.shape[2] * batch.shape[3]
    mean = total / n
    sd = (squares / n - mean * mean).clamp_min(0).sqrt()
    # a channel without contrast (a blank slide) must not divide by zero
    sd = torch.where(sd > 0, sd, torch.full_like(sd, 255.0))
    return (mean / 255).tolist(), (sd / 255).tolist()
