"""A hash of exactly the library code that a job runs.

Snakemake notices an edited script but not an edited module behind it. Every rule therefore carries
``code=code_hash("histobench.some.module")`` among its parameters: the hash changes when that module, or
anything it imports inside this package, changes, and with nothing else.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import sys
from pathlib import Path

_PACKAGE = "histobench"
_NOT_DATA = {".py", ".pyc", ".nbi", ".nbc"}
_ROOT = Path(__file__).resolve().parent.parent


def module_file(module: str) -> Path:
    """Return the file of a module of this package, or of a user's own on the path that Python searches.

    Raises
    ------
    ValueError
        There is no such module: a misspelt name must not become a hash that never changes.
    """
    own = module.split(".")[0] == _PACKAGE
    for root in [_ROOT] if own else [_ROOT, *map(Path, filter(None, sys.path))]:
        base = root.joinpath(*module.split("."))
        for candidate in (base.with_suffix(".py"), base / "__init__.py"):
            if candidate.is_file():
                return candidate
    raise ValueError(f"no module {module!r} in {_ROOT}{'' if own else ' or on PYTHONPATH'}")


def _exists(module: str) -> bool:
    try:
        module_file(module)
    except ValueError:
        return False
    return True


@functools.cache
def _direct_imports(module: str) -> frozenset[str]:
    """Modules of this package, and of its own, that ``module`` imports anywhere, also inside functions."""
    path = module_file(module)
    packages = {_PACKAGE, module.split(".")[0]}
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                parents = package.split(".")
                parents = parents[: len(parents) - node.level + 1]
                source = ".".join([*parents, source] if source else parents)
            found.add(source)
            # "from package import module" names a module in the last place
            found |= {f"{source}.{alias.name}" for alias in node.names}
    return frozenset(name for name in found if name.split(".")[0] in packages and _exists(name))


@functools.cache
def closure(module: str) -> frozenset[str]:
    """Return ``module`` and everything of this package and of its own that it imports, directly or not.

    The ``__init__`` of every parent package counts too, because importing a module runs them.
    """
    todo, seen = [module], set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        parts = name.split(".")
        parents = [".".join(parts[:depth]) for depth in range(1, len(parts))]
        todo += [parent for parent in parents if _exists(parent)]  # a user's folder needs no __init__.py
        todo += _direct_imports(name)
    return frozenset(seen)


def _data_files(package: Path) -> list[Path]:
    """Files of a package that are no code, also in folders that are no packages (templates)."""
    found = []
    for entry in sorted(package.iterdir()):
        if entry.name[0] in "._" or (entry.is_file() and entry.suffix in _NOT_DATA):
            continue
        if entry.is_file():
            found.append(entry)
        elif not (entry / "__init__.py").exists():
            found += _data_files(entry)
    return found


@functools.cache
def code_hash(*modules: str) -> str:
    """Return 16 hexadecimal digits that identify the code of ``modules`` and of all they import.

    Data files beside a module (templates, style sheets) count as part of it.
    """
    names = sorted(set().union(*(closure(module) for module in modules)))
    digest = hashlib.sha256()
    for name in names:
        path = module_file(name)
        companions = _data_files(path.parent) if path.name == "__init__.py" else []
        for file in [path, *companions]:
            digest.update(f"{name}\0{file.relative_to(path.parent)}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
