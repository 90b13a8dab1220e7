"""What the nuclei of every spot look like, as a table (He et al. 2020, Supp. Fig. 6, Supp. Tables 2, 3)."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from histobench.errors import UserError
from histobench.filelists import files_of, read_lists
from histobench.files import read_results, read_table, reading
from histobench.imaging.nuclei import NUCLEUS_FEATURES, Recipe, describe_nuclei, haematoxylin_image
from histobench.results.catalogue import catalogue
from histobench.results.tables import write

log = logging.getLogger(__name__)

OTSU = "otsu"
# The threshold is found on so many patches of a section at most.
THRESHOLD_PATCHES = 200


def section_threshold(patches: np.ndarray) -> float:
    """Return Otsu's threshold of the haematoxylin images of up to 200 patches, evenly spread."""
    from skimage.filters import threshold_otsu

    histogram = np.zeros(256, np.int64)
    for row in np.unique(np.linspace(0, len(patches) - 1, min(len(patches), THRESHOLD_PATCHES)).astype(int)):
        image = haematoxylin_image(np.asarray(patches[row])[::2, ::2])
        histogram += np.bincount(np.rint(image).astype(np.int64).ravel(), minlength=256)
    if np.count_nonzero(histogram) < 2:
        return float(np.argmax(histogram))
    return float(threshold_otsu(hist=(histogram, np.arange(256)))) + 0.5


def spot_nuclei(patch: np.ndarray, um_per_px: float, recipe: Recipe) -> dict[str, float]:
    """Describe the nuclei of one patch.

    Returns
    -------
    dict
        ``n_nuclei``; ``density`` per mm²; ``area_share`` of the patch that they cover; ``area_sd``;
        ``haematoxylin``, mean optical density over the patch; and the mean of each of
        :data:`histobench.imaging.nuclei.NUCLEUS_FEATURES`, NaN without a nucleus.
    """
    nuclei = describe_nuclei(patch, um_per_px, recipe).astype(np.float64)
    field = patch.shape[0] * patch.shape[1] * um_per_px**2
    stain = np.maximum(haematoxylin_image(patch), 1.0) / 255.0
    means = nuclei.mean(axis=0) if len(nuclei) else np.full(len(NUCLEUS_FEATURES), np.nan)
    return {
        "n_nuclei": float(len(nuclei)),
        "density": 1e6 * len(nuclei) / field,
        "area_share": float(nuclei[:, 0].sum() / field),
        "area_sd": float(nuclei[:, 0].std()) if len(nuclei) > 1 else np.nan,
        "haematoxylin": float(-np.log(stain).mean()),
        **dict(zip(NUCLEUS_FEATURES, means.tolist(), strict=True)),
    }


def write_nuclei(
    patch_lists: Sequence[str | Path],
    h5ad: str | Path,
    output: str | Path,
    *,
    recipe: Mapping[str, Any],
    um_per_px: float | str,
) -> None:
    """Describe the nuclei of every spot of a section.

    Parameters
    ----------
    patch_lists
        Lists (:mod:`histobench.filelists`) with its ``patches``, uint8 (spots, width, width, 3), and their
        ``index``, the spots in that order (column ``spot``).
    h5ad
        The section, which says its patient, and its scale where patches are not resampled.
    output
        Table ``nuclei`` of :mod:`histobench.results.catalogue`.
    recipe
        Fields of :class:`histobench.imaging.nuclei.Recipe`; ``threshold`` may be "otsu", which finds one on
        the section.
    um_per_px
        Scale of the patches, or the name of a rule that keeps that of the section's image ("native").

    Raises
    ------
    UserError
        The section has no scale.
    """
    import pandas as pd

    about = read_results(h5ad)
    scale = float(um_per_px if isinstance(um_per_px, (int, float)) else about.uns.get("um_per_px", np.nan))
    section = str(about.uns.get("section", Path(h5ad).stem))
    files = files_of(read_lists(patch_lists), [section])[section]
    patches, index = files["patches"], files["index"]
    with reading(patches):
        stored = np.load(patches, mmap_mode="r")
    if not np.isfinite(scale) or scale <= 0:
        raise UserError(f"section {section}: nuclei need um/px, which this section lacks; declare um_per_px.")
    settings = dict(recipe)
    if settings.get("threshold") == OTSU:
        settings["threshold"] = section_threshold(stored) if len(stored) else 0.0
    found = Recipe(**settings)
    spots = read_table(index)["spot"].astype(str)
    rows, start = [], time.perf_counter()
    for row in range(len(stored)):
        rows.append(spot_nuclei(np.asarray(stored[row]), scale, found))
        if time.perf_counter() - start > 30:
            start = time.perf_counter()
            log.info("section %s: %d of %d patches", section, row + 1, len(stored))
    entry = catalogue()["nuclei"]
    table = pd.DataFrame(rows, columns=[*entry.column_names[2:]])
    table.insert(0, "spot", spots.to_numpy())
    table.insert(0, "section", section)
    table["n_nuclei"] = table["n_nuclei"].astype(np.int64)
    write(table, output, entry)
