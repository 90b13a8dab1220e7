"""Methods as their YAML files describe them, arm by arm."""

from __future__ import annotations

from pathlib import Path

import yaml

from histobench.config import with_arm

METHODS = Path(__file__).parents[2] / "config" / "methods"


def method(name, arm=None):
    """Settings of a method, or of one of its arms."""
    described = yaml.safe_load((METHODS / f"{name}.yaml").read_text())
    return with_arm(described, arm) if arm else described


def arms(name=None):
    """Every arm as a pair of method and arm, or those of one method."""
    names = [name] if name else sorted(file.stem for file in METHODS.glob("*.yaml"))
    return [(each, arm) for each in names for arm in method(each).get("arms", {})]


def tiny(name, arm=None, **changes):
    """Entry and parameters at the size of the conformance tests."""
    settings = method(name, arm)
    return settings["entry"], {**settings["params"], **settings.get("conformance", {}), **changes}


def titles():
    """Name on axes and in tables of every method and arm, as a configuration hands it to figures."""
    found = {}
    for name, arm in [*((file.stem, None) for file in sorted(METHODS.glob("*.yaml"))), *arms()]:
        settings = method(name, arm)
        found["_".join(filter(None, (name, arm)))] = settings.get("short", settings["title"])
    return found
