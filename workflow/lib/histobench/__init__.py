"""HistoBench: a reproducible benchmark of spatial gene-expression prediction from H&E histology.

The library behind the pipeline. It does not know Snakemake and is usable from a notebook:
``histobench.open("results")`` finds and reads what a run has left, ``histobench.methods()`` lists the methods
of the benchmark and ``histobench.create("stnet")`` builds one.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from histobench.registry import create, methods
    from histobench.results.run import open_results as open

__all__ = ["create", "methods", "open"]

_DOORS = {
    "open": ("histobench.results.run", "open_results"),
    "create": ("histobench.registry", "create"),
}


def __getattr__(name: str) -> object:
    """Find what people call when they ask for it, so that importing the package loads nothing.

    By name and not by an import statement: what jobs import decides when they run again, and none uses this.
    """
    if name == "methods":
        return import_module("histobench.methods")
    if name not in _DOORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, function = _DOORS[name]
    return getattr(import_module(module), function)


class _CallableRoom(ModuleType):
    """The package of methods, which also lists them: ``histobench.methods()``."""

    def __call__(self, *arguments: Any, **options: Any) -> list[str]:
        """Return names of methods; see :func:`histobench.registry.methods`."""
        found: list[str] = import_module("histobench.registry").methods(*arguments, **options)
        return found


class _Package(ModuleType):
    """The package itself, which lets its room of methods be called, whoever imports it first."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "methods" and isinstance(value, ModuleType):
            value.__class__ = _CallableRoom
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
