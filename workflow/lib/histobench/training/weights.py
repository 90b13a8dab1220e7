"""Tensors in files: equal tensors are equal bytes, and what was damaged is not read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from histobench.errors import UserError
from histobench.files import REMAKE, atomic_path, check_seal, seal


def store_state(path: str | Path, stored: dict[str, Any]) -> None:
    """Write tensors and plain values, whole or not at all, with their checksum beside them.

    The bytes depend on names and values only: not on the file's name, the device, the order in memory or
    what else shares it.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        torch.save(_plain(stored, set()), stream)  # a stream: a path's name would be in the file
    seal(path)


def _plain(value: Any, seen: set[int]) -> Any:
    """Return nested dictionaries, lists and tensors in their simplest form."""
    if isinstance(value, torch.Tensor):
        tensor = value.detach().cpu().contiguous()
        storage = tensor.untyped_storage()
        if storage.nbytes() != tensor.numel() * tensor.element_size() or storage.data_ptr() in seen:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        return tensor
    if isinstance(value, dict):
        # pickle refers back to a string that is the same object: let equal ones be the same
        return {
            sys.intern(key) if type(key) is str else key: _plain(item, seen) for key, item in value.items()
        }
    if type(value) in (list, tuple):
        return type(value)(_plain(item, seen) for item in value)
    return sys.intern(value) if type(value) is str else value


def read_state(path: str | Path) -> dict[str, Any]:
    """Read what :func:`store_state` wrote, tensors on the CPU; never runs code from the file.

    Raises
    ------
    UserError
        The file is missing or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: there are no weights; train the method first.")
    check_seal(path, required=False)
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch each have their own
        raise UserError(f"{path}: is no readable file of weights; {REMAKE}.") from error
    if not isinstance(stored, dict):
        raise UserError(f"{path}: holds no named weights; {REMAKE}.")
    return stored
