"""Cutting one patch per spot into one array per section.

A patch is centred on the spot's pixel position rounded to an integer, its top left is the centre minus half
the width (rounded down), as in He et al. 2020 (ST-Net). Where it leaves the image it is white.
"""

from __future__ import annotations

import functools
import itertools
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from histobench.errors import UserError
from histobench.filelists import write_list
from histobench.files import atomic_path, read_json, write_table
from histobench.imaging.slides import Slide, open_slide
from histobench.imaging.stains import NORMALISED
from histobench.processes import in_turn

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

Image = npt.NDArray[np.uint8]
ColourFunction = Callable[[Image], Image]

#: A pixel whose mean of red, green and blue is above this counts as white (He et al. 2020, Methods).
WHITE_LEVEL = 220
#: A pixel all of whose channels are below this is of no scan: stained tissue lets more light through.
UNSCANNED_LEVEL = 8

_BATCH = 32  # patches held at a time while a file is written: 5 MB at 224 pixels


@dataclass(frozen=True)
class Windows:
    """Where the patches of a section lie in its image, in native pixels; vectors have one value per spot.

    ``crop_px`` is the width of the window in the image, ``width_px`` that of the patch made from it.
    ``margin_px`` is the distance of the (rounded) spot position to the nearest border of the image, negative
    outside; a window lies inside the image if and only if its left and top are not negative and its right
    and bottom do not exceed the image.
    """

    left: npt.NDArray[np.int64]
    top: npt.NDArray[np.int64]
    margin_px: npt.NDArray[np.int64]
    crop_px: int
    width_px: int

    def __len__(self) -> int:
        return len(self.left)


