"""A predicted gene laid over the tissue (Rahaman et al. 2023, BrST-Net).

Inputs: ``predictions`` (of the leading method, the fold that tests the section), ``image`` (the section's).
Settings: ``section``, ``genes`` (the first in the panel is drawn), ``leader``.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import colour_bar, require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import Predicted, choose_gene, read_predictions
from histobench.figures.drawing.style import DOUBLE, NothingToDraw, new_figure
from histobench.figures.drawing.text import count, prose, signed, transform_text
from histobench.figures.drawing.tissue import SpotMaps, Thumbnail, scale_bar, shades, size_discs, thumbnail

_PIXELS = 380


def tidy_overlay(predicted: Predicted, settings: Settings) -> pd.DataFrame:
    """Return method, section, gene, spot, pixel_x, pixel_y, measured, predicted, r of one gene."""
    own = predicted.of_gene(choose_gene(predicted, settings.genes))
    truth, prediction = own["measured"].to_numpy(), own["predicted"].to_numpy()
    varies = truth.std() > 0 and prediction.std() > 0
    r = float(np.corrcoef(truth, prediction)[0, 1]) if varies and len(truth) > 1 else float("nan")
    table = own.drop(columns=["patient", "label"]).assign(r=r)
    table.attrs["um_per_px"] = predicted.um_per_px
    return table


def plot_overlay(table: pd.DataFrame, image: Thumbnail, settings: Settings) -> Figure:
    """Draw the tissue, the measurement over it and the prediction over it, each on its own colour scale."""
    maps = SpotMaps(table, image, ink=1.0, pixels=_PIXELS)
    side = (DOUBLE - 0.7) / 3
    figure = new_figure(DOUBLE, maps.height(side) + 0.75)
    panels = figure.subplots(1, 3)
    titles = ("tissue", "measured", f"{settings.title(table['method'].iloc[0])}, r = "
              f"{signed(float(table['r'].iloc[0]))}")  # fmt: skip
    for axes, name, title in zip(panels, (None, "measured", "predicted"), titles, strict=True):
        if name is None:
            maps.draw(axes, table.head(0))
        else:
            drawn = maps.draw(axes, table, c=table[name], alpha=0.72, **shades(table[[name]]))
            bar = colour_bar(figure, drawn, axes, orientation="horizontal", fraction=0.05, aspect=30)
            bar.ax.tick_params(labelsize=6.5, length=2)
        axes.set_title(title, pad=3)
    panels[0].set_ylabel(table["gene"].iloc[0], style="italic", weight="bold")
    scale_bar(panels[0], maps.box, maps.um_per_px)
    figure.supxlabel(f"expression, {transform_text(settings) or 'scale of the targets'}", fontsize=8)
    size_discs(figure, [maps], 0.85)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what lies over what, and that the two scales differ."""
    return prose(f"""
        Section {table["section"].iloc[0]} (n = {count(len(table), "spot")}), held out of training: the
        tissue, the measured expression of {table["gene"].iloc[0]} and its prediction by
        {settings.title(table["method"].iloc[0])}, drawn over it. The two have their own colour scales,
        from the 2nd to the 98th percentile; the maps on a common scale show how much narrower the
        prediction is. r is over the spots of this section. An illustration; no test.
    """)


@figure(
    "A predicted gene over the tissue",
    "maps",
    inputs={"predictions": "{experiment}/predictions/{leader}/{map_fold}", "image": "{map_image}"},
    settings=["section", "genes"],
)
def gene_overlay(inputs: Inputs, settings: Settings) -> Drawing:
    """Read prediction and image and draw one gene."""
    sections = read_predictions(inputs["predictions"], [settings.section])
    if not sections:
        raise NothingToDraw("quality control left no spot in the section.")
    image = thumbnail(inputs["image"])
    if image is None:
        raise NothingToDraw("the image is too large to be read in one piece.")
    table = require_rows(tidy_overlay(sections[0], settings), "the section has no spot.")
    return plot_overlay(table, image, settings), table, caption(table, settings)
