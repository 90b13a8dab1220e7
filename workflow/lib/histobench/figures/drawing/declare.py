"""What declares a function as a figure, read by :mod:`histobench.figures.catalogue` without importing it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import styled

Inputs = Mapping[str, Any]
"""Result files by name; a path, or a list of paths where several stand for one placeholder."""
Drawing = tuple[Figure, pd.DataFrame, str]
"""A figure, the tidy table behind it, and its caption: what is plotted, n, test, correction."""
Draw = Callable[[Inputs, Settings], Drawing]


def figure(
    title: str,
    group: str,
    *,
    tables: Sequence[str] = (),
    inputs: Mapping[str, str] | None = None,
    optional: Mapping[str, str] | None = None,
    when: Sequence[str] = (),
    settings: Sequence[str] = (),
    against: str = "",
    **files: str,
) -> Callable[[Draw], Draw]:
    """Declare a function as the figure of its name, drawn under the common style.

    All values are literals.

    Parameters
    ----------
    title, group
        What heads it, and which of :data:`histobench.figures.catalogue.GROUPS` it belongs to.
    tables
        Tables of the experiment, which are inputs of their names.
    inputs
        Path below the results, by name. A placeholder in braces stands for what the experiment has of it
        (:data:`histobench.figures.catalogue.PLACEHOLDERS`); where it has several, the input is a list.
    optional
        Further inputs, given where the experiment has everything that their paths stand for.
    when
        Placeholders without a place in a path that the experiment must have, too.
    settings
        Names of settings beyond those that every caption needs.
    against
        Placeholder of experiments that this one is set against: its leader board is the input ``own``, theirs
        are ``others``, and the setting ``also_differs`` is given.
    files
        By the name of an input in :data:`histobench.figures.catalogue.FILES`, the placeholder of the methods
        or sections that it is of.
    """
    return styled
