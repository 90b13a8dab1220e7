"""Predicted tumour and immune scores of every tile on whole slides (He et al. 2020, TCGA).

Inputs: ``tiles`` and ``images`` of the slides shown (in the same order), ``slides`` (per slide: correlations
of gene pairs within and between the groups), ``tests`` (the test over patients, by method). Settings:
``slides`` (cohort, method, groups, tile_um).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.evaluation.colocation import GROUPS, group_scores
from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import colour_bar, require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import as_list
from histobench.figures.drawing.style import DIVERGING, DOUBLE, SEQUENTIAL, new_figure
from histobench.figures.drawing.text import count, prose, signed
from histobench.figures.drawing.tissue import Box, Thumbnail, faint, scale_bar
from histobench.files import read_table
from histobench.imaging.slides import image_size
from histobench.imaging.thumbnail import thumbnail

COLUMNS = [
    "slide", "patient", "left", "top", "width", "tumour", "immune", "n_tiles", "scores", "within", "between",
    "n_patients", "difference", "difference_low", "difference_high", "t", "p",
]  # fmt: skip
LIMIT = 2.0
_GENE = "gene."
_LONGEST = 500  # pixels of a slide's picture, which is stored three times
_TEST = ("n_patients", "difference", "difference_low", "difference_high", "t", "p")


def tile_width(table: pd.DataFrame) -> int:
    """Return the width in pixels of tiles that lie side by side: the smallest step between them."""
    steps = [np.diff(np.unique(table[axis])) for axis in ("left", "top")]
    found = np.concatenate(steps)
    return int(found.min()) if found.size else 1


def tidy_maps(
    tiles: Mapping[str, pd.DataFrame],
    slides: pd.DataFrame,
    tests: pd.DataFrame,
    settings: Settings,
) -> pd.DataFrame:
    """Return the two scores of every tile, with what was found of its slide and over all patients.

    Parameters
    ----------
    tiles
        Slide -> table of tiles.
    slides, tests
        Per slide, and per method over patients.
    settings
        ``slides``: see the module.

    Returns
    -------
    pandas.DataFrame
        Columns :data:`COLUMNS`; left, top and width in pixels of the slide, scores in standard deviations of
        a gene over the tiles of the slide. Slides without a score of either group are left out.
    """
    facts = settings.slides
    known = slides.set_index("slide").to_dict("index")
    test = tests[tests["method"] == facts.get("method")]
    blocks = []
    for slide, table in tiles.items():
        genes = [column for column in map(str, table) if column.startswith(_GENE)]
        names = [gene.removeprefix(_GENE) for gene in genes]
        scores = group_scores(table[genes].to_numpy(), names, facts.get("groups") or GROUPS)
        if len(scores) < 2 or slide not in known:
            continue
        block = table[["left", "top"]].assign(
            slide=slide, width=tile_width(table), n_tiles=len(table), **scores
        )
        own = {key: known[slide][key] for key in ("patient", "scores", "within", "between")}
        over = {key: test[key].iloc[0] if len(test) else np.nan for key in _TEST}
        blocks.append(block.assign(**own, **over))
    return pd.concat(blocks, ignore_index=True)[COLUMNS] if blocks else pd.DataFrame(columns=COLUMNS)


def plot_maps(table: pd.DataFrame, pictures: Mapping[str, Thumbnail], settings: Settings) -> Figure:
    """Draw each slide, its tumour score, its immune score and their difference, one slide per row."""
    facts = settings.slides
    slides = list(dict.fromkeys(table["slide"]))
    boxes = {slide: _box(table[table["slide"] == slide]) for slide in slides}
    side = (DOUBLE - 0.9) / 4
    shapes = [(box[3] - box[2]) / (box[1] - box[0]) for box in boxes.values()]
    heights = [side * min(1.6, max(0.35, shape)) for shape in shapes]
    figure = new_figure(DOUBLE, sum(heights) + 0.34 * len(slides) + 1.15)
    grid = figure.subplots(len(slides), 4, squeeze=False, height_ratios=heights)
    drawn: list[Any] = []
    for row, slide in zip(grid, slides, strict=True):
        own, box = table[table["slide"] == slide], boxes[slide]
        parts = (None, own["tumour"], own["immune"], (own["tumour"] - own["immune"]))
        for place, (axes, values) in enumerate(zip(row, parts, strict=True)):
            picture = faint(pictures[slide], box, ink=1.0 if values is None else 0.3, pixels=_LONGEST)
            axes.imshow(picture[0], extent=picture[1], interpolation="antialiased", zorder=0)
            axes.set(xlim=box[:2], ylim=(box[3], box[2]), aspect="equal", anchor="N", xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if values is not None:
                look = DIVERGING if place == 3 else SEQUENTIAL
                drawn.append(_tiles(axes, own, values.to_numpy(float), look))
        row[0].set_title(_short(slide, own), loc="left", fontsize=7, weight="normal", pad=3)
        first = own.iloc[0]
        row[1].set_xlabel(f"r of the two scores {signed(first['scores'])}", fontsize=6.5, labelpad=2)
        pairs = f"pairs: within {signed(first['within'])}, between {signed(first['between'])}"
        row[2].set_xlabel(pairs, fontsize=6.5, labelpad=2)
        um = facts.get("tile_um")
        scale_bar(row[0], box, float(um) / float(own["width"].iloc[0]) if um else float("nan"))
    names = ("tumour score", "immune score", "tumour − immune")
    for column, (name, mesh) in enumerate(zip(names, drawn[:3], strict=True), start=1):
        grid[0, column].set_title(name, pad=3)
        colour_bar(
            figure,
            mesh,
            grid[-1, column],
            "mean z of the genes" if column < 3 else "difference",
            location="bottom",
            fraction=0.05,
            pad=0.03,
            aspect=25,
            extend="both",
        )
    figure.suptitle(_result(table.iloc[0], settings.title(str(facts.get("method", "")))), fontsize=8)
    return figure


def _tiles(axes: Any, own: pd.DataFrame, values: np.ndarray, look: str) -> Any:
    """Draw tiles as one small picture, a pixel per tile; glass stays clear."""
    width = int(own["width"].iloc[0])
    left, top = own["left"].to_numpy(), own["top"].to_numpy()
    column, row = (left - left.min()) // width, (top - top.min()) // width
    picture = np.full((int(row.max()) + 1, int(column.max()) + 1), np.nan)
    picture[row.astype(int), column.astype(int)] = values
    extent = (
        left.min(), left.min() + picture.shape[1] * width, top.min() + picture.shape[0] * width, top.min(),
    )  # fmt: skip
    return axes.imshow(
        picture, extent=extent, cmap=look, vmin=-LIMIT, vmax=LIMIT, interpolation="none", zorder=1, alpha=0.9
    )


def _box(own: pd.DataFrame) -> Box:
    """Return left, right, top, bottom of a slide's tiles with a margin, in pixels."""
    width = float(own["width"].iloc[0])
    return (
        float(own["left"].min() - width),
        float(own["left"].max() + 2 * width),
        float(own["top"].min() - width),
        float(own["top"].max() + 2 * width),
    )


