"""Pieces that several figures draw: method axes, legends of families, labels that do not touch, tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from histobench.figures.drawing.settings import (
    COMPETITORS,
    FAMILY_COLOURS,
    FAMILY_MARKERS,
    FAMILY_TITLES,
    HOLLOW,
    Settings,
)
from histobench.figures.drawing.style import NothingToDraw, colour_tick_labels

# Genes that maps show where a configuration names none, and scatter plots label (He et al. 2020).
MARKER_GENES = ("GNAS", "ACTG1", "FASN", "DDX5", "XBP1", "ERBB2")
# Shades of one measured quantity next to another, in figures that do not show methods by colour.
DARK, MIDDLE, LIGHT = "#20476b", "#6d9cc4", "#c4d8ea"


def require_rows(table: pd.DataFrame, reason: str) -> pd.DataFrame:
    """Return the table, or leave the figure out for the reason given when it is empty."""
    if table.empty:
        raise NothingToDraw(reason)
    return table


def method_rows(axes: Axes, methods: Sequence[str], settings: Settings) -> None:
    """Give each method a row, from the top downwards, named in its colour."""
    axes.set_yticks(range(len(methods)), [settings.title(method) for method in methods])
    axes.set_ylim(len(methods) - 0.4, -0.6)
    colour_tick_labels(axes, methods, settings)
    axes.tick_params(axis="y", length=0)


def best_method(
    table: pd.DataFrame,
    score: str,
    settings: Settings,
    families: Sequence[str] = COMPETITORS,
) -> str:
    """Return the method of some families with the highest mean score; of all, if there is none of them."""
    means = table.groupby("method", sort=False)[score].mean().sort_values(ascending=False, kind="stable")
    chosen = [method for method in means.index if settings.family(method) in families]
    return str((chosen or list(means.index))[0])


def family_legend(
    figure: Figure, families: Iterable[str], lines: bool = True, further: Sequence[Artist] = ()
) -> None:
    """Explain markers and fills below the figure, once per family that occurs, and what else is shown."""
    known = set(families)
    handles: list[Artist] = [
        Line2D(
            [],
            [],
            color=FAMILY_COLOURS[family],
            marker=FAMILY_MARKERS[family],
            mfc="white" if family in HOLLOW else FAMILY_COLOURS[family],
            mew=1.2,
            ms=5.5,
            lw=1.6 if lines else 0,
            label=title,
        )
        for family, title in FAMILY_TITLES.items()
        if family in known
    ]
    handles += further
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def method_marker(axes: Axes, x: Any, y: Any, method: str, settings: Settings, **look: Any) -> None:
    """Draw a marker of a method."""
    style = settings.look(method)
    options = {"mfc": style.face, "ms": 5.5, "mew": 1.2, "zorder": 3, "ls": "none", **look}
    axes.plot(x, y, style.marker, color=style.colour, **options)


def beside(axes: Axes, row: float, text: str, shift: float = 6, size: float = 7, **look: Any) -> None:
    """Write a text to the right of the axes, beside a row; ``shift`` in points."""
    axes.annotate(
        text, (1.0, row), xycoords=("axes fraction", "data"), xytext=(shift, 0), textcoords="offset points",
        va="center", fontsize=size, annotation_clip=False, **look,
    )  # fmt: skip


def beside_head(axes: Axes, text: str, shift: float = 6, size: float = 7, **look: Any) -> None:
    """Write the head of a column of such texts."""
    axes.annotate(
        text, (1.0, 1.0), xycoords="axes fraction", xytext=(shift, 3), textcoords="offset points",
        fontsize=size, weight="bold", annotation_clip=False, **look,
    )  # fmt: skip


def colour_bar(figure: Figure, drawn: Any, axes: Any, label: str = "", **look: Any) -> Any:
    """Draw the bar that explains colours, without a frame, beside one or several axes."""
    bar = figure.colorbar(drawn, ax=axes, **{"fraction": 0.03, "pad": 0.02, **look})
    bar.set_label(label)
    bar.outline.set_visible(False)
    return bar


def row_bands(axes: Axes, number: int) -> None:
    """Separate rows by faint lines."""
    for row in range(1, number):
        axes.axhline(row - 0.5, color="#eeeeee", lw=0.6, zorder=0)


def label_points(
    axes: Axes,
    labels: Sequence[tuple[float, float, str, str]],
    size: float = 6.5,
    obstacles: np.ndarray | None = None,
) -> None:
    """Write a label beside each (x, y, text, colour) where it covers no point and no other label.

    Called last, after ``figure.draw_without_rendering()``: positions on paper are known only once everything
    else is laid out. ``obstacles`` are further points (n, 2) to keep clear of. Where no place within some
    millimetres is free, the least bad one is taken.
    """
    if not labels:
        return
    figure: Any = axes.get_figure(root=True)
    unit = figure.dpi / 72
    points = axes.transData.transform([(x, y) for x, y, _, _ in labels])
    frame = axes.get_window_extent()
    taken = [Bbox.from_bounds(px - 3 * unit, py - 3 * unit, 6 * unit, 6 * unit) for px, py in points]
    others = axes.transData.transform(obstacles) if obstacles is not None else np.empty((0, 2))
    offsets = [
        (radius * np.cos(angle), radius * np.sin(angle))
        for radius in (6, 9, 13, 18, 24)
        for angle in np.deg2rad([0, 180, 40, -40, 140, -140, 90, -90])
    ]
    for (x, y, text, colour), (px, py) in sorted(
        zip(labels, points.tolist(), strict=True), key=lambda item: -item[1][1]
    ):
        width, height = (0.62 * size * len(text)) * unit, 1.15 * size * unit

        def box(
            across: float, up: float, px: float = px, py: float = py, w: float = width, h: float = height
        ) -> Bbox:
            left = px + across * unit - (0 if across > 1 else w if across < -1 else w / 2)
            return Bbox.from_bounds(left, py + up * unit - h / 2, w, h)

        def cost(offset: tuple[float, float]) -> float:
            own = box(*offset)
            crossed = sum(own.overlaps(other) for other in taken)
            outside = own.x0 < frame.x0 or own.x1 > frame.x1 + 2 or own.y0 < frame.y0 or own.y1 > frame.y1
            hidden = ((others > [own.x0, own.y0]) & (others < [own.x1, own.y1])).all(axis=1).sum()
            return 3 * crossed + float(hidden) + 5 * outside + 0.02 * float(np.hypot(*offset))

        across, up = min(offsets, key=cost)
        taken.append(box(across, up))
        axes.annotate(
            text,
            (x, y),
            xytext=(across, up),
            textcoords="offset points",
            ha="left" if across > 1 else "right" if across < -1 else "center",
            va="center",
            fontsize=size,
            color=colour,
            path_effects=[withStroke(linewidth=1.6, foreground="white")],  # where a line passes behind
            zorder=5,
            arrowprops=(
                {"arrowstyle": "-", "lw": 0.5, "color": "#999999", "shrinkA": 0, "shrinkB": 3}
                if np.hypot(across, up) > 10
                else None
            ),
        )


def bare(axes: Axes) -> None:
    """Take ticks and frame away from a heat map or picture."""
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def log_axis(axis: Any) -> None:
    """Make an axis logarithmic with plain numbers on it: 1, 10, 100, on a short one 2 and 5, too."""
    low, high = axis.get_view_interval()
    short = low > 0 and high / low < 150
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if short else (1.0,), numticks=6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _plain(value)))
    axis.set_minor_formatter(NullFormatter())


def _plain(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"
