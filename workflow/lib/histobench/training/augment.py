"""The eight symmetries of a square patch: tissue has no up and no left."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

N_SYMMETRIES = 8


def apply_symmetry(batch: torch.Tensor, code: int) -> torch.Tensor:
    """Apply one symmetry to a whole batch.

    Parameters
    ----------
    batch
        (batch, channels, width, width).
    code
        0 to 7; bit 0 flips left to right, bit 1 top to bottom, bit 2 then turns by 90 degrees. 0 changes
        nothing.
    """
    if code & 1:
        batch = batch.flip(-1)
    if code & 2:
        batch = batch.flip(-2)
    if code & 4:
        batch = torch.rot90(batch, 1, (-2, -1))
    return batch


def symmetries(batch: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the eight views of a batch, the unchanged one first."""
    for code in range(N_SYMMETRIES):
        yield apply_symmetry(batch, code)


def augment(batch: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Give every patch one of its eight symmetries, each with probability 1/8.

    Flipping left to right, top to bottom and turning by 90 degrees, each with probability 1/2 and
    independently, as ST-Net, BrST-Net and HE2Gene do, is the same distribution. ``batch`` has three channels
    and is square.
    """
    drawn = rng.integers(0, N_SYMMETRIES, len(batch))
    if batch.device.type == "cpu" and batch.dtype == torch.uint8:
        # one pass over the bytes as they lie, pixel after pixel
        batch = batch.contiguous(memory_format=torch.channels_last)
        turned = torch.empty_like(batch)
        for patch, code, out in zip(_patches(batch), drawn.tolist(), _patches(turned), strict=True):
            _turn(patch, code, out)
        return turned
    codes = torch.from_numpy(drawn).to(batch.device, non_blocking=True)

    def choose(bit: int, changed: torch.Tensor) -> torch.Tensor:
        # masks instead of indices: no size that the host would have to wait for
        return torch.where((codes & bit).bool().reshape(-1, 1, 1, 1), changed, batch)

    batch = choose(1, batch.flip(-1))
    batch = choose(2, batch.flip(-2))
    return choose(4, torch.rot90(batch, 1, (-2, -1)))


def _turn(patch: np.ndarray, code: int, out: np.ndarray) -> None:
    """Write one symmetry of a (width, width, 3) patch to ``out``; codes as in :func:`apply_symmetry`."""
    import cv2

    down, across = bool(code & 2), bool(code & 1)
    if code & 4:
        # a quarter turn is a transposition and a flip, which exchanges what the other flips do
        patch = cv2.transpose(patch)
        down, across = not across, down
    if down or across:
        cv2.flip(patch, (-1 if across else 0) if down else 1, out)
    else:
        out[:] = patch


def _patches(batch: torch.Tensor) -> np.ndarray:
    """Return a channels-last batch as (batch, height, width, 3), not copied."""
    patches: np.ndarray = batch.permute(0, 2, 3, 1).numpy()
    return patches
