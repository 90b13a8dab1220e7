"""Conda environments and the lock name the same versions, and the lock names no index."""

from __future__ import annotations

import re

import pytest
import yaml


def locked(project):
    text = (project / "requirements.lock").read_text()
    return dict(re.findall(r"^([a-z0-9_.-]+)==([^ \\;]+)", text, re.M))


@pytest.mark.parametrize("name", ["data", "images", "torch", "report"])
def test_an_environment_pins_the_locked_versions(project, name):
    environment = yaml.safe_load((project / f"envs/{name}.yaml").read_text())
    (packages,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    versions = locked(project)
    for package in packages:
        stem, version = package.split("==")
        assert versions[stem] == version, package
    assert environment["channels"] == ["conda-forge", "nodefaults"]


def test_every_environment_is_used_and_every_used_one_exists(project):
    rules = "\n".join(file.read_text() for file in (project / "workflow/rules").rglob("*.smk"))
    named = set(re.findall(r"envs/([a-z]+)\.yaml", rules))
    assert named == {file.stem for file in (project / "envs").glob("*.yaml")}


def test_the_lock_has_hashes_and_no_addresses(project):
    text = (project / "requirements.lock").read_text()
    assert "://" not in text and "--index-url" not in text and "--find-links" not in text
    entries = re.split(r"\n(?=[a-z0-9])", text)
    assert all("--hash=sha256:" in entry for entry in entries if "==" in entry)
    assert locked(project)["torch"] != "2.13.0"


def test_every_dependency_of_the_project_is_locked(project):
    import tomllib

    settings = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    wanted = sum(settings["optional-dependencies"].values(), settings["dependencies"])
    names = {re.match(r"[A-Za-z0-9_.-]+", entry).group(0).lower().replace("_", "-") for entry in wanted}
    assert names <= set(locked(project))
