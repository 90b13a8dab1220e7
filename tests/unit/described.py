"""Methods as their YAML files describe them, arm by arm, and the plan of a user's own file."""

from __future__ import annotations

import copy
import functools
from pathlib import Path

import yaml

from histobench.config.benchmark import Benchmark
from histobench.config.files import read_configuration, with_arm
from histobench.figures.drawing.settings import Settings
from histobench.plan.model import make_plan

METHODS = Path(__file__).parents[2] / "config" / "methods"


@functools.cache
def _read(name):
    """A method's file; modules ask for all of them while tests are collected."""
    return yaml.safe_load((METHODS / f"{name}.yaml").read_text())


def method(name, arm=None):
    """Settings of a method, or of one of its arms; the caller may change them."""
    described = copy.deepcopy(_read(name))
    return with_arm(described, arm) if arm else described


def arms(name=None):
    """Every arm as a pair of method and arm, or those of one method."""
    names = [name] if name else sorted(file.stem for file in METHODS.glob("*.yaml"))
    return [(each, arm) for each in names for arm in method(each).get("arms", {})]


def tiny(name, arm=None, **changes):
    """Entry and parameters at the size of the conformance tests."""
    settings = method(name, arm)
    return settings["entry"], {**settings["params"], **settings.get("conformance", {}), **changes}


@functools.cache
def _everything():
    files = [(file.stem, None) for file in sorted(METHODS.glob("*.yaml"))]
    return {"_".join(filter(None, pair)): method(*pair) for pair in [*files, *arms()]}


def everything():
    """Settings of every method and arm, by name of the arm; the caller may change them."""
    return copy.deepcopy(_everything())


def titles():
    """Name on axes and in tables of every method and arm, as a configuration hands it to figures."""
    return {name: settings.get("short", settings["title"]) for name, settings in _everything().items()}


def settings(**more):
    """What figures are told: names, families and places of all methods as declared, and more."""
    declared = _everything().items()
    return Settings(**{
        "titles": titles(),
        "families": {name: each["family"] for name, each in declared},
        "places": {name: each["place"] for name, each in declared if "place" in each},
        "baselines": [name for name, each in declared if each.get("baseline")],
        **more,
    })  # fmt: skip


def planned(project, tmp_path, text):
    """Plan the demo with a file of the user's own laid over it."""
    file = tmp_path / "mine.yaml"
    file.write_text(f"run: [demo]\n{text}")
    files = [project / "config/demo.yaml", file]
    return make_plan(Benchmark(read_configuration(files, project), project, files))
