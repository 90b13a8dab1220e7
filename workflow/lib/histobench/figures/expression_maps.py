"""Measured and predicted expression on the tissue, side by side on one colour scale.

Inputs: ``predictions`` (per method the prediction .h5ad of one section, or the folder that holds it),
optionally ``image`` (the section's image, drawn faintly below). Settings: ``section`` (which file of the
folders), ``genes`` (names; by default the fixed marker genes that are in the panel, filled up by mean
expression), ``n_genes`` (rows, default 4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from histobench.errors import UserError
from histobench.figures.style import (
    DOUBLE,
    SEQUENTIAL,
    empty_figure,
    method_order,
    method_style,
    method_title,
    new_figure,
    styled,
)
from histobench.figures.text import count, transform_text

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

FIGURE = {
    "title": "Measured and predicted expression on the tissue",
    "group": "maps",
    "inputs": {"predictions": "results/{experiment}/predictions/{map_method}/{map_fold}"},
    "optional": {"image": "{map_image}"},
    "when": ["map_section"],
    "settings": ["section", "genes"],
}

MARKER_GENES = ("GNAS", "ACTG1", "FASN", "DDX5", "XBP1", "ERBB2")
TRUTH = "measured"
_THUMBNAIL_PX = 900
_PANEL_PX = 240
_INK = 0.45
_LARGEST_PX = 60_000_000
# Beyond this many discs they are stored as pixels inside the vector file.
_MOST_DISCS = 6000


def choose_genes(
    panel: Sequence[str], mean_truth: np.ndarray, wanted: Sequence[str], number: int
) -> list[str]:
    """Return the genes to draw: those wanted and in the panel, else the highest means; at most ``number``."""
    known = set(panel)
    chosen = [gene for gene in wanted if gene in known]
    by_mean = [panel[place] for place in mean_truth.argsort(kind="stable")[::-1]]
    return list(dict.fromkeys([*chosen, *by_mean]))[:number]


def tidy_maps(paths: Sequence[str | Path], settings: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Return section, gene, source, spot, pixel_x, pixel_y, value; source is "measured" or a method.

    The truth is taken once, from the first file; every other file must have the same spots.

    Raises
    ------
    UserError
        Files of different sections or spots are mixed.
    """
    import anndata
    import numpy as np
    import pandas as pd

    settings = settings or {}
    frames: list[pd.DataFrame] = []
    first: Any = None
    genes: list[str] = []
    for path in paths:
        data = anndata.read_h5ad(path)
        if first is None:
            first = data
            truth = np.asarray(data.layers["truth"], dtype=float)
            wanted = list(settings.get("genes") or MARKER_GENES)
            panel = list(map(str, data.var_names))
            with np.errstate(invalid="ignore"):
                genes = choose_genes(
                    panel, np.nan_to_num(truth).mean(axis=0), wanted, int(settings.get("n_genes", 4))
                )
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
    import numpy as np
    import pandas as pd

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


def spot_pitch(positions: np.ndarray) -> float:
    """Return the median distance of a spot to its nearest neighbour, in pixels; 1.0 for a single spot."""
    import numpy as np
    from scipy.spatial import cKDTree

    if len(positions) < 2:
        return 1.0
    distances = cKDTree(positions).query(positions, k=2)[0][:, 1]
    return float(np.median(distances)) or 1.0


def thumbnail(path: str | Path) -> tuple[np.ndarray, int, int] | None:
    """Return a small RGB version of an image and its full width and height in pixels.

    A JPEG is decoded at an eighth of its size, so a section of 10,000 px takes a fraction of a second. Other
    formats cannot be: a whole slide in one of them gives None, and the map has no tissue below it.
    """
    import numpy as np
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # whole sections are larger than Pillow's guard against archive bombs
    with Image.open(path) as image:
        width, height = image.size
        if image.format != "JPEG" and width * height > _LARGEST_PX:
            return None
        image.draft("RGB", (_THUMBNAIL_PX, _THUMBNAIL_PX))
        small = image.convert("RGB")
        small.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    return np.asarray(small), width, height


