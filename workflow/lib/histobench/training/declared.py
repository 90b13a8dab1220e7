"""Methods as declarations: a frozen dataclass of parameters; what it learns lies beside them.

Fields never change, so two methods are equal where their parameters are, and a training is identified by
them. What ``fit`` finds is kept in cached properties, which a frozen dataclass allows.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from pydantic import AfterValidator

from histobench.errors import UserError
from histobench.training.parameters import value_troubles
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


def check_choices(method: object) -> None:
    """Refuse an unknown choice, in the sentence that planning a run says.

    Numbers are not judged: whoever builds a method from Python may leave its published range.

    Raises
    ------
    UserError
        The first parameter that is none of its choices.
    """
    hints = get_type_hints(type(method), include_extras=True)
    for name, value in parameters_of_method(method):
        hint = hints.get(name)
        if not any(isinstance(each, AfterValidator) for each in getattr(hint, "__metadata__", ())):
            continue
        for trouble in value_troubles(name, value, hint):
            raise UserError(f"{type(method).__name__}: {trouble.name} {trouble.text}")
