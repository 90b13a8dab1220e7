"""Stain normalisation: luminosity standardisation and Vahadane (or Macenko), as StainTools defines them.

Given a section's few numbers (:class:`StainFit`), normalisation maps every pixel by its colour alone:
CIELAB lightness divided by its 95th percentile; optical densities; non-negative concentrations of two
stains; each rescaled so that its 99th percentile matches the target's; recomposed with the target's stain
vectors. So the numbers are found from the exact colour histogram, and the mapping is a look-up table that
serves a whole section, a band of it or single patches with equal pixels.

For given stain vectors every pixel equals StainTools' (LuminosityStandardizer, then StainNormalizer); the
vectors themselves come from the converged optimum of the same objective (see ``dictionary``), or from
StainTools itself (see ``staintools_fit``).
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from histobench.errors import UserError
from histobench.files import atomic_path, read_json, write_json
from histobench.imaging.colours import ColourHistogram, ColourMap, weighted_percentile
from histobench.imaging.dictionary import (
    concentrations,
    degrees_between,
    fit_dictionary,
    haematoxylin_first,
)
from histobench.imaging.patches import unscanned
from histobench.imaging.slides import ArraySlide, Slide, open_slide
from histobench.imaging.stain_fit import StainFit
from histobench.imaging.stains import NORMALISED, split_name
from histobench.imaging.staintools_fit import require_staintools, staintools_vectors
from histobench.processes import in_turn

log = logging.getLogger(__name__)

__all__ = [
    "StainFit",
    "fit_colours",
    "fit_stain",
    "normalise",
    "preview",
    "read_stain",
    "stain_map",
    "write_stain",
    "write_stains",
]

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

LUMINOSITY_PERCENTILE = 95.0  # lightness at this percentile becomes white
CONCENTRATION_PERCENTILE = 99.0
_UNSCANNED_SHARE = 0.005  # share of black pixels above which they are areas
TISSUE_LUMINOSITY = 0.8  # tissue is darker than this share of full lightness

# When a fit is doubtful. Converged fits of normal sections have 10 to 30 degrees between the stains and
# both atoms more than 10 degrees from grey.
SMALL_SEPARATION_DEGREES = 5.0
GREY_ATOM_DEGREES = 5.0
LITTLE_TISSUE_SHARE = 0.01

_GREY = np.full(3, 1 / np.sqrt(3))


def _lightness(rgb: Image) -> npt.NDArray[np.uint8]:
    """Lightness (0 to 255) of colours, n x 3 to n, with OpenCV's 8-bit CIELAB."""
    import cv2

    return np.ascontiguousarray(cv2.cvtColor(rgb[:, None, :], cv2.COLOR_RGB2LAB)[:, 0, 0])


def _standardise(rgb: Image, percentile: float) -> Image:
    """Divide lightness by its percentile and clip, as StainTools' LuminosityStandardizer; n x 3."""
    import cv2

    if percentile <= 0.0:  # more than 95 % of the image is pure black: nothing to divide by
        return rgb
    lab = cv2.cvtColor(rgb[:, None, :], cv2.COLOR_RGB2LAB)
    lab[:, :, 0] = np.clip(255 * lab[:, :, 0].astype(float) / percentile, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)[:, 0, :], np.uint8)


def _optical_densities(rgb: Image) -> Floats:
    """Optical density by the natural logarithm; 0 counts as 1, and white as 1e-6, as in StainTools."""
    levels = np.maximum(np.arange(256), 1)
    return np.maximum(-1 * np.log(levels / 255), 1e-6)[rgb]


def _macenko(od: Floats, weights: npt.NDArray[np.int64]) -> Floats | None:
    """Stain vectors of Macenko et al. 2009 (unit rows, haematoxylin first); None if colours do not vary."""
    if len(od) < 2 or weights.sum() < 2:
        return None
    covariance = np.cov(od, rowvar=False, fweights=weights)
    if not covariance.trace() > 1e-12:
        return None
    vectors = np.linalg.eigh(covariance)[1][:, [2, 1]]
    vectors = vectors * np.where(vectors[0] < 0, -1.0, 1.0)
    plane = od @ vectors
    angle = np.arctan2(plane[:, 1], plane[:, 0])
    extremes = [weighted_percentile(angle, weights, q) for q in (1.0, 99.0)]
    pair = np.array([vectors @ np.array([np.cos(a), np.sin(a)]) for a in extremes])
    ordered = pair if pair[0, 0] > pair[1, 0] else pair[::-1]
    return ordered / np.linalg.norm(ordered, axis=1, keepdims=True)


