"""Measured and predicted expression on the tissue, side by side on one colour scale.

Inputs: ``predictions`` (per method the prediction .h5ad of one section, or the folder that holds it),
optionally ``image`` (the section's image, drawn faintly below). Settings: ``section`` (which file of the
folders), ``genes`` (names; by default the fixed marker genes that are in the panel, filled up by mean
expression), ``n_genes`` (rows, default 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.errors import UserError
from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import MARKER_GENES, colour_bar
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import as_list
from histobench.figures.drawing.style import DOUBLE, SEQUENTIAL, empty_figure, new_figure
from histobench.figures.drawing.text import count, prose, transform_text
from histobench.figures.drawing.tissue import (
    MOST_DISCS,
    SpotMaps,
    Thumbnail,
    scale_bar,
    size_discs,
    thumbnail,
)
from histobench.files import read_results

MOST_GENES = 4
TRUTH = "measured"


def choose_genes(
    panel: Sequence[str], mean_truth: np.ndarray, wanted: Sequence[str], number: int
) -> list[str]:
    """Return the genes to draw: those wanted and in the panel, else the highest means; at most ``number``."""
    known = set(panel)
    chosen = [gene for gene in wanted if gene in known]
    by_mean = [panel[place] for place in mean_truth.argsort(kind="stable")[::-1]]
    return list(dict.fromkeys([*chosen, *by_mean]))[:number]


def tidy_maps(paths: Sequence[str | Path], settings: Settings) -> pd.DataFrame:
    """Return section, gene, source, spot, pixel_x, pixel_y, value; source is "measured" or a method.

    The truth is taken once, from the first file; every other file must have the same spots.

    Raises
    ------
    UserError
        Files of different sections or spots are mixed.
    """
    frames: list[pd.DataFrame] = []
    first: Any = None
    genes: list[str] = []
    for path in paths:
        data = read_results(path)
        if first is None:
            first = data
            truth = np.asarray(data.layers["truth"], dtype=float)
            wanted = list(settings.genes or MARKER_GENES)
            panel = list(map(str, data.var_names))
            with np.errstate(invalid="ignore"):
                genes = choose_genes(panel, np.nan_to_num(truth).mean(axis=0), wanted, MOST_GENES)
            frames.append(_long(data, truth, genes, TRUTH))
        elif list(data.obs_names) != list(first.obs_names) or not set(genes) <= set(data.var_names):
            raise UserError(
                f"{path}: spots or genes differ from {paths[0]}, expected one section; predict it again."
            )
        frames.append(_long(data, np.asarray(data.X, dtype=float), genes, str(data.uns["method"])))
    table = pd.concat(frames, ignore_index=True)
    table.attrs["um_per_px"] = float(first.uns.get("um_per_px", float("nan")))
    return table


def _long(data: Any, values: np.ndarray, genes: list[str], source: str) -> pd.DataFrame:
    """Return one block of the tidy table: one row per gene and spot."""
    columns = [data.var_names.get_loc(gene) for gene in genes]
    spots = len(data.obs)
    return pd.DataFrame(
        {
            "section": np.tile(data.obs["section"].astype(str).to_numpy(), len(genes)),
            "gene": np.repeat(genes, spots),
            "source": source,
            "spot": np.tile(data.obs_names.to_numpy(dtype=str), len(genes)),
            "pixel_x": np.tile(data.obs["pixel_x"].to_numpy(float), len(genes)),
            "pixel_y": np.tile(data.obs["pixel_y"].to_numpy(float), len(genes)),
            "value": values[:, columns].T.ravel(),
        }
    )


def plot_maps(
    table: pd.DataFrame,
    settings: Settings,
    image: Thumbnail | None = None,
) -> Figure:
    """Draw genes in rows and sources in columns; each row has one colour scale.

    Parameters
    ----------
    table
        As :func:`tidy_maps` returns it: pixel positions in the full-resolution image, values on the scale
        of the targets.
    settings
        Names and families of methods, ``transform``.
    image
        RGB thumbnail with the full image's width and height in pixels; drawn faintly where given.
    """
    if table.empty:
        return empty_figure("No section has been predicted.")
    genes = list(dict.fromkeys(table["gene"]))
    methods = settings.order([source for source in table["source"].unique() if source != TRUTH])
    sources = [TRUTH, *methods]
    maps = SpotMaps(table, image)
    panel = min(1.75, max(0.75, (DOUBLE - 0.9) / len(sources)))
    figure = new_figure(0.9 + panel * len(sources), (maps.height(panel) + 0.08) * len(genes) + 0.6)
    grid = figure.subplots(len(genes), len(sources), squeeze=False)
    for row, gene in enumerate(genes):
        of_gene = table[table["gene"] == gene]
        limits = _limits(of_gene)
        for axes, source in zip(grid[row], sources, strict=True):
            spots = of_gene[of_gene["source"] == source]
            drawn = maps.draw(
                axes, spots, c=spots["value"], cmap=SEQUENTIAL, vmin=limits[0], vmax=limits[1],
                rasterized=len(table) > MOST_DISCS,
            )  # fmt: skip
            if row == 0:
                colour = "#222222" if source == TRUTH else settings.look(source).colour
                name = TRUTH if source == TRUTH else settings.wrapped(source, round(11 * panel))
                axes.set_title(name, color=colour, pad=3, fontsize=8.5 if panel > 1.2 else 6.5)
        grid[row, 0].set_ylabel(gene, style="italic", weight="bold")
        bar = colour_bar(figure, drawn, list(grid[row]), pad=0.01, aspect=14, extend="both")
        bar.ax.tick_params(labelsize=6.5, length=2)
    scale_bar(grid[-1, 0], maps.box, maps.um_per_px)
    figure.supxlabel(f"expression, {transform_text(settings) or 'scale of the targets'}", fontsize=8)
    size_discs(figure, [maps])
    return figure


def _limits(of_gene: pd.DataFrame) -> tuple[float, float]:
    """Return the colour limits of a gene, which single extreme values do not stretch."""
    measured = of_gene.loc[of_gene["source"] == TRUTH, "value"]
    predicted = of_gene.loc[of_gene["source"] != TRUTH, "value"]
    low = min([float(measured.quantile(0.02)), *predicted.quantile([0.02]).dropna()])
    high = max([float(measured.quantile(0.98)), *predicted.quantile([0.98]).dropna()])
    return (low, high) if high > low else (low, low + 1.0)


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say which section and genes are drawn, on which scale."""
    if table.empty:
        return "No section has been predicted."
    sections = ", ".join(dict.fromkeys(table["section"]))
    spots = count(table["spot"].nunique(), "spot")
    chosen = "as configured" if settings.genes else "fixed marker genes of the panel, then the highest means"
    return prose(f"""
        Measured and predicted expression of section {sections} (n = {spots}), which was held out of
        training. Each row is one gene ({chosen}) on one colour scale for truth and predictions, so that
        a smooth prediction looks smooth; colours end at the 2nd and 98th percentile; scale:
        {transform_text(settings) or "that of the targets"}. Discs are drawn at the spot positions in the
        image with the diameter of the grid pitch. An illustration; no test.
    """)


@figure(
    "Measured and predicted expression on the tissue",
    "maps",
    inputs={"predictions": "{experiment}/predictions/{map_method}/{map_fold}"},
    optional={"image": "{map_image}"},
    when=["map_section"],
    settings=["section", "genes"],
)
def expression_maps(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the predictions of one section and draw them."""
    paths = as_list(inputs["predictions"])
    paths = [path / f"{settings.section}.h5ad" if path.is_dir() else path for path in paths]
    table = tidy_maps(paths, settings)
    image = next(iter(as_list(inputs.get("image") or [])), None)
    return plot_maps(table, settings, thumbnail(image) if image else None), table, caption(table, settings)
