"""One look for all figures: sizes, colours of methods, and writing of vector, raster and table."""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.figure import Figure

from histobench.files import atomic_path, write_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

P = ParamSpec("P")
R = TypeVar("R")

# Widths of a journal's single and double column, in inches; fonts below are sized for print at this width.
SINGLE = 3.5
DOUBLE = 7.2
RASTER_DPI = 200

RC: Any = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, hence the same letters on every machine
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "figure.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "#444444",
    "axes.labelcolor": "#222222",
    "text.color": "#222222",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    # a gene, a label or a title may hold $, \\ or _: it is text, never a formula
    "text.parse_math": False,
    "svg.hashsalt": "histobench",  # else element ids change with every run
    "path.simplify": False,
}

SEQUENTIAL = "viridis"
DIVERGING = "RdBu_r"
REFERENCE_COLOUR = "#222222"
QUIET_COLOUR = "#8a8a8a"

# How the caption of a figure begins for which the results have no material.
NOT_DRAWN = "Not drawn:"

# Trained methods first: the order of legends and panels. Tables sort by score instead.
FAMILIES = ("deep", "classical", "control", "oracle")
FAMILY_TITLES = {
    "deep": "deep network",
    "classical": "classical learner",
    "control": "control",
    "oracle": "oracle (uses test measurements)",
}
FAMILY_COLOURS = {"deep": "#D55E00", "classical": "#0072B2", "control": "#6f6f6f", "oracle": "#8A7A1F"}
FAMILY_MARKERS = {"deep": "o", "classical": "s", "control": "o", "oracle": "D"}
# Controls and oracles are drawn hollow, so that the distinction survives greyscale print.
HOLLOW = frozenset({"control", "oracle"})

# After the palettes of Okabe & Ito (2008) and Tol (2021), both made for colour-blind readers; light tones are
# darkened until names printed in them are legible on white. Each family keeps to one side of the colour
# circle: warm for deep, cold for classical, grey and olive for the rest.
_RAMPS = {
    "deep": ("#D55E00", "#C2649A", "#882255", "#C98600", "#CC6677", "#661100", "#AA4499", "#A0522D"),
    "classical": ("#0072B2", "#3B9BD6", "#009E73", "#332288", "#2F8F80", "#117733"),
    "control": ("#444444", "#777777", "#8d8d8d", "#5b6470", "#8c8379"),
    "oracle": ("#8A7A1F", "#A89200", "#6B5D2E", "#9C8F50"),
}
_DASHES = ("-", "--", "-.", ":")
_KNOWN = {
    "deep": ("stnet", "brstnet", "he2gene", "histospace", "thitogene", "hist2st", "histogene", "he2rna"),
    "classical": ("ridge_probe", "knn", "random_forest", "linear_probe", "nuclei_forest"),
    "control": ("colour_ridge", "shuffled_image", "train_mean", "random"),
    "oracle": ("section_mean", "neighbour_mean", "depth", "tumour_label"),
}


class NothingToDraw(Exception):
    """The results have no material for a figure; the message is a sentence that says what is lacking."""


class MethodStyle(NamedTuple):
    """How one method is drawn, everywhere."""

    colour: str
    marker: str
    dashes: str
    hollow: bool

    @property
    def face(self) -> str:
        """Fill of the marker."""
        return "white" if self.hollow else self.colour


def base_name(method: str) -> str:
    """Return the method's name without the suffix of a further seed (``stnet.seed1`` -> ``stnet``)."""
    return re.sub(r"\.seed\d+$", "", method)


def method_family(method: str, settings: Mapping[str, Any] | None = None) -> str:
    """Return the family of a method: from ``settings["families"]``, else as known, else "deep"."""
    name = base_name(method)
    declared = (settings or {}).get("families", {})
    if name in declared:
        return str(declared[name])
    return next((family for family, names in _KNOWN.items() if name in names), "deep")


def method_title(method: str, settings: Mapping[str, Any] | None = None) -> str:
    """Return the name to print: that of ``settings["titles"]``, else the method's own without underscores.

    A configuration declares one for every method (``short``, else ``title``), and ``titles`` holds it.
    """
    name = base_name(method)
    declared = (settings or {}).get("titles", {}).get(name)
    return str(declared) if declared else name.replace("_", " ")


