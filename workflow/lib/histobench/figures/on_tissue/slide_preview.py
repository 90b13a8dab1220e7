"""A prediction for a slide at a glance: the image, tumour probability where there is one, and some genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from histobench.figures.drawing.style import new_figure, styled

if TYPE_CHECKING:
    import anndata

_PANEL_CM = 5.6


@styled
def draw_preview(table: anndata.AnnData, genes: list[str] | None = None) -> Figure:
    """Draw predicted positions over the small picture of the slide.

    Parameters
    ----------
    table
        What :func:`histobench.slides.grid.predict_slide` returned.
    genes
        Genes to draw; by default the three whose prediction varies most over the slide.
    """
    (stored,) = table.uns["spatial"].values()
    picture, factors = stored["images"]["hires"], stored["scalefactors"]
    expression = np.asarray(table.X)
    if genes is None:
        most = np.argsort(-expression.std(axis=0), kind="stable")[:3]
        genes = [str(table.var_names[column]) for column in most]
    panels: list[tuple[str, np.ndarray | None]] = [("Image", None)]
    if "tumour_probability" in table.obs:
        panels.append(("Tumour probability", table.obs["tumour_probability"].to_numpy()))
    panels += [(gene, expression[:, table.var_names.get_loc(gene)]) for gene in genes]

    width, height = picture.shape[1], picture.shape[0]
    figure = new_figure(width=_PANEL_CM / 2.54 * len(panels), height=_PANEL_CM / 2.54 * height / width + 0.6)
    x, y = (table.obsm["spatial"] * factors["tissue_hires_scalef"]).T
    half = factors["spot_diameter_fullres"] * factors["tissue_hires_scalef"] / 2
    for number, (title, values) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), number + 1)
        axes.imshow(picture, interpolation="antialiased")
        if values is not None:
            _squares(axes, x, y, half, values, title == "Tumour probability")
        axes.set_title(title, style="italic" if title in genes else "normal")
        axes.set_axis_off()
    return figure


def _squares(axes: Any, x: np.ndarray, y: np.ndarray, half: float, values: np.ndarray, share: bool) -> None:
    """Draw one square per position and a colour bar."""
    corners = np.array([(-half, -half), (half, -half), (half, half), (-half, half)])
    squares = np.stack([x, y], axis=1)[:, None, :] + corners[None]
    drawn = PolyCollection(list(squares), array=values, cmap="viridis", edgecolors="none", alpha=0.85)
    drawn.set_rasterized(True)
    if share:
        drawn.set_clim(0, 1)
    axes.add_collection(drawn)
    axes.figure.colorbar(drawn, ax=axes, orientation="horizontal", fraction=0.05, pad=0.03)
