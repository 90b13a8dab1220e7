"""A copy of the project without what a run or a tool left in it."""

from __future__ import annotations

import fnmatch
import shutil
from pathlib import Path

_LEFT = (".git", ".venv", ".snakemake", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info")


def copy_project(source: Path, folder: Path) -> None:
    """Copy a checkout; ``results/`` at its top is left out, the package of that name in the library is not."""

    def ignored(where: str, names: list[str]) -> set[str]:
        own = {name for name in names if any(fnmatch.fnmatch(name, left) for left in _LEFT)}
        return own | ({"results"} & set(names) if Path(where) == source else set())

    shutil.copytree(source, folder, ignore=ignored)
