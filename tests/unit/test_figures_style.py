"""The common look: same method, same look; same input, same bytes."""

from __future__ import annotations

import importlib
import itertools

import matplotlib as mpl
import pandas as pd
import pytest
from unit import described

from histobench.errors import UserError
from histobench.figures import style
from histobench.figures.catalogue import catalogue
from histobench.figures.draw import draw

TITLES = {"titles": described.titles()}
KNOWN = [name for names in style._KNOWN.values() for name in names]


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_method_looks_the_same_whatever_else_is_drawn():
    assert style.method_style("stnet") == style.method_style("stnet", {"families": {"knn": "classical"}})
    assert style.method_style("stnet.seed3") == style.method_style("stnet")
    assert style.method_title("stnet.seed3", TITLES) == style.method_title("stnet", TITLES) == "ST-Net"


def test_known_methods_of_a_family_can_be_told_apart():
    for family, names in style._KNOWN.items():
        looks = {(style.method_style(name).colour, style.method_style(name).dashes) for name in names}
        assert len(looks) == len(names), family
        assert all(style.method_family(name) == family for name in names)


@pytest.mark.parametrize("name", KNOWN)
def test_names_are_legible_in_their_colour_on_white(name):
    contrast = 1.05 / (luminance(style.method_style(name).colour) + 0.05)
    assert contrast >= 3.0  # WCAG 2.1 for graphics and large text


def test_controls_and_oracles_are_hollow_and_competitors_filled():
    assert style.method_style("train_mean").face == "white"
    assert style.method_style("depth").marker != style.method_style("train_mean").marker
    assert style.method_style("stnet").face == style.method_style("stnet").colour


def test_an_unknown_method_takes_the_look_of_its_declared_family():
    settings = {"families": {"mine": "classical"}, "titles": {"mine": "My method"}}
    look = style.method_style("mine", settings)
    assert look.marker == style.FAMILY_MARKERS["classical"] and look == style.method_style("mine", settings)
    assert style.method_title("mine", settings) == "My method"
    assert style.method_title("a_long_name") == "a long name", "nothing is declared"


def test_order_is_by_family_and_does_not_depend_on_input_order():
    expected = ["stnet", "knn", "colour_ridge", "depth"]
    for permuted in itertools.permutations(expected):
        assert style.method_order(permuted) == expected
    assert style.method_order(["knn", "knn"]) == ["knn"]


def test_style_leaves_the_callers_settings_alone():
    before = mpl.rcParams["font.size"], mpl.rcParams["svg.hashsalt"]

    @style.styled
    def inside() -> float:
        return mpl.rcParams["font.size"]

    assert inside() == style.RC["font.size"]
    assert (mpl.rcParams["font.size"], mpl.rcParams["svg.hashsalt"]) == before


def test_files_are_whole_and_repeatable(tmp_path):
    table = pd.DataFrame({"x": [1.0, 2.0], "y": [0.123456789, float("nan")], "name": ["a", "b"]})
    written = []
    for run in ("first", "second"):
        figure = style.new_figure(3.5, 2)
        figure.subplots().plot(table["x"], table["x"], "o")
        paths = [tmp_path / run / name for name in ("f.svg", "f.png", "f.tsv")]
        style.save_figure(figure, *paths[:2], table, paths[2], title="A title")
        assert [path.name for path in sorted((tmp_path / run).iterdir())] == ["f.png", "f.svg", "f.tsv"]
        written.append([path.read_bytes() for path in paths])
    assert written[0] == written[1]
    assert b"A title" in written[0][0] and b"<dc:date>" not in written[0][0]
    assert written[0][2] == b"x\ty\tname\n1.0\t0.123457\ta\n2.0\t\tb\n"


def test_a_failing_drawing_leaves_nothing_behind(tmp_path):
    class Broken(style.Figure):
        def savefig(self, *_, **__):
            raise ValueError("no")

    with pytest.raises(ValueError):
        style.save_figure(
            Broken(), tmp_path / "f.svg", tmp_path / "f.png", pd.DataFrame(), tmp_path / "f.tsv"
        )
    assert list(tmp_path.iterdir()) == []


def test_every_listed_figure_is_a_module_with_draw_and_caption(project):
    folder = project / "workflow" / "lib" / "histobench" / "figures"
    modules = {path.stem for path in folder.glob("*.py") if "def caption(" in path.read_text()}
    assert modules == set(catalogue())
    for name in catalogue():
        module = importlib.import_module(f"histobench.figures.{name}")
        assert callable(module.draw) and callable(module.caption)
        source = (folder / f"{name}.py").read_text()
        others = set(catalogue()) - {name}
        # One figure's edit must redraw one figure.
        assert not any(f"histobench.figures.{other}" in source for other in others)


def test_an_unknown_figure_is_named_in_one_sentence(tmp_path):
    with pytest.raises(UserError, match="figure 'pie' does not exist: expected one of cohort_overview"):
        draw("pie", {}, {}, tmp_path / "a.svg", tmp_path / "a.png", tmp_path / "a.tsv")
