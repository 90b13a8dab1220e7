"""What figures declare of themselves: read without importing them, complete, and enough to find their inputs."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys

import pytest

from histobench.figures.catalogue import GROUPS, PLACEHOLDERS, FigureEntry, catalogue
from histobench.figures.draw import draw
from histobench.figures.drawing.style import NothingToDraw
from histobench.files import read_table

EVERYTHING = {name: name for name in PLACEHOLDERS}


@pytest.mark.parametrize("name", list(catalogue()))
def test_a_figure_declares_what_it_is_and_keeps_its_promise(name):
    entry = catalogue()[name]
    assert entry.group in GROUPS and len(entry.title) > 5
    assert set(entry.placeholders) <= set(PLACEHOLDERS) and entry.inputs
    assert not entry.left_out(EVERYTHING)
    module = importlib.import_module(entry.module)
    assert callable(getattr(module, name)) and callable(module.caption)
    assert re.search(r"\w", module.__doc__)


def test_a_placeholder_with_several_values_gives_a_list_and_every_combination():
    entry = FigureEntry(
        name="x", module="x", title="x", group="maps", inputs={"one": "{a}.tsv", "all": "{a}/{b}/{c}.h5ad"},
        optional={"image": "{d}"}, when=("e",),
    )  # fmt: skip
    values = {"a": "A", "b": ["B", "C"], "c": ["1"], "d": "", "e": "yes"}
    assert entry.files(values, "out") == {"one": "out/A.tsv", "all": ["out/A/B/1.h5ad", "out/A/C/1.h5ad"]}
    assert entry.files({**values, "d": "slide.jpg"}, "out")["image"] == "slide.jpg"
    assert entry.placeholders == ("e", "a", "b", "c")


def test_what_an_experiment_lacks_is_the_reason():
    for name, reason in PLACEHOLDERS.items():
        entry = FigureEntry(name="x", module="x", title="x", group="maps", inputs={"one": f"{{{name}}}"})
        assert entry.left_out({**EVERYTHING, name: []}) == reason == entry.left_out({})
    assert FigureEntry(name="x", module="x", title="x", group="maps", inputs={}, when=("pair",)).left_out({})


def test_results_without_material_give_a_reason_and_no_picture_of_nothing(tmp_path, monkeypatch):
    from histobench.figures.per_method import leaderboard

    def nothing(inputs, settings):
        raise NothingToDraw("no method was scored.")

    monkeypatch.setattr(leaderboard, "leaderboard", nothing)
    paths = [tmp_path / name for name in ("a.svg", "a.png", "a.tsv", "a.txt")]
    draw("leaderboard", {}, {}, *paths)
    assert paths[3].read_text() == "Not drawn: no method was scored.\n"
    assert list(read_table(paths[2])["not_drawn"]) == ["no method was scored."]
    assert all(path.stat().st_size for path in paths)


NEW = '''"""Scores in order."""

from __future__ import annotations

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import new_figure
from histobench.files import read_table


@figure("Scores in order", "scores", inputs={"scores": "{experiment}/tables/leaderboard.tsv"})
def scores_in_order(inputs: Inputs, settings: Settings) -> Drawing:
    """Draw the scores."""
    table = read_table(inputs["scores"])
    drawn = new_figure()
    drawn.subplots().barh(table["method"], table["pearson"])
    return drawn, table, f"Scores of {len(table)} methods in {settings.experiment}."
'''

DRAW = """
from histobench.figures.draw import draw
draw("scores_in_order", {"scores": "board.tsv"}, {"experiment": "demo"}, "a.svg", "a.png", "a.tsv", "a.txt")
"""


def test_a_new_figure_is_one_file(tmp_path, project):
    """In a copy of the library: it is catalogued, planned and drawn, and no other file changes."""
    library = tmp_path / "histobench"
    shutil.copytree(project / "workflow/lib/histobench", library)
    (library / "figures/per_method/scores_in_order.py").write_text(NEW)
    found = catalogue(library / "figures")
    assert found.keys() - catalogue().keys() == {"scores_in_order"}
    assert found["scores_in_order"].files({"experiment": "e"}, "results") == {
        "scores": "results/e/tables/leaderboard.tsv"
    }
    (tmp_path / "board.tsv").write_text("method\tpearson\nb\t0.2\na\t0.1\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", DRAW], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "a.txt").read_text() == "Scores of 2 methods in demo.\n"
    assert (tmp_path / "a.svg").stat().st_size > 1000


def test_two_figures_of_one_name_are_refused(tmp_path):
    for family in ("one", "two"):
        (tmp_path / family).mkdir()
        (tmp_path / family / "same.py").write_text(NEW)
    with pytest.raises(
        ValueError, match=r"scores_in_order is declared in histobench\.figures\.one\.same, too"
    ):
        catalogue(tmp_path)