def place_windows(
    width: int,
    height: int,
    pixel_x: npt.ArrayLike,
    pixel_y: npt.ArrayLike,
    width_px: int,
    um_per_px_native: float | None = None,
    um_per_px_target: float | None = None,
) -> Windows:
    """Work out the window of every spot.

    Parameters
    ----------
    width, height
        Size of the image in pixels.
    pixel_x, pixel_y
        Spot positions in the image; rounded to the nearest integer, halves to the even one.
    width_px
        Width and height of the patches.
    um_per_px_native, um_per_px_target
        Scale of the image and of the patches. With a target the window is
        ``round(width_px * target / native)`` pixels wide, so the field is right to half a pixel; without
        one the patch is the window itself.

    Raises
    ------
    UserError
        A position is not a number, or a scale or width is not positive.
    """
    if width_px < 1:
        raise UserError(f"Patches of {width_px} pixels cannot be cut; choose a width_px of at least 1.")
    crop = width_px
    if um_per_px_target is not None:
        if not (um_per_px_native and um_per_px_native > 0 and math.isfinite(um_per_px_native)):
            raise UserError(
                f"The scale of the section is {um_per_px_native} µm per pixel, so its patches cannot be "
                "brought to a common scale; declare um_per_px for it or use native patches."
            )
        if not (um_per_px_target > 0 and math.isfinite(um_per_px_target)):
            raise UserError(
                f"Patches cannot be cut at {um_per_px_target} µm per pixel; give a positive number."
            )
        crop = max(1, round(width_px * um_per_px_target / um_per_px_native))
    x, y = (np.asarray(values, np.float64) for values in (pixel_x, pixel_y))
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"expected one pixel_x and one pixel_y per spot, got {x.shape} and {y.shape}")
    bad = np.flatnonzero(~(np.isfinite(x) & np.isfinite(y)))
    if len(bad):
        raise UserError(
            f"Spot number {bad[0] + 1} has no pixel position; correct or remove it in the spot file."
        )
    column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    margin = np.minimum(np.minimum(column, row), np.minimum(width - column, height - row))
    return Windows(column - crop // 2, row - crop // 2, margin, crop, width_px)


def iter_patches(
    slide: Slide, windows: Windows, stain: ColourFunction | None = None, batch: int = _BATCH
) -> Iterator[tuple[npt.NDArray[np.int64], Image]]:
    """Cut patches in batches: the numbers of some spots (n,), and their patches, uint8 (n, W, W, 3).

    Batches go down the image, so that a slide which is decoded by rows decodes each once. ``stain`` maps
    colours before any resampling, exactly as if the whole section had been mapped. Shrinking averages the
    covered area, enlarging interpolates linearly; neither aliases.
    """
    order = np.argsort(windows.top, kind="stable")
    for start in range(0, len(windows), batch):
        spots = order[start : start + batch]
        slide.expect(windows.top[spots].tolist(), windows.crop_px)
        crops = np.empty((len(spots), windows.crop_px, windows.crop_px, 3), np.uint8)
        for crop, spot in zip(crops, spots, strict=True):
            crop[:] = slide.read_region(
                int(windows.left[spot]), int(windows.top[spot]), windows.crop_px, windows.crop_px
            )
        if stain is not None:
            crops = stain(crops)
        yield spots, _resize(crops, windows.width_px)


def cut_windows(slide: Slide, windows: Windows, stain: ColourFunction | None = None) -> Image:
    """Cut patches into memory, in the order of the windows: uint8 (N, W, W, 3)."""
    patches = np.empty((len(windows), windows.width_px, windows.width_px, 3), np.uint8)
    for spots, batch in iter_patches(slide, windows, stain):
        patches[spots] = batch
    return patches


def _resize(crops: Image, width: int) -> Image:
    if crops.shape[1] == width:
        return crops
    import cv2

    how = cv2.INTER_AREA if crops.shape[1] > width else cv2.INTER_LINEAR
    return np.stack([cv2.resize(crop, (width, width), interpolation=how) for crop in crops]).astype(np.uint8)


def cut_patches(
    slide: Slide,
    pixel_x: npt.ArrayLike,
    pixel_y: npt.ArrayLike,
    width_px: int,
    um_per_px_native: float | None = None,
    um_per_px_target: float | None = None,
    stain: ColourFunction | None = None,
) -> Image:
    """Cut the patches of all spots into memory: uint8 (N, W, W, 3).

    Arguments as in :func:`place_windows` and :func:`iter_patches`; ``stain`` is usually a
    :func:`histobench.imaging.stain.stain_map`.
    """
    windows = place_windows(
        slide.width, slide.height, pixel_x, pixel_y, width_px, um_per_px_native, um_per_px_target
    )
    return cut_windows(slide, windows, stain)


def unscanned(pixels: Image) -> npt.NDArray[np.bool_]:
    """Tell which pixels (... x 3) are black, as no tissue is: nothing was scanned there, or it was masked.

    Corners of a picture that was turned, gaps between stitched fields, frames.
    """
    found: npt.NDArray[np.bool_] = pixels.max(axis=-1) < UNSCANNED_LEVEL
    return found


def white_fraction(patches: Image) -> npt.NDArray[np.float64]:
    """Share of white pixels (mean of RGB above 220, He et al. 2020) of each patch: (N, W, W, 3) to (N,).

    Glass need not be white in a raw image: a dim lamp leaves it grey. Luminosity-standardised patches
    (every stain but "raw") are comparable between sections, raw ones are not.
    """
    total = patches.sum(axis=-1, dtype=np.uint16)
    return (total > 3 * WHITE_LEVEL).mean(axis=(1, 2))


def write_patches(
    image_path: str | Path,
    section_h5ad: str | Path,
    output_npy: str | Path,
    output_tsv: str | Path,
    *,
    stain: str,
    scale: str | float,
    width_px: int,
    stain_json: str | Path | None = None,
    reference_json: str | Path | None = None,
    scale_json: str | Path | None = None,
) -> None:
    """Write the patches of a section (.npy, uint8 N x W x W x 3 in spot order) and their index (.tsv).

    Parameters
    ----------
    image_path, section_h5ad
        The section's image and its AnnData file (obs pixel_x, pixel_y; uns um_per_px,
        image_width, image_height).
    output_npy, output_tsv
        The index has the columns spot, pixel_x, pixel_y, left, top (native pixels), margin_px and
        white_fraction.
    stain
        "raw", or a name of :data:`histobench.imaging.stains.NORMALISED` to normalise from ``stain_json`` (the
        section's fit by that method) to the built-in reference, or to the fit in ``reference_json``.
    scale
        "native", or micrometres per pixel of the patches; not used with ``scale_json``.
    width_px
        Width and height of the patches in pixels.
    scale_json
        File whose ``um_per_px`` is the scale of the patches: that of the sections a model was trained on.

    Raises
    ------
    UserError
        Image and section do not belong together, more than half of the spots lie outside the image, the
        stain parameters are missing or of another method, or the disk is full. Nothing is left behind.
    """
    mapping = _stain_function(stain, stain_json, reference_json)
    if scale_json is not None:
        scale = read_json(scale_json)["um_per_px"]
    target = None if scale == "native" else float(scale)
    spots, facts = _read_spots(Path(section_h5ad))
    with open_slide(image_path) as slide:
        stated = (facts.get("image_width") or slide.width, facts.get("image_height") or slide.height)
        if stated != (slide.width, slide.height):
            raise UserError(
                f"{image_path}: the image has {slide.width} x {slide.height} pixels, but {section_h5ad} was "
                f"made for {stated[0]} x {stated[1]}; use the image that belongs to the section."
            )
        windows = place_windows(
            slide.width,
            slide.height,
            spots["pixel_x"],
            spots["pixel_y"],
            width_px,
            facts.get("um_per_px"),
            target,
        )
        outside = int((windows.margin_px < 0).sum())
        if outside > len(windows) / 2:
            raise UserError(
                f"{section_h5ad}: {outside} of {len(windows)} spots lie outside {image_path}; "
                "use the image in whose pixels the spots are given."
            )
        index = spots.assign(left=windows.left, top=windows.top, margin_px=windows.margin_px)
        shape = (len(windows), width_px, width_px, 3)
        with atomic_path(output_npy) as temporary:
            index["white_fraction"] = _stream(temporary, shape, iter_patches(slide, windows, mapping))
            written = np.load(temporary, mmap_mode="r").shape
            if written != shape:
                raise RuntimeError(f"{output_npy}: {written} was written where {shape} was expected")
            write_table(index.round({"white_fraction": 6}), output_tsv)


def write_section_patches(
    *,
    sections: Sequence[str],
    images: Sequence[str | Path],
    h5ads: Sequence[str | Path],
    output_patches: Sequence[str | Path],
    output_indexes: Sequence[str | Path],
    output_list: str | Path | None = None,
    stains: Sequence[str | Path] | None = None,
    reference: str | Path | None = None,
    scale_json: str | Path | None = None,
    processes: int = 1,
    **settings: Any,
) -> None:
    """Write the patches of several sections, and a list of them.

    Parameters
    ----------
    sections, images, h5ads, output_patches, output_indexes, stains
        Of each section, in the same order: its name and what :func:`write_patches` takes and writes.
    output_list
        A list of ``patches`` and ``index`` (:mod:`histobench.filelists`); None for no list.
    reference, scale_json, settings
        What :func:`write_patches` is told of all.
    processes
        Sections that are cut side by side; they change nothing about the result.

    Raises
    ------
    UserError
        As :func:`write_patches`.
    """
    each = zip(
        images,
        h5ads,
        output_patches,
        output_indexes,
        stains or itertools.repeat(None, len(sections)),
        strict=True,
    )
    cut = functools.partial(_cut_section, reference_json=reference, scale_json=scale_json, **settings)
    in_turn(cut, list(each), processes)
    if output_list is not None:
        pairs = zip(sections, output_patches, output_indexes, strict=True)
        write_list({name: {"patches": cut, "index": index} for name, cut, index in pairs}, output_list)


def _cut_section(files: tuple[Any, ...], **settings: Any) -> None:
    *taken, stain = files
    write_patches(*taken, stain_json=stain, **settings)
    log.info("cut %s", taken[2])


def _stream(
    path: Path, shape: tuple[int, ...], batches: Iterator[tuple[npt.NDArray[np.int64], Image]]
) -> npt.NDArray[np.float64]:
    """Write batches as one .npy file, each patch to its place, and return the white fraction of each.

    Plain writes instead of a memory map: on a full disk they fail with an error that can be explained,
    where touching a mapped page kills the process.
    """
    white = np.empty(shape[0])
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)),
        "fortran_order": False,
        "shape": shape,
    }
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        begin, size = stream.tell(), math.prod(shape[1:])
        for spots, batch in batches:
            for spot, patch in zip(spots.tolist(), batch, strict=True):
                stream.seek(begin + spot * size)
                stream.write(np.ascontiguousarray(patch).data)
            white[spots] = white_fraction(batch)
    return white