def fit_stain(image: Image | Slide, method: str = "vahadane") -> StainFit:
    """Find the stain of a section.

    Parameters
    ----------
    image
        RGB bytes, height x width x 3, or an open slide, which is read band by band.
    method
        "vahadane" (converged dictionary learning) or "macenko" (angular percentiles); with the ending
        "_staintools", vectors are those that StainTools finds, which reads the whole image into memory.

    Returns
    -------
    StainFit
        Deterministic but for StainTools: the same pixels give the same bits. Doubtful fits carry flags.

    Raises
    ------
    UserError
        StainTools is asked for and missing, or the image is too large for it.
    """
    if method not in NORMALISED:
        raise ValueError(f"unknown stain method {method!r}")
    if split_name(method)[1] == "staintools":
        require_staintools(f"stain {method}")  # before the image is read
    histogram = ColourHistogram()
    slide = image if isinstance(image, Slide) else ArraySlide(image)
    for _, band in slide.bands():
        histogram.add(band)
    vectors = None
    if split_name(method)[1] == "staintools":

        def find(percentile: float) -> Floats:
            bands = [
                _standardise(band.reshape(-1, 3), percentile).reshape(band.shape) for _, band in slide.bands()
            ]
            return staintools_vectors(np.concatenate(bands), split_name(method)[0])

        vectors = find
    return fit_colours(*histogram.distinct(), method=method, vectors=vectors)


def fit_colours(
    rgb: Image,
    counts: npt.NDArray[np.int64],
    method: str = "vahadane",
    vectors: Callable[[float], Floats] | None = None,
) -> StainFit:
    """Find the stain from the distinct colours (n x 3) of a section and their numbers of pixels (n).

    ``vectors`` finds the stain vectors (2 x 3) elsewhere, given the percentile of lightness; it is asked
    where there are stains to find.
    """
    flags = []
    black = unscanned(rgb)
    # single dark pixels are of the picture, and leaving them out would change the digits of every fit
    if vectors is None and not black.all() and counts[black].sum() > _UNSCANNED_SHARE * counts.sum():
        rgb, counts, flags = rgb[~black], counts[~black], ["unscanned"]
    percentile = weighted_percentile(_lightness(rgb).astype(float), counts, LUMINOSITY_PERCENTILE)
    standard = _standardise(rgb, percentile)
    od = _optical_densities(standard)
    tissue = _lightness(standard) / 255.0 < TISSUE_LUMINOSITY
    tissue_share = float(counts[tissue].sum() / counts.sum())
    start = _macenko(od[tissue], counts[tissue])
    if start is None:
        reference = StainFit.reference()
        return StainFit(
            stain_matrix=reference.stain_matrix,
            max_concentrations=reference.max_concentrations,
            luminosity_percentile=percentile,
            tissue_share=tissue_share,
            separation_degrees=reference.separation_degrees,
            flags=("single_colour" if tissue_share > 0 else "no_tissue", *flags),
            n_colours=len(rgb),
            objective=float("nan"),
            method=method,
        )
    flags += ["little_tissue"] if tissue_share < LITTLE_TISSUE_SHARE else []
    matrix, objective = start, float("nan")
    if vectors is not None:
        matrix = vectors(percentile)
    elif method == "vahadane":
        fit = fit_dictionary(od[tissue], counts[tissue], _usable_start(start))
        matrix, objective = fit.atoms, fit.objective
        if fit.n_optima > 1:
            flags.append("multiple_optima")
    separation = degrees_between(matrix[0], matrix[1])
    amounts = concentrations(od, matrix)
    maxima = np.array([weighted_percentile(amounts[:, j], counts, CONCENTRATION_PERCENTILE) for j in (0, 1)])
    if min(degrees_between(atom, _GREY) for atom in matrix) < GREY_ATOM_DEGREES:
        flags.append("grey_atom")
    if separation < SMALL_SEPARATION_DEGREES:
        flags.append("small_separation")
    if (maxima <= 0).any():
        flags.append("unused_stain")
    return StainFit(
        matrix, maxima, percentile, tissue_share, separation, tuple(flags), len(rgb), objective, method
    )


def _usable_start(start: Floats) -> Floats:
    """Macenko vectors moved into the non-negative octant; the reference where nothing is left of one."""
    clipped = np.maximum(start, 0.0)
    if (np.linalg.norm(clipped, axis=1) < 1e-6).any():
        return StainFit.reference().stain_matrix
    return haematoxylin_first(clipped)


