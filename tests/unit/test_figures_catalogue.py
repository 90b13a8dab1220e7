"""What figures declare of themselves: read without importing them, complete, and enough to find their inputs."""

from __future__ import annotations

import importlib
import re

import pytest

from histobench.figures.catalogue import GROUPS, PLACEHOLDERS, FigureEntry, catalogue
from histobench.figures.draw import draw
from histobench.figures.style import NothingToDraw
from histobench.files import read_table

EVERYTHING = {name: name for name in PLACEHOLDERS}


@pytest.mark.parametrize("name", list(catalogue()))
def test_a_figure_declares_what_it_is_and_keeps_its_promise(name):
    entry = catalogue()[name]
    assert entry.group in GROUPS and len(entry.title) > 5
    assert set(entry.placeholders) <= set(PLACEHOLDERS) and entry.inputs
    assert not entry.left_out(EVERYTHING)
    module = importlib.import_module(f"histobench.figures.{name}")
    assert callable(module.draw) and callable(module.caption)
    assert re.search(r"\w", module.__doc__)


def test_a_placeholder_with_several_values_gives_a_list_and_every_combination():
    entry = FigureEntry(
        name="x", title="x", group="maps", inputs={"one": "{a}.tsv", "all": "{a}/{b}/{c}.h5ad"},
        optional={"image": "{d}"}, when=("e",),
    )  # fmt: skip
    values = {"a": "A", "b": ["B", "C"], "c": ["1"], "d": "", "e": "yes"}
    assert entry.files(values) == {"one": "A.tsv", "all": ["A/B/1.h5ad", "A/C/1.h5ad"]}
    assert entry.files({**values, "d": "slide.jpg"})["image"] == "slide.jpg"
    assert entry.placeholders == ("e", "a", "b", "c")


def test_what_an_experiment_lacks_is_the_reason():
    for name, reason in PLACEHOLDERS.items():
        entry = FigureEntry(name="x", title="x", group="maps", inputs={"one": f"{{{name}}}"})
        assert entry.left_out({**EVERYTHING, name: []}) == reason == entry.left_out({})
    assert FigureEntry(name="x", title="x", group="maps", inputs={}, when=("pair",)).left_out({})


def test_results_without_material_give_a_reason_and_no_picture_of_nothing(tmp_path, monkeypatch):
    from histobench.figures import leaderboard

    def nothing(inputs, settings):
        raise NothingToDraw("no method was scored.")

    monkeypatch.setattr(leaderboard, "draw", nothing)
    paths = [tmp_path / name for name in ("a.svg", "a.png", "a.tsv", "a.txt")]
    draw("leaderboard", {}, {}, *paths)
    assert paths[3].read_text() == "Not drawn: no method was scored.\n"
    assert list(read_table(paths[2])["not_drawn"]) == ["no method was scored."]
    assert all(path.stat().st_size for path in paths)
