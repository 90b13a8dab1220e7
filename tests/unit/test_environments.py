"""Conda environments and the lock name the same versions, and the lock names no index."""

from __future__ import annotations

import re

import environments
import pytest
import yaml


def locked(project):
    text = (project / "requirements.lock").read_text()
    return dict(re.findall(r"^([a-z0-9_.-]+)==([^ \\;]+)", text, re.M))


NAMES = ["data", "images", "torch", "report"]


@pytest.mark.parametrize("name", NAMES)
def test_an_environment_is_complete_and_pip_checks_every_file(project, tmp_path, name):
    """Versions, markers and hashes are the lock's, and nothing that a package of it declares to need is left out."""
    from pip._internal.network.session import PipSession
    from pip._internal.req import parse_requirements
    from pip._internal.req.constructors import install_req_from_parsed_requirement

    environment = yaml.safe_load((project / f"envs/{name}.yaml").read_text())
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    (lines,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    read = {}
    for which, text in (("ours", "\n".join(lines)), ("lock", (project / "requirements.lock").read_text())):
        (tmp_path / which).write_text(text)
        found = parse_requirements(str(tmp_path / which), session=PipSession())
        made = [install_req_from_parsed_requirement(one) for one in found]
        read[which] = {one.name: (str(one.req), str(one.markers), one.hash_options) for one in made}
    assert len(read["ours"]) == len(lines) > 20
    for package, said in read["ours"].items():
        assert said == read["lock"][package] and said[2]["sha256"], package
    pinned = set(map(environments.normal, environments.pins(project / f"envs/{name}.yaml")))
    assert set(environments.closure(sorted(pinned))) <= pinned


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


def test_one_version_stands_everywhere(project):
    import tomllib

    version = tomllib.loads((project / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((project / "CITATION.cff").read_text())["version"] == version
    assert re.findall(r"^## (.*)$", (project / "CHANGELOG.md").read_text(), re.M)[0] == version
