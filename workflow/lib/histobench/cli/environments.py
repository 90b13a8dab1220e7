"""Conda environments of rules, written from the lock: all that their packages need, with hashes."""

from __future__ import annotations

import re
import textwrap
import tomllib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from histobench.errors import UserError


class Locked(NamedTuple):
    """A row of the lock: ``NAME==VERSION ; MARKER``, its hashes, and the packages that ask for it."""

    requirement: str
    hashes: tuple[str, ...]
    wanted_by: frozenset[str]


def read_lock(text: str) -> dict[str, Locked]:
    """Read ``requirements.lock`` as ``uv pip compile --generate-hashes`` writes it; package -> row."""
    rows = {}
    for block in re.split(r"\n(?=[a-z0-9])", text):
        if found := re.match(r"([a-z0-9][\w.-]*)==[^\\\n]+", block):
            comments = re.findall(r"^ +#(?: +via)? *(\S+)", block, re.M)
            wanted = frozenset(comments) - {"via"}
            rows[found[1]] = Locked(found[0].strip(), tuple(re.findall(r"--hash=(\S+)", block)), wanted)
    return rows


def closure(names: Iterable[str], lock: dict[str, Locked]) -> list[str]:
    """Return packages with all that they need, and what that needs, sorted."""
    needs = defaultdict(set)
    for name, row in lock.items():
        for other in row.wanted_by:
            needs[other].add(name)
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in lock:
            raise UserError(
                f"pyproject.toml: tool.histobench.environments names {name}, which requirements.lock does "
                "not have; add it to the dependencies and run `make lock`."
            )
        if name not in found:
            found.add(name)
            todo += needs[name]
    return sorted(found)


def declared(project: Path) -> dict[str, dict[str, object]]:
    """Return what pyproject.toml says of each environment: ``about`` and ``packages``."""
    with (project / "pyproject.toml").open("rb") as stream:
        environments: dict[str, dict[str, object]] = tomllib.load(stream)["tool"]["histobench"][
            "environments"
        ]
    return environments


def document(project: Path, name: str) -> str:
    """Return the text of ``envs/NAME.yaml``."""
    lock = read_lock((project / "requirements.lock").read_text(encoding="utf-8"))
    settings = declared(project)[name]
    packages = settings["packages"]
    assert isinstance(packages, list)
    lines = [f"# {line}" for line in textwrap.wrap(str(settings["about"]), 108)]
    lines += [
        "# Made by `make docs` from requirements.lock and tool.histobench.environments in pyproject.toml.",
        "channels:",
        "  - conda-forge",
        "  - nodefaults",
        "dependencies:",
        "  - python=3.11",
        "  - pip",
        "  - pip:",
    ]
    for package in closure(packages, lock):
        lines += ["      - >-", f"        {lock[package].requirement}"]
        lines += [f"        --hash={one}" for one in lock[package].hashes]
    return "\n".join(lines) + "\n"