@styled
def plot_maps(
    table: pd.DataFrame,
    settings: Mapping[str, Any] | None = None,
    image: tuple[np.ndarray, int, int] | None = None,
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
    settings = settings or {}
    if table.empty:
        return empty_figure("No section has been predicted.")
    genes = list(dict.fromkeys(table["gene"]))
    methods = method_order([source for source in table["source"].unique() if source != TRUTH], settings)
    sources = [TRUTH, *methods]
    box = _extent(table)
    panel = min(1.75, (DOUBLE - 0.9) / len(sources))
    height = panel * (box[3] - box[2]) / (box[1] - box[0])
    figure = new_figure(0.9 + panel * len(sources), (height + 0.08) * len(genes) + 0.6)
    grid = figure.subplots(len(genes), len(sources), squeeze=False)
    tissue = _faint(image, box) if image is not None else None
    discs = []
    for row, gene in enumerate(genes):
        of_gene = table[table["gene"] == gene]
        limits = _limits(of_gene)
        for axes, source in zip(grid[row], sources, strict=True):
            spots = of_gene[of_gene["source"] == source]
            discs.append(_panel(axes, spots, box, limits, tissue, len(table) > _MOST_DISCS))
            if row == 0:
                colour = "#222222" if source == TRUTH else method_style(source, settings).colour
                axes.set_title(
                    TRUTH if source == TRUTH else method_title(source, settings), color=colour, pad=3
                )
        grid[row, 0].set_ylabel(gene, style="italic", weight="bold")
        bar = figure.colorbar(
            discs[-1], ax=list(grid[row]), fraction=0.03, pad=0.01, aspect=14, extend="both"
        )
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=6.5, length=2)
    _scale_bar(grid[-1, 0], box, float(table.attrs.get("um_per_px", float("nan"))))
    figure.supxlabel(f"expression, {transform_text(settings) or 'scale of the targets'}", fontsize=8)
    _size_discs(figure, discs, 0.92 * spot_pitch(spots[["pixel_x", "pixel_y"]].to_numpy(float)))
    return figure


def _limits(of_gene: pd.DataFrame) -> tuple[float, float]:
    """Return the colour limits of a gene, which single extreme values do not stretch."""
    measured = of_gene.loc[of_gene["source"] == TRUTH, "value"]
    predicted = of_gene.loc[of_gene["source"] != TRUTH, "value"]
    low = min([float(measured.quantile(0.02)), *predicted.quantile([0.02]).dropna()])
    high = max([float(measured.quantile(0.98)), *predicted.quantile([0.98]).dropna()])
    return (low, high) if high > low else (low, low + 1.0)


def _extent(table: pd.DataFrame) -> tuple[float, float, float, float]:
    """Return left, right, top, bottom in pixels: the spots with one pitch around them."""
    spots = table.drop_duplicates("spot")
    pitch = spot_pitch(spots[["pixel_x", "pixel_y"]].to_numpy(float))
    return (
        float(spots["pixel_x"].min() - pitch),
        float(spots["pixel_x"].max() + pitch),
        float(spots["pixel_y"].min() - pitch),
        float(spots["pixel_y"].max() + pitch),
    )


