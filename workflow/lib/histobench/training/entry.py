"""Find a method by the entry string of its YAML file and build it with its parameters."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histobench.errors import UserError
from histobench.training.store import check_model

if TYPE_CHECKING:
    from histobench.training.contract import Extent, Method


def method_class(entry: str) -> type:
    """Return the class that an entry string such as ``histobench.methods.stnet:STNet`` names.

    Only this one module is imported, so that an edit of one method concerns that method alone.

    Raises
    ------
    UserError
        The string has no colon, or names a module or class that does not exist.
    """
    module_name, colon, class_name = entry.partition(":")
    if not colon or not class_name:
        raise UserError(f"entry {entry!r}: write it as package.module:Class.")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A package that a method needs but that is not installed is named as such.
        missing = (
            "there is no such module" if error.name and module_name.startswith(error.name) else str(error)
        )
        raise UserError(
            f"entry {entry!r}: {missing}; correct the entry or install what is missing."
        ) from error
    except Exception as error:
        text = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"entry {entry!r}: the module cannot be imported ({type(error).__name__}: {text}); mend it."
        ) from error
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        raise UserError(
            f"entry {entry!r}: module {module_name} has no class {class_name}; correct the entry."
        )
    return found


def build_method(entry: str, params: Mapping[str, Any]) -> Method:
    """Build the method that ``entry`` names with ``params`` as keyword arguments of its constructor.

    Raises
    ------
    UserError
        The entry is wrong, or a parameter is unknown or missing.
    """
    cls = method_class(entry)
    known = {name: p for name, p in inspect.signature(cls).parameters.items() if name != "self"}
    unknown = sorted(set(params) - set(known))
    if unknown:
        raise UserError(
            f"params of {entry}: {', '.join(map(repr, unknown))} is not a parameter; "
            f"choose from {', '.join(sorted(known)) or '(this method has none)'}."
        )
    missing = sorted(n for n, p in known.items() if p.default is inspect.Parameter.empty and n not in params)
    if missing:
        raise UserError(f"params of {entry}: {', '.join(map(repr, missing))} must be given.")
    method: Method = cls(**params)
    return method


def stored_bytes(entry: str, params: Mapping[str, Any], extent: Extent) -> tuple[float, float]:
    """Return about how many bytes the weights of a method will take, and how many more for a training spot.

    A class says so by methods ``stored(extent)`` and ``stored_per_spot(extent)``. One that has neither keeps
    a few numbers per gene.
    """
    model = build_method(entry, params)
    fixed, each = getattr(model, "stored", None), getattr(model, "stored_per_spot", None)
    if not fixed and not each:
        return 1000 + 16.0 * extent.genes, 0.0
    return float(fixed(extent)) if fixed else 0.0, float(each(extent)) if each else 0.0


def load_method(entry: str, params: Mapping[str, Any], folder: str | Path) -> Method:
    """Build a method and restore what its training stored in ``folder``.

    Raises
    ------
    UserError
        As in :func:`build_method`, or the stored model is missing or damaged.
    """
    method = build_method(entry, params)
    check_model(folder)
    method.load(Path(folder))
    return method
