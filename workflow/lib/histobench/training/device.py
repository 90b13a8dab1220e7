"""Which device a training runs on, and how torch is set up for it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from histobench.bounds import PRECISIONS
from histobench.errors import UserError


def pick_device(name: str) -> torch.device:
    """Return the device that ``name`` stands for: "cpu", "cuda", "cuda:1" or "auto".

    Raises
    ------
    UserError
        A GPU is asked for by name and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"device {name}: torch sees no CUDA device here; set `device: auto` or `cpu`.")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise UserError(f"device {name!r}: choose auto, cpu or cuda.") from error


def usable_device(name: str) -> torch.device:
    """Return the named device, or the CPU where a model was trained on a GPU and there is none now."""
    return torch.device(name if not name.startswith("cuda") or torch.cuda.is_available() else "cpu")


def memory_bytes(device: torch.device) -> float:
    """Return the memory of the device; infinity where the system does not say."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    if device.type != "cpu" or "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return math.inf
    return float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")


@contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """Let convolutions and linear layers alike multiply in one precision while this lasts.

    The names are those of :data:`histobench.bounds.Precision`.
    Left alone, torch takes TF32 for convolutions and true single precision for linear layers.
    """
    if precision not in PRECISIONS:
        raise UserError(f"precision {precision!r}: choose {', '.join(PRECISIONS)}.")
    cudnn: Any = torch.backends.cudnn  # its parts are not among what torch declares
    kinds: tuple[Any, ...] = (cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul)
    before = [kind.fp32_precision for kind in kinds]
    try:
        for kind in kinds:
            kind.fp32_precision = "ieee" if precision == "float32" else "tf32"
        yield
    finally:
        for kind, value in zip(kinds, before, strict=True):
            kind.fp32_precision = value


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16: then it is faster than float32, else slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    # torch says it by private functions only, some of which a version may lack
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_arm_bf16_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in asked)


def on_device(values: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copy an array to the device without making the host wait for what the device is doing."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def fuse_where_possible(optimiser: torch.optim.Optimizer, device: torch.device) -> None:
    """Let an optimiser on a GPU update all weights in one kernel, where torch has one for it.

    On a CPU it stays as it is: its results are compared bit for bit.
    """
    if device.type != "cuda":
        return
    for group in optimiser.param_groups:
        if "fused" in group and all(p.is_floating_point() for p in group["params"]):
            group["fused"], group["foreach"] = True, False
