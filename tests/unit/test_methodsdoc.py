"""docs/methods.md says of every method and arm what it is, and where its settings come from."""

from __future__ import annotations

import pytest
from unit import described

from histobench.cli.methodsdoc import document, parameter_sources

NAMES = sorted(file.stem for file in described.METHODS.glob("*.yaml"))


def test_the_page_is_made_from_the_files(project) -> None:
    assert (project / "docs/methods.md").read_text(encoding="utf-8") == document(project), "run `make docs`"


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_has_a_source(name) -> None:
    sources = parameter_sources(described.METHODS / f"{name}.yaml")
    assert set(sources) == set(described.method(name)["params"])


@pytest.mark.parametrize("name", NAMES)
def test_every_method_says_where_it_comes_from(name) -> None:
    settings = described.method(name)
    assert settings["sources"] and settings["licence"] and settings["description"] and settings["resources"]
    if settings["family"] in ("deep", "classical"):
        assert settings["citation"] and settings["deviations"]


def test_the_page_names_every_method_arm_and_value(project) -> None:
    page = document(project)
    for name in NAMES:
        settings = described.method(name)
        assert f"### {settings['title']}\n" in page
        part = page.split(f"### {settings['title']}\n")[1].split("\n### ")[0]
        for key in settings["params"]:
            assert f"| `{key}` |" in part or f"| `{key}." in part
        for arm in settings.get("arms", {}):
            assert f"| `{name}_{arm}` |" in part
        for text in (*settings.get("deviations", []), settings.get("citation", ""), *settings["sources"]):
            assert " ".join(text.split()) in part


def test_sources_are_the_comments_of_the_parameters(tmp_path) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(
        "title: M  # not this\nparams:\n  a: 1  # paper\n  # decades\n  b: [1, 2]\n  c:   # all of it\n"
        "    d: 2\n  e: 3\nneeds: {}  # nor this\n"
    )
    assert parameter_sources(file) == {"a": "paper", "b": "decades", "c": "all of it"}
