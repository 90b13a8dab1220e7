"""One look for all figures: sizes, colours of methods, and writing of vector, raster and table."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from textwrap import fill
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from histobench.figures.drawing.settings import Settings
from histobench.files import atomic_path, write_table

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


class NothingToDraw(Exception):
    """The results have no material for a figure; the message is a sentence that says what is lacking."""


def panel_title(axes: Axes, method: str, settings: Settings, letters: int = 16) -> None:
    """Write a method's name above its panel, in its colour, in lines of at most so many letters."""
    axes.set_title(settings.wrapped(method, letters), color=settings.look(method).colour, pad=3)


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
    figure = new_figure(width, 1.1)
    axes = figure.subplots()
    axes.axis("off")
    # Matplotlib's own wrapping measures words that hold $ as formulas.
    lines = "\n".join(fill(line, int(18 * width)) for line in message.split("\n"))
    axes.text(0.5, 0.5, lines, ha="center", va="center", color=QUIET_COLOUR)
    return figure


def colour_tick_labels(axes: Axes, methods: Iterable[str], settings: Settings, axis: str = "y") -> None:
    """Colour the tick labels of a method axis like the methods."""
    labels = axes.get_yticklabels() if axis == "y" else axes.get_xticklabels()
    for label, method in zip(labels, methods, strict=False):
        label.set_color(settings.look(method).colour)


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
