"""Patches before and after an autoencoder (Kumar and Chatterjee 2024, HistoSPACE).

Inputs: ``weights`` and ``run`` (of the method, the fold that tests the section), ``patches`` (of the
section), ``prediction`` (its folder, which says which spots take part). Settings: ``section``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from histobench.figures.sources import read_predictions, read_window
from histobench.figures.style import DOUBLE, NothingToDraw, method_title, new_figure, styled
from histobench.figures.text import count
from histobench.files import read_json

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

FIGURE = {
    "title": "Autoencoder: reconstructions",
    "group": "training",
    "inputs": {
        "weights": "results/{experiment}/models/{autoencoder}/{map_fold}/weights.pt",
        "run": "results/{experiment}/models/{autoencoder}/{map_fold}/run.json",
        "prediction": "results/{experiment}/predictions/{autoencoder}/{map_fold}",
        "patches": "results/data/{cohort}/patches/{patches}/{map_section}.npy",
    },
    "settings": ["section"],
}
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
    import numpy as np
    import pandas as pd

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


@styled
def plot_tiles(
    table: pd.DataFrame, given: np.ndarray, made: np.ndarray, settings: Mapping[str, Any] | None = None
) -> Figure:
    """Draw each shown patch above its reconstruction; arrays are in the order of the shown rows."""
    settings = settings or {}
    shown = table[table["shown"]]
    figure = new_figure(DOUBLE, 2.75)
    grid = figure.subplots(2, len(shown), squeeze=False)
    entry: Any
    for column, entry in enumerate(shown.itertuples()):
        grid[0, column].imshow(given[column].clip(0, 1), interpolation="nearest")
        grid[1, column].imshow(made[column].clip(0, 1), interpolation="nearest")
        grid[1, column].set_xlabel(f"{entry.error:.4f}", fontsize=7)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    grid[0, 0].set_title("best of the section", fontsize=7, loc="left")
    if len(shown) > 1:
        grid[0, -1].set_title("worst", fontsize=7, loc="right")
    grid[0, 0].set_ylabel("patch")
    grid[1, 0].set_ylabel("reconstruction")
    figure.supxlabel("mean squared error (pixels 0 to 1)", fontsize=8)
    figure.suptitle(
        f"{method_title(str(table['method'].iloc[0]), settings)}, section {table['section'].iloc[0]}",
        fontsize=8.5,
    )
    return figure


def caption(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> str:
    """Say which patches are shown, and what their error is to be read beside."""
    error, flat = float(table["error"].mean()), float(table["flat_error"].mean())
    return (
        f"Patches of section {table['section'].iloc[0]}, held out of training, above what the autoencoder of "
        f"{method_title(str(table['method'].iloc[0]), settings)} makes of them: "
        f"{int(table['shown'].sum())} of n = {count(len(table), 'spot')}, evenly spread from the smallest to "
        "the largest error, as wide and as fine as the encoder sees them. Mean error over all spots of the "
        f"section: {error:.4f}, {100 * error / max(flat, 1e-12):.0f} % of what painting each patch in its "
        f"own mean colour leaves ({flat:.4f}). Descriptive; no test."
    )


def draw(inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """Load the autoencoder and reconstruct the patches of one section."""
    import torch

    from histobench.methods.entry import load_method

    torch.set_num_threads(1)
    record = read_json(inputs["run"])
    method: Any = load_method(record["entry"], record["params"], Path(inputs["weights"]).parent)
    sections = read_predictions(inputs["prediction"], [settings["section"]])
    if not sections or getattr(method, "_autoencoder", None) is None:
        raise NothingToDraw("the decoder, or a spot that is predicted, is not there.")
    predicted = sections[0]
    spots = [str(name) for name in predicted.spots.index]
    given, made = method.reconstruct(read_window(inputs["patches"], spots, record, predicted.um_per_px))
    table = tidy_tiles(given, made, spots, predicted.method, predicted.section)
    place = {spot: row for row, spot in enumerate(spots)}
    rows = [place[spot] for spot in table.loc[table["shown"], "spot"]]
    return plot_tiles(table, given[rows], made[rows], settings), table
