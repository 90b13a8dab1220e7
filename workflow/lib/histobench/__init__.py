"""HistoBench: a reproducible benchmark of spatial gene-expression prediction from H&E histology.

The library behind the pipeline. It does not know Snakemake and is usable from a notebook:
``histobench.open("results")`` finds and reads what a run has left.
"""

from importlib import import_module

_DOORS = {"open": ("histobench.results.run", "open_results")}


def __getattr__(name: str) -> object:
    """Find what people call when they ask for it, so that importing the package loads nothing.

    By name and not by an import statement: what jobs import decides when they run again, and none uses this.
    """
    if name not in _DOORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, function = _DOORS[name]
    return getattr(import_module(module), function)
