"""Heat maps, boxes and dots of groups, drawn by seaborn, with the numbers of a tidy table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from seaborn.utils import relative_luminance

from histobench.figures.drawing.parts import bare
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DIVERGING

NO_VALUE_COLOUR = "#eeeeee"
INK = "#222222"
# On it, white letters and those in INK have the same contrast (WCAG 2).
EVEN_LUMINANCE = 0.213


def heat_map(
    axes: Axes,
    values: pd.DataFrame,
    texts: pd.DataFrame | None,
    *,
    limits: tuple[float, float],
    rows: Sequence[str],
    columns: Sequence[str],
    colours: str = DIVERGING,
    size: float = 6.5,
    missing: str = "",
    **columns_look: Any,
) -> Any:
    """Draw a table in colour with a text in each tile, legible on its colour; row by row from the top.

    Parameters
    ----------
    values, texts
        Numbers, NaN where there are none, and what is written on them; of one shape. None writes nothing.
    limits
        Values at the ends of the colour map.
    rows, columns
        Names of rows and columns.
    colours
        Name of the colour map.
    size
        Of the letters in tiles, in points.
    missing
        What is written where there is no number.
    columns_look
        For the names of columns: ``rotation``, ``ha`` ...

    Returns
    -------
    QuadMesh
        For a colour bar.
    """
    axes.set_facecolor(NO_VALUE_COLOUR)
    numbers = values.to_numpy(float)
    sns.heatmap(
        numbers,
        ax=axes,
        vmin=limits[0],
        vmax=limits[1],
        cmap=colours,
        annot=False if texts is None else texts.to_numpy(),
        fmt="",
        annot_kws={"fontsize": size},
        cbar=False,
        xticklabels=False,
        yticklabels=False,
    )
    mesh: Any = axes.collections[0]
    # seaborn writes white on tones on which dark letters have twice the contrast
    colours_of = mesh.get_facecolors()[~np.isnan(numbers.ravel())]
    for text, colour in zip(axes.texts, colours_of, strict=False):
        text.set_color(INK if relative_luminance(colour) > EVEN_LUMINANCE else "white")
    for row, column in np.argwhere(np.isnan(numbers)) if missing else ():
        axes.text(column + 0.5, row + 0.5, missing, ha="center", va="center", fontsize=size, color=INK)
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, **columns_look)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows, rotation=0)
    bare(axes)
    return mesh


def boxes(
    axes: Axes, table: pd.DataFrame, group: str, order: Sequence[Any], kind: str | None = None, **look: Any
) -> None:
    """Draw boxes from quantiles that a table holds: ``low``, ``first``, ``median``, ``third``, ``high``.

    Quartiles of these five numbers are the numbers themselves, and so are least and largest, where whiskers
    end. A mean, in a column ``mean``, is a diamond. ``kind`` is a column of two values that share a place.
    """
    quantiles = ["low", "first", "median", "third", "high"]
    keys = [group, *([kind] if kind else [])]
    long = table.melt(id_vars=keys, value_vars=quantiles, value_name="value")
    options = {
        "width": 0.62, "whis": (0, 100), "showcaps": False, "linewidth": 0.9, "saturation": 1.0,
        "boxprops": {"alpha": 0.5}, "medianprops": {"color": INK, "linewidth": 1.2}, **look,
    }  # fmt: skip
    kinds = list(dict.fromkeys(table[kind])) if kind else []
    if kind:
        options |= {"hue": kind, "hue_order": kinds, "legend": False}
    sns.boxplot(long, x=group, y="value", order=list(order), ax=axes, **options)
    if "mean" in table:
        shift = options["width"] / 4
        sides = [shift * (2 * kinds.index(name) - 1) for name in table[kind]] if len(kinds) == 2 else 0.0
        places = np.array([list(order).index(name) for name in table[group]]) + sides
        axes.plot(places, table["mean"], "D", ms=2.4, mfc="white", mec=INK, mew=0.6, zorder=5)
    axes.set(xlabel="", ylabel="")


def half_violins(
    axes: Axes, table: pd.DataFrame, value: str, methods: Sequence[str], settings: Settings
) -> float:
    """Draw the density of every method on its row, one side of it, each as high as the others.

    Returns how far below the row's middle the straight side lies.
    """
    varied = table[table.groupby("method")[value].transform(np.ptp) > 1e-9]
    sns.violinplot(
        varied, x=value, y="method", order=list(methods), ax=axes, split=True, inner=None, width=0.5, cut=1,
        density_norm="width", linewidth=0, alpha=0.35,
    )  # fmt: skip
    drawn = [method for method in methods if method in set(varied["method"])]
    for violin, method in zip(axes.collections, drawn, strict=True):
        violin.set_facecolor(settings.look(method).colour)
    axes.set(xlabel="", ylabel="")
    return 0.25


def dots(
    axes: Axes, table: pd.DataFrame, value: str, methods: Sequence[str], settings: Settings, **look: Any
) -> None:
    """Draw the values of every method as dots on its row; no jitter, which differs from run to run."""
    sns.stripplot(
        table, x=value, y="method", order=list(methods), ax=axes, jitter=False, linewidth=0,
        **_by_method(methods, settings), **look,
    )  # fmt: skip
    axes.set(xlabel="", ylabel="")


def _by_method(methods: Sequence[str], settings: Settings) -> dict[str, Any]:
    palette = {method: settings.look(method).colour for method in methods}
    return {"hue": "method", "hue_order": list(methods), "palette": palette, "legend": False}