def _panel(
    axes: Any,
    spots: pd.DataFrame,
    box: tuple[float, float, float, float],
    limits: tuple[float, float],
    tissue: tuple[np.ndarray, tuple[float, float, float, float]] | None,
    rasterized: bool,
) -> Any:
    """Draw the spots of one gene and source; y runs downwards as in the image."""
    if tissue is not None:
        axes.imshow(tissue[0], extent=tissue[1], interpolation="none", zorder=0)
    axes.set(xlim=box[:2], ylim=(box[3], box[2]), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes.scatter(
        spots["pixel_x"],
        spots["pixel_y"],
        c=spots["value"],
        cmap=SEQUENTIAL,
        vmin=limits[0],
        vmax=limits[1],
        linewidths=0,
        plotnonfinite=True,
        rasterized=rasterized,
    )


def _faint(
    image: tuple[np.ndarray, int, int], box: tuple[float, float, float, float]
) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """Return a thumbnail inside the box, washed out, and where it lies (left, right, bottom, top).

    It is stored once per panel, so it is as small as a panel in print, and coarse in colour to compress well.
    """
    import numpy as np
    from PIL import Image

    pixels, width, height = image
    across, down = pixels.shape[1] / width, pixels.shape[0] / height
    left, right = max(0, int(box[0] * across)), min(pixels.shape[1], int(np.ceil(box[1] * across)))
    top, bottom = max(0, int(box[2] * down)), min(pixels.shape[0], int(np.ceil(box[3] * down)))
    if right <= left or bottom <= top:
        return np.full((1, 1, 3), 255, np.uint8), (box[0], box[1], box[3], box[2])
    part = Image.fromarray(pixels[top:bottom, left:right])
    part.thumbnail((_PANEL_PX, _PANEL_PX))
    washed = 255 - _INK * (255 - np.asarray(part, dtype=float))
    coarse = (np.round(washed / 5) * 5).astype(np.uint8)
    return coarse, (left / across, right / across, bottom / down, top / down)


def _size_discs(figure: Figure, discs: Sequence[Any], diameter: float) -> None:
    """Give every disc a diameter in pixels of the image, which is known in points only after layout.

    Markers of one size are stored once in an SVG; shapes in data units would make it twenty times larger.
    """
    figure.draw_without_rendering()
    for drawn in discs:
        to_screen = drawn.axes.transData.transform
        across = to_screen((diameter, 0))[0] - to_screen((0, 0))[0]
        drawn.set_sizes([(across * 72 / figure.dpi) ** 2])


def _scale_bar(axes: Any, box: tuple[float, float, float, float], um_per_px: float) -> None:
    """Draw 1 mm below the first panel of the last row, where the scale is known."""
    if not um_per_px > 0 or (length := 1000 / um_per_px) > box[1] - box[0]:
        return
    y = box[3] + 0.02 * (box[3] - box[2])
    axes.plot([box[0], box[0] + length], [y, y], color="#222222", lw=2, clip_on=False, solid_capstyle="butt")
    axes.annotate(
        "1 mm", (box[0] + length, y), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7,
        annotation_clip=False,
    )  # fmt: skip


def caption(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> str:
    """Say which section and genes are drawn, on which scale."""
    settings = settings or {}
    if table.empty:
        return "No section has been predicted."
    sections = ", ".join(dict.fromkeys(table["section"]))
    spots = count(table["spot"].nunique(), "spot")
    chosen = (
        "as configured"
        if settings.get("genes")
        else "fixed marker genes of the panel, then the highest means"
    )
    return (
        f"Measured and predicted expression of section {sections} (n = {spots}), which was held out of "
        "training. "
        f"Each row is one gene ({chosen}) on one colour scale for truth and predictions, so that a smooth "
        "prediction "
        "looks smooth; colours end at the 2nd and 98th percentile; scale: "
        f"{transform_text(settings) or 'that of the targets'}. Discs are drawn at the spot "
        "positions in the image with the diameter of the grid pitch. An illustration; no test."
    )


def draw(inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """Read the predictions of one section and draw them."""
    paths = inputs["predictions"]
    paths = [Path(path) for path in ([paths] if isinstance(paths, (str, Path)) else paths)]
    paths = [path / f"{settings['section']}.h5ad" if path.is_dir() else path for path in paths]
    table = tidy_maps(paths, settings)
    image = inputs.get("image")
    if isinstance(image, (list, tuple)):
        image = image[0] if image else None
    return plot_maps(table, settings, thumbnail(image) if image else None), table
