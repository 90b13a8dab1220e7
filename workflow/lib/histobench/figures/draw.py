"""Draw figures by name, without importing the others, so that one figure's edit redraws its family only."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from histobench.errors import UserError
from histobench.figures.catalogue import catalogue
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import NOT_DRAWN, NothingToDraw, empty_figure, save_figure
from histobench.files import atomic_path


def draw(
    name: str,
    inputs: Mapping[str, Any],
    settings: Mapping[str, Any],
    svg: str | Path,
    png: str | Path,
    tsv: str | Path,
    caption: str | Path | None = None,
) -> None:
    """Draw the figure ``name`` and write vector, raster, tidy table and caption.

    Parameters
    ----------
    name
        A figure of :func:`histobench.figures.catalogue.catalogue`.
    inputs
        Result files by name, as the figure declares them; a path or a list of paths.
    settings
        What no table says; every key of :class:`histobench.figures.drawing.settings.Settings` is optional.
    svg, png, tsv
        Where to write the figure and its table.
    caption
        Where to write the caption as plain text (what is plotted, n, test, correction); None for nowhere.
        Where the results themselves give nothing to draw it starts with :data:`NOT_DRAWN` and the reason.

    Raises
    ------
    UserError
        There is no figure of that name.
    """
    if name not in catalogue():
        raise UserError(f"figure '{name}' does not exist: expected one of {', '.join(catalogue())}.")
    module = importlib.import_module(catalogue()[name].module)
    try:
        figure, table, text = getattr(module, name)(inputs, Settings.of(settings))
    except NothingToDraw as reason:
        figure, table = empty_figure(str(reason)), pd.DataFrame({"not_drawn": [str(reason)]})
        text = f"{NOT_DRAWN} {reason}"
    save_figure(figure, svg, png, table, tsv, title=f"{name.replace('_', ' ')}: {text.split('. ')[0]}")
    if caption is not None:
        with atomic_path(caption) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


def draw_all(
    inputs: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any]], **outputs: Sequence[str | Path]
) -> None:
    """Draw several figures, one after the other.

    Parameters
    ----------
    inputs
        The result files of all of them, named FIGURE.KIND.
    settings
        By figure; its order is that of the outputs.
    outputs
        ``svg``, ``png``, ``tsv`` and ``caption``, a file of every figure.
    """
    for number, (name, told) in enumerate(settings.items()):
        own = {key.partition(".")[2]: files for key, files in inputs.items() if key.startswith(f"{name}.")}
        draw(name, own, told, **{kind: files[number] for kind, files in outputs.items()})
