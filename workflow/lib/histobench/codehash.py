"""A hash of exactly the code that a job runs: its script, the library and the packages behind it.

Snakemake compares the times of scripts, which a clone or a switch of branches changes, and does not see the
modules behind them. Every rule therefore carries ``code=code_hash("scripts/NAME.py")`` among its parameters,
and what Snakemake itself thinks of scripts is left out of its triggers. The hash changes when the meaning of
the script changes, or that of a module that it imports inside this package, or the version of a package that
one of them computes with; comments, docstrings, formatting and times mean nothing.
"""

from __future__ import annotations

import ast
import atexit
import contextlib
import functools
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from histobench.errors import UserError
from histobench.files import atomic_path
from histobench.software import COMPUTING, installed_versions

_PACKAGE = "histobench"
_NOT_DATA = {".py", ".pyc", ".nbi", ".nbc"}
_ROOT = Path(__file__).resolve().parent.parent

#: Around every job, part of no result: a better message, or a new name that people may call, must not train
#: anything again.
_FRAME = frozenset({"histobench.runtime", "histobench"})

_SCRIPTS = "scripts/"

#: Where a node of a syntax tree holds statements, or what holds them.
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


def module_file(module: str) -> Path:
    """Return the file of a module of this package, or of a user's own on the path that Python searches.

    ``scripts/NAME.py`` stands for a script of the workflow, which lies beside the library.

    Raises
    ------
    ValueError
        There is no such module: a misspelt name must not become a hash that never changes.
    """
    if module.startswith(_SCRIPTS):
        script = _ROOT.parent / module
        if script.is_file():
            return script
        raise ValueError(f"no script {script}")
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


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Every statement of a tree, at any depth, and no expression: most of a tree is these, none imports."""
    for field in _BLOCKS:
        for inner in getattr(node, field, ()):
            yield inner
            yield from _statements(inner)


@functools.cache
def _read(module: str) -> tuple[frozenset[str], bytes]:
    """Return what a module imports, and the hash of what it says; its tree takes too much room to be kept."""
    path = module_file(module)
    source = path.read_bytes()
    data = _data_files(path.parent) if path.name == "__init__.py" else []
    key = hashlib.sha256(f"{path.name}\0".encode() + source).hexdigest()
    if not data and (known := _remembered(module, key)):
        return known
    tree = ast.parse(source.decode("utf-8"), filename=str(path))
    imported = _imported(tree, module if path.name == "__init__.py" else module.rpartition(".")[0])
    words: list[str] = []
    _meaning(tree, words)
    digest = hashlib.sha256("\0".join(words).encode(errors="surrogatepass"))
    for file in data:
        digest.update(f"{file.relative_to(path.parent)}\0".encode())
        digest.update(file.read_bytes())
    if not data:
        _memory()[module] = [key, sorted(imported), digest.hexdigest()]
    return imported, digest.digest()


@functools.cache
def _memory() -> dict[str, list[object]]:
    """Return what earlier processes have read: by module SHA-256 of its file and name, imports, meaning.

    A quarter of the time of a dry run was to read again what had not changed. It lies beside what Python
    compiles of this file, and is written when this process ends; where it cannot be, nothing is remembered.
    """
    own = Path(__file__).read_bytes()
    reader = f"{sys.implementation.cache_tag} {hashlib.sha256(own).hexdigest()}"
    file = _ROOT / _PACKAGE / "__pycache__" / f"meanings.{sys.implementation.cache_tag}.json"
    told: dict[str, list[object]] = {}
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["reader"] == reader:
            told = dict(found["modules"])
    before = dict(told)

    def remember() -> None:
        if told != before and not sys.dont_write_bytecode:
            with contextlib.suppress(OSError, UserError), atomic_path(file) as path:
                path.write_text(json.dumps({"reader": reader, "modules": told}), encoding="utf-8")

    atexit.register(remember)
    return told


def _remembered(module: str, key: str) -> tuple[frozenset[str], bytes] | None:
    """Return what is known of a module whose file has that SHA-256; what is no such thing is nothing."""
    try:
        file, imported, meaning = _memory()[module]
        names = frozenset(map(str, imported))  # type: ignore[call-overload]
        return (names, bytes.fromhex(meaning)) if file == key else None  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError):
        return None


def _imported(tree: ast.Module, package: str) -> frozenset[str]:
    """Return every dotted name that a module imports anywhere, also inside functions; none is relative."""
    found: set[str] = set()
    for node in _statements(tree):
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
    return frozenset(found)


@functools.cache
def _direct_imports(module: str) -> frozenset[str]:
    """Modules of this package, and of its own, that ``module`` imports anywhere, also inside functions."""
    packages = {_PACKAGE, module.split(".")[0]}
    return frozenset(
        name
        for name in _read(module)[0]
        if name.split(".")[0] in packages and name not in _FRAME and _exists(name)
    )


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
        parts = [] if name.startswith(_SCRIPTS) else name.split(".")
        parents = [".".join(parts[:depth]) for depth in range(1, len(parts))]
        # a user's folder needs no __init__.py
        todo += [parent for parent in parents if parent not in _FRAME and _exists(parent)]
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


def _meaning(node: object, words: list[str]) -> None:
    """Append the syntax tree as words; without places, docstrings and other statements that do nothing.

    Fields that are empty are left out, so that a new version of Python, which may add some, means the same.
    """
    if isinstance(node, ast.AST):
        words.append(type(node).__name__)
        for field in node._fields:
            value = getattr(node, field, None)
            if value is None or value == []:
                continue
            words.append(field)
            if isinstance(value, (ast.AST, list)):
                _meaning(value, words)
            else:
                words.append(repr(value))
    elif isinstance(node, list):
        words.append("[")
        for entry in node:
            if not (isinstance(entry, ast.Expr) and isinstance(entry.value, ast.Constant)):
                _meaning(entry, words)
        words.append("]")
    else:
        words.append(repr(node))


def computes_with(*modules: str) -> frozenset[str]:
    """Return the installed packages that ``modules``, and all that they import, compute with."""
    names = set().union(*(_read(name)[0] for module in modules for name in closure(module)))
    return frozenset(COMPUTING[top] for top in {name.split(".")[0] for name in names} if top in COMPUTING)


@functools.cache
def code_hash(*modules: str, versions: Iterable[tuple[str, str]] | None = None) -> str:
    """Return 16 hexadecimal digits that identify the code of ``modules`` and of all they import.

    Data files beside a module (templates, style sheets) count as part of it.

    Parameters
    ----------
    modules
        Modules by dotted name, scripts of the workflow as ``scripts/NAME.py``.
    versions
        Pairs of package and version that the job will find (hashable); by default those installed here.
        Those that the code computes with count.
    """
    known = installed_versions() if versions is None else dict(versions)
    digest = hashlib.sha256()
    for name in sorted(set().union(*(closure(module) for module in modules))):
        digest.update(f"{name}\0".encode() + _read(name)[1])
    for package in sorted(computes_with(*modules)):
        digest.update(f"{package}=={known.get(package, '')}\0".encode())
    return digest.hexdigest()[:16]