def _short(slide: str, own: pd.DataFrame) -> str:
    return f"{slide}, {count(int(own['n_tiles'].iloc[0]), 'tile')}"


def _result(row: pd.Series, method: str) -> str:
    """Say what the test over patients found."""
    number = count(int(row["n_patients"]), "patient") if row["n_patients"] == row["n_patients"] else ""
    if not number:
        return f"{method}: no test over patients"
    text = f"{method}, all slides of {number}: between minus within {signed(float(row['difference']))}"
    if np.isfinite(row["difference_low"]):
        text += f" [{signed(float(row['difference_low']))}, {signed(float(row['difference_high']))}]"
    return text + (f", p = {row['p']:.2g}" if np.isfinite(row["p"]) else ", no test")


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say whose slides, which genes, and which test."""
    facts = settings.slides
    groups = facts.get("groups") or GROUPS
    slides = count(table["slide"].nunique(), "slide")
    method = settings.title(str(facts.get("method", "")))
    patients = table["n_patients"].iloc[0]
    over = count(int(patients), "patient") if np.isfinite(patients) else "no patient"
    return prose(f"""
        Predicted expression of tumour genes ({", ".join(groups["tumour"])}) and immune genes
        ({", ".join(groups["immune"])}) on {slides} of {facts.get("cohort", "the cohort")}: the first
        slide of each of the first patients, not a choice. A tile's score is the mean z-score, over the
        tiles of the slide, of those genes of a group that {method} predicts; colours end at {LIMIT:.0f}.
        Pairs: mean r over the tiles of gene pairs within one group and between the two. Neighbouring
        tiles are alike, so a single slide has no p. Above: pairs between the groups minus pairs within
        them, averaged over the slides of a patient, with 95 % bootstrap interval over patients (n =
        {over}); p of the two-sided paired t-test over patients (He et al. 2020), for this method alone,
        without correction for other methods.
    """)


def picture(path: str | Path) -> Thumbnail:
    """Return a small RGB version of a slide and its full width and height in pixels, whatever its size."""
    width, height = image_size(path)
    return thumbnail(path, 2 * _LONGEST), width, height


@figure(
    "Tumour and immune genes on slides",
    "tumour",
    inputs={
        "tiles": "{experiment}/external/{slide_cohort}/tiles/{slide_method}/{slide}.parquet",
        "images": "{slide_image}",
        "slides": "{experiment}/external/{slide_cohort}/pseudobulk/{slide_method}/colocation.tsv",
        "tests": "{experiment}/external/{slide_cohort}/tables/slide_colocation.tsv",
    },
    settings=["slides"],
)
def slide_maps(inputs: Inputs, settings: Settings) -> Drawing:
    """Read tiles, slides and tests, and draw the maps."""
    tiles = {path.stem: read_table(path) for path in as_list(inputs["tiles"])}
    pictures = dict(zip(tiles, as_list(inputs["images"]), strict=True))
    table = tidy_maps(tiles, read_table(inputs["slides"]), read_table(inputs["tests"]), settings)
    table = require_rows(table, "the panel lacks genes of the tumour or of the immune group.")
    shown = {slide: picture(pictures[slide]) for slide in dict.fromkeys(table["slide"])}
    return plot_maps(table, shown, settings), table, caption(table, settings)
