"""Every method of config/methods, and every arm of it, passes every check of the contract."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import yaml
from unit import described as files

from histobench.training.conformance import CHECKS, Case
from histobench.training.entry import method_class

FILES = sorted((Path(__file__).parents[2] / "config" / "methods").glob("*.yaml"))


def fitted_once(value, name: str):
    """A parameter whose tests one process runs, because they share a fit."""
    return pytest.param(value, id=name, marks=pytest.mark.xdist_group(name))


@functools.cache
def case_of(file: Path) -> Case:
    described = yaml.safe_load(file.read_text())
    params = {**described.get("params", {}), **described.get("conformance", {})}
    return Case(
        described["entry"],
        params,
        described.get("needs"),
        described.get("gives", {}),
        described.get("sees", "spot"),
        described.get("deterministic", False),
    )


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("file", [fitted_once(file, file.stem) for file in FILES])
def test_method_conforms(file: Path, check) -> None:
    check(case_of(file))


@functools.cache
def case_of_arm(name: str, arm: str) -> Case:
    settings = files.method(name, arm)
    return Case(
        *files.tiny(name, arm),
        settings.get("needs"),
        settings.get("gives", {}),
        settings.get("sees", "spot"),
        settings.get("deterministic", False),
    )


def different_arms() -> list[tuple[str, str]]:
    """Arms that differ from their method, and from each other, at the size of these tests."""
    seen = {name.stem: [files.tiny(name.stem)] for name in FILES}
    found = []
    for name, arm in files.arms():
        if files.tiny(name, arm) not in seen[name]:
            seen[name].append(files.tiny(name, arm))
            found.append((name, arm))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("arm", [fitted_once(arm, "_".join(arm)) for arm in different_arms()])
def test_arm_conforms(arm: tuple[str, str], check) -> None:
    check(case_of_arm(*arm))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_yaml_gives_every_parameter_that_its_class_knows(file: Path) -> None:
    import inspect

    described = yaml.safe_load(file.read_text())
    known = set(inspect.signature(method_class(described["entry"])).parameters)
    hidden = {"checkpoint_seconds"}  # changes no number
    assert known - hidden == set(described.get("params", {})), "a default would hide in the code"
    assert set(described.get("conformance", {})) <= known


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_only_declared_oracles_are_oracles(file: Path) -> None:
    described = yaml.safe_load(file.read_text())
    assert (described["family"] == "oracle") == bool(described.get("needs", {}).get("oracle"))
