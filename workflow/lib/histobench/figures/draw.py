"""Draw one figure by name, without importing the others, so that one figure's edit redraws one figure."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from histobench.errors import UserError
from histobench.figures.catalogue import catalogue
from histobench.figures.style import NOT_DRAWN, RC, NothingToDraw, empty_figure, save_figure
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
        Result files by name; a path or a list of paths. Each figure's module says which it reads.
    settings
        What no table says: ``families`` and ``titles`` of methods, ``experiment``, ``mode``, ``transform``
        ... every key is optional.
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
    import matplotlib as mpl
    import pandas as pd

    if name not in catalogue():
        raise UserError(f"figure '{name}' does not exist: expected one of {', '.join(catalogue())}.")
    module = importlib.import_module(f"histobench.figures.{name}")
    with mpl.rc_context(RC):
        try:
            figure, table = module.draw(inputs, settings)
            text = module.caption(table, settings)
        except NothingToDraw as reason:
            figure, table, text = (
                empty_figure(str(reason)),
                pd.DataFrame({"not_drawn": [str(reason)]}),
                f"{NOT_DRAWN} {reason}",
            )
        save_figure(figure, svg, png, table, tsv, title=f"{name.replace('_', ' ')}: {text.split('. ')[0]}")
    if caption is not None:
        with atomic_path(caption) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