def _stain_function(
    stain: str, stain_json: str | Path | None, reference_json: str | Path | None
) -> ColourFunction | None:
    if stain == "raw":
        return None
    if stain not in NORMALISED:
        known = ", ".join(NORMALISED)
        raise UserError(f"Patches cannot be cut with the stain {stain!r}; choose raw, {known}.")
    if stain_json is None:
        raise ValueError(f"stain={stain!r} needs the section's stain_json")
    from histobench.imaging.stain import read_stain, stain_map

    source = read_stain(stain_json)
    if source.method != stain:
        raise UserError(
            f"{stain_json}: the stain was fitted by {source.method}, but {stain} patches are wanted; "
            "fit the stain again."
        )
    return stain_map(source, None if reference_json is None else read_stain(reference_json))


def _read_spots(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Spot names and pixel positions of a section, and its scale and image size; counts are not read."""
    import h5py
    import pandas as pd
    from anndata.io import read_elem

    try:
        with h5py.File(path) as file:
            obs = read_elem(file["obs"])
            uns = {key: read_elem(file["uns"][key]) for key in file["uns"] if key in _FACTS}
    except FileNotFoundError:
        raise UserError(f"{path}: the section file does not exist; make the section first.") from None
    except (OSError, KeyError) as error:
        raise UserError(f"{path}: not a readable section file ({error}); make the section again.") from error
    missing = [name for name in ("pixel_x", "pixel_y") if name not in obs]
    if missing:
        raise UserError(f"{path}: obs lacks the column {missing[0]}; make the section again.")
    spots = pd.DataFrame(
        {
            "spot": obs.index.astype(str),
            "pixel_x": obs["pixel_x"].to_numpy(np.float64),
            "pixel_y": obs["pixel_y"].to_numpy(np.float64),
        }
    )
    return spots, {key: _FACTS[key](value) for key, value in uns.items()}


_FACTS: dict[str, Callable[[Any], Any]] = {"um_per_px": float, "image_width": int, "image_height": int}
