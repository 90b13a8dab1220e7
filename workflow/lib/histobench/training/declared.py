"""Methods as declarations: a frozen dataclass of parameters; what it learns lies beside them.

Fields never change, so two methods are equal where their parameters are, and a training is identified by
them. What ``fit`` finds is kept in cached properties, which a frozen dataclass allows.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from histobench.training.store import load_arrays, save_arrays


def parameters_of_method(method: object) -> list[tuple[str, Any]]:
    """Return the parameters of a method by name, sorted: fields, or what a plain class stored under them."""
    if dataclasses.is_dataclass(method):
        named = {field.name: getattr(method, field.name) for field in dataclasses.fields(method)}
    else:
        named = {name: value for name, value in vars(method).items() if not name.startswith("_")}
    return sorted(named.items())


class ArrayMethod:
    """Base of methods whose model is some arrays: ``fit`` keeps them, ``predict`` reads ``learnt``."""

    @cached_property
    def learnt(self) -> dict[str, np.ndarray]:
        """What was learnt, by name; empty before ``fit`` or ``load``."""
        return {}

    def keep(self, **arrays: Any) -> None:
        """Replace what was learnt; numbers become arrays of one."""
        self.learnt.clear()
        self.learnt.update({name: np.asarray(values) for name, values in arrays.items()})

    def save(self, folder: Path) -> None:
        """Write what was learnt."""
        save_arrays(folder, **self.learnt)

    def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote."""
        self.keep(**load_arrays(folder))
