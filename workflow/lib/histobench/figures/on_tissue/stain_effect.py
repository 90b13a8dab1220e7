"""Sections before and after stain normalisation (Kumar and Chatterjee 2024, HistoSPACE; BrST-Net).

Inputs: ``records`` (stain records of sections), ``previews`` (their pictures, before and after side by side).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import as_list, read_picture
from histobench.figures.drawing.style import DOUBLE, new_figure
from histobench.figures.drawing.text import count, prose
from histobench.files import read_json

MOST = 4
GAP = 8  # pixels between the two halves of a preview
_STORED_PX = 230
CHANNELS = ("red", "green", "blue")
COLOURS = {"red": "#CC3311", "green": "#117733", "blue": "#0077BB"}
COLUMNS = ["section", "stage", "channel", "p01", "p25", "median", "p75", "p99", "luminosity", "tissue_share"]


def halves(preview: np.ndarray) -> dict[str, np.ndarray]:
    """Split a preview (height, width, 3): before to the left, after to the right of a gap."""
    side = (preview.shape[1] - GAP) // 2
    return {"before": preview[:, :side], "after": preview[:, -side:]}


def tidy_stain(records: Mapping[str, Mapping[str, Any]], previews: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Return quantiles of each colour channel over tissue pixels, before and after, with mean luminosity.

    Tissue is where the darkest channel before is below 220. Luminosity is the mean of 0.299 R + 0.587 G +
    0.114 B over these pixels.
    """
    rows = []
    for section, preview in previews.items():
        stages = halves(preview)
        tissue = stages["before"].min(axis=2) < 220
        if not tissue.any():
            continue
        for stage, pixels in stages.items():
            own = pixels[tissue].astype(float)
            luminosity = float((own @ [0.299, 0.587, 0.114]).mean())
            for place, channel in enumerate(CHANNELS):
                quantiles = np.quantile(own[:, place], (0.01, 0.25, 0.5, 0.75, 0.99))
                share = records.get(section, {}).get("tissue_share", float("nan"))
                rows.append((section, stage, channel, *quantiles, luminosity, float(share)))
    return pd.DataFrame(rows, columns=COLUMNS)


def plot_stain(table: pd.DataFrame, previews: Mapping[str, np.ndarray], settings: Settings) -> Figure:
    """Draw up to four sections before and after, and the spread of medians over all sections."""
    sections = list(dict.fromkeys(table["section"]))
    step = max(1, len(sections) // MOST)
    shown = sections[::step][:MOST]
    figure = new_figure(DOUBLE, 3.0)
    parts: Any = figure.subfigures(1, 2, width_ratios=[1.75, 1])
    left, right = parts
    grid = left.subplots(2, len(shown), squeeze=False)
    for column, section in enumerate(shown):
        for row, (stage, pixels) in enumerate(halves(previews[section]).items()):
            axes = grid[row, column]
            axes.imshow(_small(pixels), interpolation="none")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if column == 0:
                axes.set_ylabel(stage)
        grid[0, column].set_title(section, pad=3)
    panels = right.subplots(2, 1, sharex=True)
    for axes, stage in zip(panels, ("before", "after"), strict=True):
        own = table[table["stage"] == stage]
        for place, channel in enumerate(CHANNELS):
            values = own[own["channel"] == channel]
            spread = [place - 0.3 + 0.6 * k / max(1, len(values) - 1) for k in range(len(values))]
            axes.vlines(spread, values["p25"], values["p75"], color=COLOURS[channel], lw=0.9, alpha=0.6)
            axes.plot(spread, values["median"], "o", ms=2.6, mew=0, color=COLOURS[channel])
        bright = own.drop_duplicates("section")["luminosity"]
        axes.set_title(
            f"{stage}: luminosity {bright.mean():.0f} ± {bright.std(ddof=0):.0f}",
            loc="left",
            pad=2,
            fontsize=7.5,
        )
        axes.set_ylim(0, 255)
        axes.set_ylabel("pixel value")
        axes.grid(axis="y")
    panels[-1].set_xticks(range(3), CHANNELS)
    panels[-1].tick_params(axis="x", length=0)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what was done to the sections, and what a dot is."""
    return prose(f"""
        Sections before and after luminosity standardisation and stain normalisation after Vahadane et
        al., previews of up to four; right: median and middle half of each colour channel over the tissue
        of every section (n = {count(table["section"].nunique(), "section")}), and mean ± standard
        deviation over sections of the luminosity. Whether an experiment uses the normalised images is in
        its settings. Descriptive; no test.
    """)


@figure(
    "Before and after stain normalisation",
    "cohort",
    inputs={
        "records": "data/{cohort}/stain/{stained}.json",
        "previews": "data/{cohort}/stain/{stained}.png",
    },
)
def stain_effect(inputs: Inputs, settings: Settings) -> Drawing:
    """Read records and previews and draw them."""
    records = {path.stem: read_json(path) for path in as_list(inputs["records"])}
    previews = {path.stem: read_picture(path) for path in as_list(inputs["previews"])}
    table = require_rows(tidy_stain(records, previews), "no preview shows tissue.")
    return plot_stain(table, previews, settings), table, caption(table, settings)


def _small(pixels: np.ndarray) -> np.ndarray:
    """Return a picture no larger than it is printed, with colours that compress well."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((_STORED_PX, _STORED_PX))
    return (np.asarray(picture) // 6 * 6).astype(np.uint8)
