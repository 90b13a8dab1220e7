"""A copy of the project without what a run or a tool left in it."""

from __future__ import annotations

import fnmatch
import shutil
from pathlib import Path

_LEFT = (".git", ".venv", ".snakemake", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info")
_COMPILED = {".pyc", ".nbi", ".nbc", ".json"}


def copy_project(source: Path, folder: Path, compiled: bool = False) -> None:
    """Copy a checkout; ``results/`` at its top is left out, the package of that name in the library is not.

    ``compiled`` takes along what Python and numba have compiled of the library, and what is known of its code: every job
    that runs in the copy starts a second earlier. All look whether the file beside it has changed since.
    """

    def ignored(where: str, names: list[str]) -> set[str]:
        place = Path(where)
        if place.name == "__pycache__":  # others may be writing here
            return {name for name in names if Path(name).suffix not in _COMPILED}
        own = {name for name in names if any(fnmatch.fnmatch(name, left) for left in _LEFT)}
        if compiled and source / "workflow" in (place, *place.parents):
            own.discard("__pycache__")
        return own | ({"results"} & set(names) if place == source else set())

    shutil.copytree(source, folder, ignore=ignored)
