"""Patches before and after autoencoders (Kumar and Chatterjee 2024, HistoSPACE).

Inputs: ``weights`` and ``run`` (of the methods with an autoencoder, the fold that tests the section),
``patches`` (of the section), ``prediction`` (their folders, which say which spots take part). Settings:
``section``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import as_list, read_predictions, read_window
from histobench.figures.drawing.style import DOUBLE, NothingToDraw, new_figure
from histobench.figures.drawing.text import count, prose
from histobench.files import read_json

NUMBER = 7
COLUMNS = ["method", "section", "spot", "error", "flat_error", "share_of_spots_below", "shown"]


def tidy_tiles(
    given: np.ndarray, made: np.ndarray, spots: list[str], method: str, section: str
) -> pd.DataFrame:
    """Return a row per spot, best reconstructed first, with its error and which ones are shown.

    Parameters
    ----------
    given, made
        (spots, width, width, 3), pixels from 0 to 1 before and after the autoencoder.

    Returns
    -------
    pandas.DataFrame
        ``error``, mean squared over pixels and colours; ``flat_error``, that of a patch painted in its own
        mean colour; ``share_of_spots_below``, from 0 for the smallest error to 1; ``shown``, evenly spread.
    """
    flat = given.mean(axis=(1, 2), keepdims=True)
    table = pd.DataFrame({
        "method": method, "section": section, "spot": spots,
        "error": ((made - given) ** 2).mean(axis=(1, 2, 3)),
        "flat_error": ((flat - given) ** 2).mean(axis=(1, 2, 3)),
    }).sort_values("error", kind="stable")  # fmt: skip
    last = max(len(table) - 1, 1)
    shown = np.unique(np.linspace(0, len(table) - 1, min(NUMBER, len(table))).round().astype(int))
    return table.assign(
        share_of_spots_below=np.arange(len(table)) / last, shown=np.isin(np.arange(len(table)), shown)
    )[COLUMNS]


def plot_tiles(
    table: pd.DataFrame,
    given: np.ndarray,
    made: Mapping[str, np.ndarray],
    settings: Settings,
) -> Figure:
    """Draw each shown patch above what every method's autoencoder makes of it.

    Arrays are in the order of the shown rows of the first method, which chooses the patches.
    """
    methods = list(made)
    shown = table[(table["method"] == methods[0]) & table["shown"]]
    figure = new_figure(DOUBLE, 1.0 + 0.9 * (1 + len(methods)))
    grid = figure.subplots(1 + len(methods), len(shown), squeeze=False)
    for column in range(len(shown)):
        grid[0, column].imshow(given[column].clip(0, 1), interpolation="nearest")
    for row, method in enumerate(methods, start=1):
        error = table[table["method"] == method].set_index("spot")["error"]
        for column, spot in enumerate(shown["spot"]):
            grid[row, column].imshow(made[method][column].clip(0, 1), interpolation="nearest")
            grid[row, column].set_xlabel(f"{error[spot]:.4f}", fontsize=7)
        several = settings.wrapped(method, 14)
        grid[row, 0].set_ylabel(several if len(methods) > 1 else "reconstruction", fontsize=7)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    grid[0, 0].set_title("best of the section", fontsize=7, loc="left")
    if len(shown) > 1:
        grid[0, -1].set_title("worst", fontsize=7, loc="right")
    grid[0, 0].set_ylabel("patch")
    figure.supxlabel("mean squared error (pixels 0 to 1)", fontsize=8)
    figure.suptitle(
        f"{settings.title(methods[0])}, section {table['section'].iloc[0]}"
        if len(methods) == 1
        else f"Section {table['section'].iloc[0]}",
        fontsize=8.5,
    )
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say which patches are shown, and what their error is to be read beside."""
    first = table[table["method"] == table["method"].iloc[0]]
    flat = float(first["flat_error"].mean())
    errors = [
        f"{settings.title(str(method))} {error:.4f}, {100 * error / max(flat, 1e-12):.0f} %"
        for method, error in table.groupby("method", sort=False)["error"].mean().items()
    ]
    return prose(f"""
        Patches of section {table["section"].iloc[0]}, held out of training, above what the autoencoder
        of {settings.listed(table["method"])} makes of them: {int(first["shown"].sum())} of n =
        {count(len(first), "spot")}, evenly spread from the smallest to the largest error of the first,
        as wide and as fine as the encoder sees them. Mean error over all spots of the section, and its
        share of what painting each patch in its own mean colour leaves ({flat:.4f}):
        {"; ".join(errors)}. Descriptive; no test.
    """)


@figure(
    "Autoencoder: reconstructions",
    "training",
    inputs={
        "weights": "{experiment}/models/{autoencoder}/{map_fold}/weights.pt",
        "run": "{experiment}/models/{autoencoder}/{map_fold}/run.json",
        "prediction": "{experiment}/predictions/{autoencoder}/{map_fold}",
    },
    patches="map_section",
    settings=["section"],
)
def autoencoder_tiles(inputs: Inputs, settings: Settings) -> Drawing:
    """Load the autoencoders and reconstruct the patches of one section."""
    import torch

    from histobench.training.entry import load_method

    torch.set_num_threads(1)
    tables: list[pd.DataFrame] = []
    made: dict[str, np.ndarray] = {}
    given: np.ndarray | None = None
    chosen: list[str] = []
    parts = [as_list(inputs[kind]) for kind in ("run", "weights", "prediction")]
    for run, weights, prediction in zip(*parts, strict=True):
        record = read_json(run)
        method: Any = load_method(record["entry"], record["params"], weights.parent)
        sections = read_predictions(prediction, [settings.section])
        if not sections or getattr(method, "_autoencoder", None) is None:
            continue
        predicted = sections[0]
        spots = [str(name) for name in predicted.spots.index]
        own, back = method.reconstruct(read_window(inputs["patches"], spots, record, predicted.um_per_px))
        table = tidy_tiles(own, back, spots, predicted.method, predicted.section)
        chosen = chosen or list(table.loc[table["shown"], "spot"])
        rows = [spots.index(spot) for spot in chosen]
        given = own[rows] if given is None else given
        made[predicted.method] = back[rows]
        tables.append(table.assign(shown=table["spot"].isin(chosen)))
    if given is None:
        raise NothingToDraw("the decoder, or a spot that is predicted, is not there.")
    table = pd.concat(tables, ignore_index=True)
    return plot_tiles(table, given, made, settings), table, caption(table, settings)
