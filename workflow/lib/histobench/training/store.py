"""Weights of methods that need no neural network, and small things that several methods share.

``weights.pt`` of such a method is a NumPy archive: reading it does not cost the import of torch. Its checksum
stands beside it, as it does beside the weights of a network (:mod:`histobench.training.weights`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.errors import UserError
from histobench.files import REMAKE, atomic_path, check_seal, seal

if TYPE_CHECKING:
    from histobench.training.contract import SectionData

WEIGHTS = "weights.pt"


def save_arrays(folder: str | Path, **arrays: np.ndarray) -> None:
    """Write named arrays to ``folder / "weights.pt"``, whole or not at all, with a checksum beside it."""
    path = Path(folder) / WEIGHTS
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)
    seal(path)


def load_arrays(folder: str | Path) -> dict[str, np.ndarray]:
    """Read what :func:`save_arrays` wrote.

    Raises
    ------
    UserError
        The file is missing or damaged.
    """
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise UserError(f"{path}: there are no weights; train the method first.")
    check_seal(path, required=False)
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # zip, zlib and NumPy each have their own
        raise UserError(f"{path}: is no readable file of weights; {REMAKE}.") from error


def store_weights(folder: str | Path, stored: dict[str, Any]) -> None:
    """Write the tensors and plain values of a network to ``folder / "weights.pt"``."""
    from histobench.training.weights import store_state

    store_state(Path(folder) / WEIGHTS, stored)


def read_weights(folder: str | Path) -> dict[str, Any]:
    """Read what :func:`store_weights` wrote, tensors on the CPU."""
    from histobench.training.weights import read_state

    return read_state(Path(folder) / WEIGHTS)


def check_model(folder: str | Path) -> None:
    """Refuse a stored model that is not what its training wrote.

    Raises
    ------
    UserError
        ``weights.pt`` or its checksum is missing, or they do not fit together.
    """
    check_seal(Path(folder) / WEIGHTS)


def in_order(sections: Sequence[SectionData]) -> list[SectionData]:
    """Sort sections by cohort, patient and name: what is learnt must not depend on the order given."""
    return sorted(sections, key=lambda section: (section.cohort, section.patient, section.section))


def require(section: SectionData, field: str) -> np.ndarray:
    """Return an array of a section that a method cannot do without.

    Raises
    ------
    ValueError
        It is None: the method's YAML file does not declare this need, or a truth was asked for that a
        method must not see.
    """
    value = getattr(section, field)
    if value is None:
        raise ValueError(f"section {section.section} comes without {field}; declare it under `needs`")
    array: np.ndarray = value
    return array


def stacked(sections: Sequence[SectionData], field: str) -> np.ndarray:
    """Return an array of several sections as one, spots numbered through them."""
    return np.concatenate([np.asarray(require(section, field)) for section in sections])


def training_targets(sections: Sequence[SectionData]) -> np.ndarray:
    """Stack the targets of sections: float32, (spots, genes)."""
    if not sections:
        raise ValueError("there is no training section")
    return stacked(sections, "targets").astype(np.float32, copy=False)


def column_means(values: np.ndarray) -> np.ndarray:
    """Mean of each column in float64: a float32 running sum would drift over 30,000 spots."""
    means: np.ndarray = np.asarray(values).mean(axis=0, dtype=np.float64)
    return means


def constant(values: np.ndarray, n: int) -> np.ndarray:
    """Repeat one row ``n`` times as float32, (n, genes)."""
    return np.tile(np.asarray(values, np.float32), (n, 1))