def method_titles(methods: Iterable[str], settings: Mapping[str, Any] | None = None) -> str:
    """Return the names of several methods as a list in a sentence: "A, B and C"."""
    names = [method_title(method, settings) for method in dict.fromkeys(methods)]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def wrapped_title(method: str, settings: Mapping[str, Any] | None = None, letters: int = 16) -> str:
    """Return the name to print in lines of at most so many letters, which only longer words exceed."""
    from textwrap import fill

    return fill(method_title(method, settings), letters, break_long_words=False)


def panel_title(axes: Axes, method: str, settings: Mapping[str, Any] | None = None) -> None:
    """Write a method's name above its panel, in its colour."""
    axes.set_title(wrapped_title(method, settings), color=method_style(method, settings).colour, pad=3)


def method_style(method: str, settings: Mapping[str, Any] | None = None) -> MethodStyle:
    """Return colour, marker and dashes of a method; a function of its name and family alone.

    The look does not depend on which other methods are in a figure, so it is the same everywhere.
    """
    name, family = base_name(method), method_family(method, settings)
    if family not in _RAMPS:
        family = "deep"
    ramp, known = _RAMPS[family], _KNOWN[family]
    place = known.index(name) if name in known else len(known) + zlib.crc32(name.encode()) % 97
    return MethodStyle(
        colour=ramp[place % len(ramp)],
        marker=FAMILY_MARKERS[family],
        dashes=_DASHES[(place // len(ramp)) % len(_DASHES)],
        hollow=family in HOLLOW,
    )


def method_order(methods: Iterable[str], settings: Mapping[str, Any] | None = None) -> list[str]:
    """Sort methods by family, then as in the fixed list, then by name; each once."""

    def key(method: str) -> tuple[int, int, str]:
        family, name = method_family(method, settings), base_name(method)
        known = _KNOWN.get(family, ())
        rank = FAMILIES.index(family) if family in FAMILIES else len(FAMILIES)
        return rank, known.index(name) if name in known else len(known), method

    return sorted(dict.fromkeys(methods), key=key)


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """Run a drawing function under the common style, and leave the caller's settings as they were."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(RC):
            return function(*args, **kwargs)

    return wrapper


def new_figure(width: float = DOUBLE, height: float = 3.0) -> Figure:
    """Return an empty figure of the given size in inches, outside pyplot (no window, no global state)."""
    return Figure(figsize=(width, height), layout="constrained")


@styled
def empty_figure(message: str, width: float = DOUBLE) -> Figure:
    """Return a figure that says why there is nothing to draw."""
    from textwrap import fill

    figure = new_figure(width, 1.1)
    axes = figure.subplots()
    axes.axis("off")
    # Matplotlib's own wrapping measures words that hold $ as formulas.
    lines = "\n".join(fill(line, int(18 * width)) for line in message.split("\n"))
    axes.text(0.5, 0.5, lines, ha="center", va="center", color=QUIET_COLOUR)
    return figure


def colour_tick_labels(
    axes: Axes, methods: Iterable[str], settings: Mapping[str, Any], axis: str = "y"
) -> None:
    """Colour the tick labels of a method axis like the methods."""
    labels = axes.get_yticklabels() if axis == "y" else axes.get_xticklabels()
    for label, method in zip(labels, methods, strict=False):
        label.set_color(method_style(method, settings).colour)


@styled
def save_figure(
    figure: Figure, svg: str | Path, png: str | Path, table: pd.DataFrame, tsv: str | Path, title: str = ""
) -> None:
    """Write a figure as vector and raster, with the tidy table it was drawn from.

    Equal input gives equal bytes: element ids are salted, and neither date nor software is stored.
    Each of the three files is whole or absent.

    Parameters
    ----------
    figure
        Any matplotlib figure.
    svg, png, tsv
        Where to write.
    table
        The numbers behind the figure; floats are written with 6 significant digits.
    title
        Stored in the SVG for screen readers and search.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once, not for each format anew
    with atomic_path(svg) as temporary:
        metadata = {"Date": None, "Creator": None, "Title": title or None}
        figure.savefig(
            temporary,
            format="svg",
            dpi=RASTER_DPI,
            metadata={k: v for k, v in metadata.items() if v or k != "Title"},
        )
    with atomic_path(png) as temporary:
        figure.savefig(temporary, format="png", dpi=RASTER_DPI, metadata={"Software": None})
    rounded = table.copy()
    for column in rounded.columns[[kind.kind == "f" for kind in rounded.dtypes]]:
        rounded[column] = [float(f"{value:.6g}") for value in rounded[column]]
    write_table(rounded, tsv)
