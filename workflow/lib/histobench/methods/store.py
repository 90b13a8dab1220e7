"""Weights of methods that need no neural network, and small things that several methods share.

``weights.pt`` of such a method is a NumPy archive: reading it does not cost the import of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from histobench.errors import UserError
from histobench.files import atomic_path

if TYPE_CHECKING:
    from histobench.methods.contract import SectionData

WEIGHTS = "weights.pt"


def save_arrays(folder: str | Path, **arrays: np.ndarray) -> None:
    """Write named arrays to ``folder / "weights.pt"``, whole or not at all."""
    with atomic_path(Path(folder) / WEIGHTS) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def load_arrays(folder: str | Path) -> dict[str, np.ndarray]:
    """Read what :func:`save_arrays` wrote."""
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise UserError(f"{path}: there are no weights; train the method first.")
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


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


def training_targets(sections: Sequence[SectionData]) -> np.ndarray:
    """Stack the targets of sections: float32, (spots, genes)."""
    if not sections:
        raise ValueError("there is no training section")
    return np.concatenate([np.asarray(require(section, "targets"), np.float32) for section in sections])


def column_means(values: np.ndarray) -> np.ndarray:
    """Mean of each column in float64: a float32 running sum would drift over 30,000 spots."""
    means: np.ndarray = np.asarray(values).mean(axis=0, dtype=np.float64)
    return means


def constant(values: np.ndarray, n: int) -> np.ndarray:
    """Repeat one row ``n`` times as float32, (n, genes)."""
    return np.tile(np.asarray(values, np.float32), (n, 1))
