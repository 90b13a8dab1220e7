"""Where things stand: the file that says a key, the folder of a table, the raw files of a section."""

from __future__ import annotations

from pathlib import Path

from histobench.config.declarations import Declarations
from histobench.config.files import holds
from histobench.yamlfiles import read_yaml


def method_source(declarations: Declarations, method: str, arm: str, key: str) -> str:
    """Say which file gives a key of a method or of its arm, and where in it."""
    under = [["arms", arm], []] if arm else [[]]
    file = declarations.project / "config/methods" / f"{method}.yaml"
    for inside in under:
        for path, parts in (
            *((path, ["methods", method]) for path in reversed(declarations.files)),
            (file, []),
        ):
            if path.exists() and holds(read_yaml(path), [*parts, *inside, *key.split(".")[:2]]):
                return f"{path}: `{'.'.join([*parts, *inside, key])}`"
    return f"{declarations.origin}: `methods.{method}.{key}`"


def cohort_place(declarations: Declarations, name: str) -> str:
    """Say where a cohort stands: in its own file, or in a configuration that defines it from scratch."""
    own = declarations.project / "config/cohorts" / f"{name}.yaml"
    if own.exists():
        return f"config/cohorts/{name}.yaml"
    for path in reversed(declarations.files):
        if (read_yaml(path).get("cohorts") or {}).get(name):
            return f"{path}: cohorts.{name}"
    return f"{declarations.origin}: cohorts.{name}"


def cohort_says(declarations: Declarations, name: str, key: str) -> str:
    """Say which file gives a key of a cohort."""
    for path in reversed(declarations.files):
        if holds(read_yaml(path), ["cohorts", name, key]):
            return f"{path}: cohorts.{name}"
    return cohort_place(declarations, name)


def table_folder(declarations: Declarations, name: str) -> Path:
    """Return the folder of the file that names a cohort's table, from which its path starts."""
    for path in reversed(declarations.files):
        if "table" in (read_yaml(path).get("cohorts", {}).get(name) or {}):
            return path.parent
    return declarations.project / "config" / "cohorts"


def section_files(declarations: Declarations, cohort: str, section: str) -> dict[str, str]:
    """Return a section's raw files by kind, as paths inside its source.

    A template whose key the section lacks is left out.
    """
    settings = declarations.cohorts[cohort]
    keys = {"section": section, **settings["sections"][section]}
    files = {}
    for kind, template in settings["files"].items():
        try:
            files[kind] = template.format_map(keys)
        except KeyError:
            continue
    return files
