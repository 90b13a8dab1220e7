"""The common look: same method, same look; same input, same bytes."""

from __future__ import annotations

import ast
import itertools
import re

import matplotlib as mpl
import pandas as pd
import pytest
from unit import described

from histobench import codehash
from histobench.errors import UserError
from histobench.figures.catalogue import catalogue
from histobench.figures.draw import draw
from histobench.figures.drawing import style
from histobench.figures.drawing.settings import FAMILIES, FAMILY_MARKERS, RAMPS, Settings
from histobench.results.catalogue import catalogue as results_catalogue

KNOWN = described.settings()


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_method_looks_the_same_whatever_else_is_drawn():
    alone = Settings(families={"stnet": "deep"}, places={"stnet": KNOWN.places["stnet"]})
    assert alone.look("stnet") == KNOWN.look("stnet") == KNOWN.look("stnet.seed3")
    assert KNOWN.title("stnet.seed3") == KNOWN.title("stnet") == "ST-Net"


def test_methods_of_a_family_that_declare_a_place_can_be_told_apart():
    families = {}
    for name in KNOWN.places:
        families.setdefault(KNOWN.family(name), []).append(name)
    assert set(families) == set(FAMILIES)
    for family, names in families.items():
        assert len({(KNOWN.look(name).colour, KNOWN.look(name).dashes) for name in names}) == len(names)
        assert sorted(KNOWN.places[name] for name in names) == list(range(len(names))), family


@pytest.mark.parametrize("name", KNOWN.places)
def test_names_are_legible_in_their_colour_on_white(name):
    contrast = 1.05 / (luminance(KNOWN.look(name).colour) + 0.05)
    assert contrast >= 3.0  # WCAG 2.1 for graphics and large text


def test_controls_and_oracles_are_hollow_and_competitors_filled():
    assert KNOWN.look("train_mean").face == "white"
    assert KNOWN.look("depth").marker != KNOWN.look("train_mean").marker
    assert KNOWN.look("stnet").face == KNOWN.look("stnet").colour


def test_a_method_without_a_place_takes_the_look_of_its_declared_family():
    settings = Settings(families={"mine": "classical"}, titles={"mine": "My method"})
    assert settings.look("mine").marker == FAMILY_MARKERS["classical"]
    assert settings.look("mine").colour in RAMPS["classical"]
    assert settings.look("mine") == Settings().look("mine", "classical")
    assert settings.title("mine") == "My method"
    assert settings.title("a_long_name") == "a long name", "nothing is declared"


def test_an_arm_is_drawn_otherwise_than_its_method():
    assert "place" not in described.method("stnet", "resnet18")
    assert KNOWN.look("stnet_resnet18") != KNOWN.look("stnet")


def test_order_is_by_family_and_does_not_depend_on_input_order():
    expected = ["stnet", "knn", "colour_ridge", "depth"]
    for permuted in itertools.permutations(expected):
        assert KNOWN.order(permuted) == expected
    assert KNOWN.order(["knn", "knn"]) == ["knn"]


def test_no_figure_and_no_page_knows_a_method_by_name(project):
    """Names that are words of the field, too, may stand where no method is meant."""
    names = {file.stem for file in (project / "config/methods").glob("*.yaml")} - {"depth", "random"}
    known = names | set(described.everything()) - {"depth", "random"}
    found = [
        f"{file.name}:{node.lineno} {node.value!r}"
        for room in ("figures", "report", "plan")
        for file in (project / "workflow/lib/histobench" / room).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if known & set(re.findall(r"\w+", node.value)) or node.value in ("random",)
    ]
    found += [
        f"{file.name}: {name}"
        for file in (project / "workflow/lib/histobench/report/templates").iterdir()
        for name in known & set(re.findall(r"\w+", file.read_text()))
    ]
    assert len(names) > 20 and not found


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


def test_no_figure_imports_another(project):
    """One figure's edit must redraw one figure."""
    modules = {entry.module for entry in catalogue().values()}
    for module in modules:
        assert codehash.closure(module) & modules == {module}


READERS = ("histobench.files", "histobench.figures.drawing.sources")


def test_figures_read_files_by_the_readers_of_results_only(project):
    """A damaged file is one sentence, names stay text: what these readers do, and a figure of its own would not."""
    own = re.compile(
        r"\b(pd|pandas|anndata|ad|h5py|scanpy|sc|json|csv)\.(read\w*|load\w*|File|DictReader|reader)\(|(?<!Image\.)\bopen\(|loadtxt\("
    )
    found, readers = [], set()
    for file in sorted((project / "workflow/lib/histobench/figures").rglob("*.py")):
        text = file.read_text()
        found += [f"{file.name}: {line.strip()}" for line in text.splitlines() if own.search(line)]
        readers |= {name for name in READERS if f"from {name} import" in text}
    assert not found, found
    assert {"histobench.files", "histobench.figures.drawing.sources"} <= readers


def test_every_table_that_a_figure_names_is_declared():
    declared = {entry.path for entry in results_catalogue().values()}
    paths = {
        path
        for entry in catalogue().values()
        for path in entry.inputs.values()
        if path.startswith("{experiment}/tables/") and "/figures/" not in path
    }
    assert len(paths) > 15 and not paths - declared


def test_an_unknown_figure_is_named_in_one_sentence(tmp_path):
    with pytest.raises(UserError, match="figure 'pie' does not exist: expected one of cohort_overview"):
        draw("pie", {}, {}, tmp_path / "a.svg", tmp_path / "a.png", tmp_path / "a.tsv")
