"""A figure with an axes per method on common axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from histobench.figures.drawing.plots import boxes
from histobench.figures.drawing.settings import MethodStyle, Settings
from histobench.figures.drawing.style import DOUBLE, new_figure


def method_grid(methods: Sequence[str], frame: float, height: float) -> tuple[Figure, np.ndarray]:
    """Return a figure with an axes per method, at most four side by side.

    Parameters
    ----------
    methods
        Who is drawn.
    frame, height
        Inches around all axes, and of a row of axes.
    """
    columns = min(4, len(methods))
    rows = -(-len(methods) // columns)
    figure = new_figure(DOUBLE * max(columns, 2) / 4, frame + height * rows)
    return figure, figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)


class SectionBoxes:
    """Panels of methods one below the other, each with a box per section in the same place.

    Parameters
    ----------
    table
        method, patient, section and the quantiles that :func:`histobench.figures.drawing.plots.boxes` takes.
    settings
        Names, colours and order of methods.
    size
        Width and height in inches of so many methods and sections.
    """

    def __init__(
        self, table: pd.DataFrame, settings: Settings, size: Callable[[int, int], tuple[float, float]]
    ) -> None:
        self.table, self.settings = table, settings
        self.methods = settings.order(table["method"])
        self.sections = list(dict.fromkeys(table.sort_values(["patient", "section"])["section"]))
        self.figure = new_figure(*size(len(self.methods), len(self.sections)))
        self.axes = self.figure.subplots(len(self.methods), 1, sharex=True, sharey=True, squeeze=False)[:, 0]

    def drawn(self) -> Iterator[tuple[Axes, str, pd.DataFrame, MethodStyle]]:
        """Draw the boxes of one method after the other, and give axes, method, its rows and its look."""
        for axes, method in zip(self.axes, self.methods, strict=True):
            own, style = self.table[self.table["method"] == method], self.settings.look(method)
            boxes(axes, own, "section", self.sections, color=style.colour, linecolor=style.colour)
            yield axes, method, own, style

    def finished(self, unit: str, most_level: int) -> Figure:
        """Name sections, upright if there are more than ``most_level``, and values; return the figure."""
        last, sections = self.axes[-1], self.sections
        last.set_xticks(range(len(sections)), sections, rotation=90 if len(sections) > most_level else 0)
        last.set_xlim(-0.6, len(sections) - 0.4)
        last.set_xlabel("section")
        self.figure.supylabel(unit, fontsize=8)
        return self.figure
