"""One gene on the tissue as every method sees it, as z-scores (Chen et al. 2024, HE2Gene).

Inputs: ``predictions`` (of every method, folders of the fold that tests the section). Settings: ``section``,
``genes`` (the first that is in the panel is drawn, else the one with the highest mean).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import colour_bar, require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import Predicted, choose_gene, read_predictions
from histobench.figures.drawing.style import DIVERGING, DOUBLE, new_figure
from histobench.figures.drawing.text import count, prose, signed, transform_text
from histobench.figures.drawing.tissue import SpotMaps, scale_bar, size_discs

TRUTH = "measured"
LIMIT = 2.0
COLUMNS = ["section", "gene", "source", "spot", "pixel_x", "pixel_y", "z", "r"]


def tidy_z(sections: Sequence[Predicted], settings: Settings) -> pd.DataFrame:
    """Return the z-score of the gene per spot for the measurement and every method that varies, with r.

    z is taken over the spots of the section, for each source by itself, so that patterns can be compared
    where spreads differ; r is Pearson's with the measurement.
    """
    if not sections:
        return pd.DataFrame(columns=COLUMNS)
    gene = choose_gene(sections[0], settings.genes)
    truth = sections[0].truth[:, sections[0].column(gene)]
    sources = {TRUTH: (sections[0], truth)}
    for predicted in sections:
        sources[predicted.method] = (predicted, predicted.prediction[:, predicted.column(gene)])
    blocks = []
    for source, (predicted, values) in sources.items():
        spread = values.std()
        if not spread > 1e-6 * max(1.0, float(np.abs(values).max())):
            continue
        z = (values - values.mean()) / spread
        r = float(np.mean(z * (truth - truth.mean())) / truth.std()) if truth.std() > 0 else np.nan
        blocks.append(predicted.of_gene(gene).assign(source=source, z=z, r=r)[COLUMNS])
    table = pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame(columns=COLUMNS)
    table.attrs["um_per_px"] = sections[0].um_per_px
    return table


def plot_z(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw the measurement first, then methods in fixed order, all on one scale of z."""
    methods = settings.order([source for source in table["source"].unique() if source != TRUTH])
    sources = [TRUTH, *methods]
    columns = min(6, len(sources))
    rows = -(-len(sources) // columns)
    maps = SpotMaps(table)
    side = (DOUBLE - 0.6) / 6
    figure = new_figure(max(0.6 + side * columns, 3.2), (maps.height(side) + 0.36) * rows + 0.25)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, source in zip(grid.flat, sources, strict=False):
        own = table[table["source"] == source]
        drawn = maps.draw(axes, own, c=own["z"], cmap=DIVERGING, vmin=-LIMIT, vmax=LIMIT)
        # in lines as wide as a map
        name = TRUTH if source == TRUTH else settings.wrapped(source, round(13 * side))
        colour = "#222222" if source == TRUTH else settings.look(source).colour
        axes.set_title(name, color=colour, pad=2, fontsize=7.5)
        if source != TRUTH:
            axes.set_xlabel(f"r = {signed(float(own['r'].iloc[0]))}", fontsize=6.5, labelpad=1)
    for axes in list(grid.flat)[len(sources) :]:
        axes.axis("off")
    colour_bar(figure, drawn, grid, "z over the spots", fraction=0.02, pad=0.01, aspect=25, extend="both")
    scale_bar(grid[0, 0], maps.box, maps.um_per_px)
    figure.suptitle(f"{table['gene'].iloc[0]}", style="italic", weight="bold", fontsize=8.5)
    size_discs(figure, [maps])
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say which gene and section, and what z hides."""
    spots = count(table["spot"].nunique(), "spot")
    return prose(f"""
        Measured and predicted expression of {table["gene"].iloc[0]} in section
        {table["section"].iloc[0]} (n = {spots}), held out of training, as z-scores over the spots of
        each panel by itself; colours end at two standard deviations. z-scores compare patterns and hide
        how much weaker a prediction varies than the measurement. Methods that predict one value for all
        spots cannot be drawn and are left out. Scale before z:
        {transform_text(settings) or "that of the targets"}. An illustration; no test.
    """)


@figure(
    "One gene as every method sees it",
    "maps",
    inputs={"predictions": "{experiment}/predictions/{method}/{map_fold}"},
    settings=["section", "genes"],
)
def z_maps(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the section's predictions and draw one gene."""
    sections = read_predictions(inputs["predictions"], [settings.section])
    table = require_rows(tidy_z(sections, settings), "the gene does not vary over the section.")
    return plot_z(table, settings), table, caption(table, settings)