def stain_map(source: StainFit, target: StainFit | None = None) -> ColourMap:
    """Return the function that normalises images of a section: apply it to patches, bands or the whole.

    Parameters
    ----------
    source
        The section's own fit.
    target
        What its stain shall become; the built-in reference by default.
    """
    goal = target or StainFit.reference()
    # A stain that is absent from 99 % of the pixels cannot be rescaled; its few traces stay as they are.
    present = source.max_concentrations > 0
    ratio = np.where(present, goal.max_concentrations / np.where(present, source.max_concentrations, 1), 1.0)

    def normalise_colours(rgb: Image) -> Image:
        od = _optical_densities(_standardise(rgb, source.luminosity_percentile))
        amounts = concentrations(od, source.stain_matrix)
        amounts *= ratio
        mapped = 255 * np.exp(-1 * np.dot(amounts, goal.stain_matrix))
        # Macenko vectors may have a negative component, which would overflow a byte.
        return np.minimum(mapped, 255).astype(np.uint8)

    return ColourMap(normalise_colours)


def normalise(image: Image, source: StainFit, target: StainFit | None = None) -> Image:
    """Normalise an image (any shape ending in RGB bytes) from the stain ``source`` to ``target``.

    To normalise many patches of one section, keep one :func:`stain_map` and call that.
    """
    return stain_map(source, target)(image)


def preview(
    image: Image | Slide, source: StainFit, target: StainFit | None = None, *, width: int = 1200
) -> Image:
    """Before and after side by side, every full-resolution pixel normalised and then averaged down.

    Returns
    -------
    array
        RGB bytes, at most ``width`` wide, with a white gap in the middle.
    """
    import cv2

    gap = 8
    slide = image if isinstance(image, Slide) else ArraySlide(image)
    factor = max(1, math.ceil(slide.width / ((width - gap) // 2)))
    small = (slide.width // factor, slide.height // factor)
    mapping = stain_map(source, target)
    before, after = np.full((2, max(small[1], 1), max(small[0], 1), 3), 255, np.uint8)
    for top, band in slide.bands(rows=factor * math.ceil(512 / factor)):
        rows = min(len(band) // factor, small[1] - top // factor)
        if rows < 1 or small[0] < 1:
            continue  # fewer rows or columns than one averaged pixel
        whole = np.ascontiguousarray(band[: rows * factor, : small[0] * factor])
        for picture, pixels in ((before, whole), (after, mapping(whole))):
            size = (small[0], rows)
            picture[top // factor : top // factor + rows] = cv2.resize(
                pixels, size, interpolation=cv2.INTER_AREA
            )
    return np.concatenate([before, np.full((len(before), gap, 3), 255, np.uint8), after], axis=1)


def write_stains(
    images: Sequence[str | Path],
    json_paths: Sequence[str | Path],
    preview_paths: Sequence[str | Path],
    sections: Sequence[str],
    *,
    method: str = "vahadane",
    processes: int = 1,
) -> None:
    """Fit the stains of several sections, each as :func:`write_stain` does, a few of them side by side."""
    each = zip(images, json_paths, preview_paths, sections, strict=True)
    in_turn(functools.partial(_fit_section, method=method), list(each), processes)


def _fit_section(files: tuple[Any, ...], method: str) -> None:
    write_stain(*files, method=method)
    log.info("section %s", files[3])


def write_stain(
    image_path: str | Path,
    json_path: str | Path,
    preview_path: str | Path,
    section: str,
    *,
    method: str = "vahadane",
    reference_json: str | Path | None = None,
) -> None:
    """Fit the stain of a section's image; write its numbers (JSON) and a before/after preview (PNG).

    ``reference_json`` names another section's fit to use as the preview's target instead of the built-in
    reference.
    """
    import imagecodecs

    with open_slide(image_path) as slide:
        fit = fit_stain(slide, method)
        target = None if reference_json is None else read_stain(reference_json)
        picture = preview(slide, fit, target)
    with atomic_path(preview_path) as temporary:
        temporary.write_bytes(imagecodecs.png_encode(picture))
    write_json({"section": section, **fit.to_dict()}, json_path)


def read_stain(path: str | Path) -> StainFit:
    """Read the numbers written by :func:`write_stain`.

    Raises
    ------
    UserError
        The file is missing or not such a document.
    """
    try:
        return StainFit.from_dict(read_json(path))
    except FileNotFoundError:
        raise UserError(f"{path}: there are no stain parameters; fit the section's stain first.") from None
    except ValueError as error:
        raise UserError(f"{path}: not a JSON document ({error}); fit the stain again.") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
