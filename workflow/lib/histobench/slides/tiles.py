"""A trained model on the tiles of a whole-slide image, batch by batch (He et al. 2020, TCGA).

Each tile of tissue is brought to the scale of the training, and the model sees its central field. Memory
holds one batch of tiles and the predictions, whatever the size of the slide.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.cohorts.readers.tcga import UM_PER_PX_20X, slide_tiles
from histobench.errors import UserError
from histobench.files import write_table
from histobench.imaging.patchview import PatchView, window_pixels
from histobench.imaging.slides import open_slide
from histobench.slides.grid import TrainedRun, read_run, stain_function
from histobench.training.contract import SectionData
from histobench.training.entry import load_method, method_class
from histobench.training.run import check_prediction, limit_threads

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

TUMOUR = "tumour_probability"
EMBEDDING = "embedding."
GENE = "gene."
_BATCH = 16


def centre_field(tiles: np.ndarray, um_per_px: float, look: Any) -> np.ndarray:
    """Bring tiles to the scale of a training and keep the central field, uint8 (n, width_px, width_px, 3).

    Parameters
    ----------
    tiles
        uint8, (n, W, W, 3).
    um_per_px
        Their scale.
    look
        ``um_per_px`` and ``width_px`` of the training's patches.

    Raises
    ------
    UserError
        A tile is smaller than the field of the model.
    """
    import cv2

    size = round(tiles.shape[1] * um_per_px / look["um_per_px"])
    width = look["width_px"]
    if size < width:
        raise UserError(
            f"tiles of {tiles.shape[1] * um_per_px:.0f} µm are smaller than the "
            f"{width * look['um_per_px']:.0f} µm that the model looks at; raise options.width_px of "
            "the cohort."
        )
    first = (size - width) // 2
    if size != tiles.shape[1]:
        how = cv2.INTER_AREA if size < tiles.shape[1] else cv2.INTER_LINEAR
        tiles = np.stack([cv2.resize(tile, (size, size), interpolation=how) for tile in tiles])
    return np.ascontiguousarray(tiles[:, first : first + width, first : first + width]).astype(np.uint8)


def predict_tiles(
    model_folder: str | Path,
    slide: str | Path,
    output_parquet: str | Path,
    *,
    um_per_px: float = UM_PER_PX_20X,
    width_px: int = 512,
    max_white: float = 0.5,
    device: str = "auto",
    threads: int = 1,
    batch: int = _BATCH,
) -> None:
    """Predict every tile of tissue of a slide.

    Parameters
    ----------
    model_folder
        See :func:`histobench.slides.grid.read_run`.
    slide
        A slide that OpenSlide opens and that states its scale.
    output_parquet
        One row per tile: left, top (native pixels), white, tumour_probability (where the model has it),
        ``gene.NAME`` for each gene and ``embedding.N`` (where the model has one).
    um_per_px, width_px, max_white
        Of the tiles; those with a larger share of white pixels are left out.
    device, threads, batch
        Where the model runs, and tiles at a time.

    Raises
    ------
    UserError
        The model sees whole sections, a tile is too small for it, the slide is unreadable or has no scale,
        or there is no tissue on it.
    """
    import pandas as pd

    limit_threads(threads)
    run = read_run(model_folder)
    if getattr(method_class(run.entry), "sees_whole_section", False):
        raise UserError(f"{run.folder}: the method sees whole sections, not single tiles; name another one.")
    model: Any = load_method(run.entry, run.params, run.folder)
    with open_slide(slide) as opened:
        stain, doubts = stain_function(opened, run)
    for doubt in doubts:
        log.warning("%s: %s", slide, doubt)
    parts: list[pd.DataFrame] = []
    tiles = slide_tiles(slide, um_per_px=um_per_px, width_px=width_px, max_white=max_white, batch=batch)
    for found in tiles:
        pixels = found.pixels if stain is None else stain(found.pixels)
        table = pd.DataFrame({"left": found.left, "top": found.top, "white": found.white})
        patches = centre_field(pixels, um_per_px, run.image)
        parts.append(_predicted(model, run, patches, table, Path(slide), device))
    if not parts:
        raise UserError(
            f"{slide}: no tile is tissue (each is more than {max_white:.0%} white); leave the slide out "
            "of the manifest."
        )
    table = pd.concat(parts, ignore_index=True)
    log.info("%s: %d tiles of tissue", slide, len(table))
    write_table(table, output_parquet)


def _predicted(
    model: Any, run: TrainedRun, patches: np.ndarray, table: pd.DataFrame, slide: Path, device: str
) -> pd.DataFrame:
    """Add to ``table`` what the model says of its tiles."""
    import pandas as pd

    look, n = run.image, len(patches)
    size = window_pixels(dict(run.window) if run.window else None, look["um_per_px"], look["width_px"], slide)
    vectors = None
    if run.needs.get("features"):
        from histobench.encoders.features import extract_features

        vectors = extract_features(patches, encoder=run.encoder, device=device)
    view = PatchView(patches, np.arange(n), size)
    section = SectionData(
        cohort="",
        section=slide.stem,
        patient="",
        spots=pd.DataFrame(
            {"array_x": np.arange(n), "array_y": 0, "pixel_x": table["left"], "pixel_y": table["top"]},
            dtype=float,
        ),
        um_per_px=look["um_per_px"],
        patches=view if run.needs.get("patches") else None,  # type: ignore[arg-type]
        features=vectors,
    )
    prediction = model.predict(section)
    check_prediction(prediction, n, len(run.genes), slide.name)
    columns = {}
    if prediction.tumour_probability is not None:
        columns[TUMOUR] = np.asarray(prediction.tumour_probability, np.float32)
    columns |= {f"{GENE}{gene}": prediction.expression[:, i] for i, gene in enumerate(run.genes)}
    latent = vectors if prediction.embedding is None else prediction.embedding
    if latent is not None:
        columns |= {f"{EMBEDDING}{i}": np.asarray(latent[:, i], np.float32) for i in range(latent.shape[1])}
    return pd.concat([table, pd.DataFrame(columns)], axis=1)
