"""Environments of envs/*.yaml without conda: exactly the pinned packages and what those declare to need.

The packages are those of the lock that are installed for the tests already, linked instead of copied, so that an
environment is made in a second and downloads nothing. Run as a program, this file stands in for `conda` (as far as
Snakemake asks it), so that `--use-conda` can be tested on any machine.
"""

from __future__ import annotations

import functools
import json
import re
import sys
import venv
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import yaml


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: Path) -> dict[str, str]:
    """Package -> version that an environment file states for this machine."""
    from packaging.requirements import Requirement

    entries = yaml.safe_load(file.read_text())["dependencies"]
    (packages,) = [entry["pip"] for entry in entries if isinstance(entry, dict)]
    found = [Requirement(package.partition(" --hash=")[0]) for package in packages]
    return {
        need.name: str(need.specifier).removeprefix("==")
        for need in found
        if need.marker is None or need.marker.evaluate()
    }


def closure(names: list[str]) -> dict[str, Distribution]:
    """Distributions and, again and again, what they declare to need on this machine."""
    from packaging.requirements import Requirement

    found: dict[str, Distribution] = {}
    todo = [(name, frozenset[str]()) for name in names]
    while todo:
        name, extras = todo.pop()
        if normal(name) in found and not extras:
            continue
        found[normal(name)] = package = distribution(name)
        for line in package.requires or []:
            need = Requirement(line)
            for extra in extras or {""}:
                if need.marker is None or need.marker.evaluate({"extra": extra}):
                    todo.append((need.name, frozenset(need.extras)))
                    break
    return found


@functools.cache
def owners() -> dict[str, set[str]]:
    """Which distributions a folder or file beside the packages belongs to."""
    found: dict[str, set[str]] = {}
    for package in distributions():
        record = package.read_text("RECORD") or ""
        for top in set(re.findall(r"^([^/,\n]+)[/,]", record, re.M)):
            found.setdefault(top, set()).add(package.metadata["Name"])
    return found


def build(file: Path, prefix: Path) -> Path:
    """Make the environment of a file at a prefix; returns its Python."""
    versions = pins(file)
    packages = closure(list(versions))
    for name, version in versions.items():
        installed = packages[normal(name)].version
        if installed != version:
            raise RuntimeError(f"{file} pins {name} {version}, the tests run with {installed}")
    return link(packages, prefix)


def link(packages: dict[str, Distribution], prefix: Path) -> Path:
    """Make an environment of some packages at a prefix; returns its Python."""
    venv.create(prefix, with_pip=False, symlinks=True)
    site = prefix / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    linked: set[Path] = set()
    for package in packages.values():
        for line in (package.read_text("RECORD") or "").splitlines():
            entry = Path(line.split(",")[0])
            top = entry.parts[0]
            if top in ("..", "__pycache__"):
                continue  # programs and compiled copies
            shared = len(owners().get(top, ())) > 1
            link = site.joinpath(*(entry.parts if shared else (top,)))
            source = Path(str(package.locate_file("")), *(entry.parts if shared else (top,)))
            if link not in linked and source.exists():
                linked.add(link)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(source)
    return prefix / "bin" / "python"


def stand_in(folder: Path) -> Path:
    """Write a `conda` and an `activate`; returns the folder to put first on PATH."""
    programs = folder / "bin"
    programs.mkdir(parents=True)
    conda, activate = programs / "conda", programs / "activate"
    conda.write_text(
        f'#!/bin/sh\nCONDA_HOME={folder} exec {sys.executable} {Path(__file__).resolve()} "$@"\n'
    )
    activate.write_text('export CONDA_PREFIX="$1"\nexport PATH="$1/bin:$PATH"\n')
    conda.chmod(0o755)
    return programs


def main(arguments: list[str]) -> None:
    import os

    if arguments == ["info", "--json"]:
        print(json.dumps({"conda_prefix": os.environ["CONDA_HOME"], "platform": "linux-64"}))
    elif arguments == ["--version"]:
        print("conda 99.0.0")
    elif arguments[:2] == ["config", "--get"]:
        print(json.dumps({"get": {"channel_priority": "strict"}}))
    elif arguments[:2] == ["env", "create"]:
        build(
            Path(arguments[arguments.index("--file") + 1]), Path(arguments[arguments.index("--prefix") + 1])
        )
    elif arguments[0] != "clean":  # there is nothing to clean
        sys.exit(f"this stand-in for conda does not know {arguments}")


if __name__ == "__main__":
    main(sys.argv[1:])
