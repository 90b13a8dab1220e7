"""Prediction for a slide that belongs to no cohort: tissue, a grid of patches, a trained model.

Glass is what He et al. 2020 call glass: a position whose patch is mostly pixels with a mean of red, green
and blue above 220, but after the brightness of the lamp is divided out, because many scans have grey glass.
Patches are cut at the scale and with the stain handling of the training, into a file that is mapped into
memory; so the slide may be of any size.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.errors import UserError
from histobench.files import check_seal, read_json
from histobench.imaging.contrast import glass, refuse_blank, remarks
from histobench.imaging.patches import ColourFunction, Windows, iter_patches, place_windows, unscanned
from histobench.imaging.patchview import PatchView, window_pixels
from histobench.imaging.scale import (
    DECLARED_TOLERANCE,
    LONGEST_MM,
    PLAUSIBLE_UM,
    implausible_text,
    too_long_text,
)
from histobench.imaging.slides import Slide, open_slide
from histobench.imaging.thumbnail import thumbnail
from histobench.training.card import terms_in_words
from histobench.training.contract import Prediction, SectionData
from histobench.training.entry import load_method
from histobench.training.run import check_prediction, limit_threads
from histobench.training.store import WEIGHTS

if TYPE_CHECKING:
    import anndata
    import pandas as pd

    from histobench.imaging.statements import ScaleStatements

PITCH_UM = 100.0
_GRID = "square"  # that is laid over a slide, whatever array the model was trained on
MAX_WHITE = 0.75  # more than the half of He et al. 2020, which loses pale stroma and fat
_OVERVIEW_PX = 2000
_CHUNK = 256  # patches predicted at a time, for the progress bar


@dataclass(frozen=True)
class TrainedRun:
    """What a trained model says of itself in ``run.json``.

    ``image`` holds stain, stain_reference ("cohort/section" or None), width_px and um_per_px of the patches.
    """

    folder: Path
    entry: str
    params: Mapping[str, Any]
    needs: Mapping[str, Any]
    genes: tuple[str, ...]
    window: Mapping[str, float] | None
    weights: str
    image: Mapping[str, Any]
    encoder: Mapping[str, Any]
    facts: Mapping[str, Any] = field(repr=False)


def read_run(folder: str | Path) -> TrainedRun:
    """Read a model folder, ``results/EXPERIMENT/models/METHOD/FOLD``.

    Raises
    ------
    UserError
        It is no such folder, or the method does not predict from images alone.
    """
    folder = Path(folder)
    path = folder / "run.json"
    if path.is_file() and not (folder / WEIGHTS).is_file():
        raise UserError(
            f"{folder}: the weights of this model were not kept; train it again with `snakemake --cores 2 "
            f"{folder / WEIGHTS}` and the configuration of the run, or name a model that is kept (`keep`)."
        )
    if not path.is_file():
        raise UserError(
            f"{folder}: no trained model; name a folder with {WEIGHTS} and run.json "
            "(results/EXPERIMENT/models/METHOD/FOLD)."
        )
    check_seal(path, required=False)
    try:
        facts = read_json(path)
    except ValueError as error:  # no JSON, or no text
        raise UserError(f"{path}: no valid JSON; train the model again.") from error
    lacking = [key for key in ("entry", "params", "needs", "genes", "image", "weights") if key not in facts]
    if lacking:
        raise UserError(f"{path}: says nothing of {lacking[0]}; train the model again with this version.")
    needs = facts["needs"]
    if needs.get("oracle") or not (needs.get("patches") or needs.get("features")):
        what = "sees the truth of what it predicts" if needs.get("oracle") else "does not look at images"
        raise UserError(f"{folder}: {facts.get('method')} {what}; name the folder of another method.")
    return TrainedRun(
        folder=folder,
        entry=facts["entry"],
        params=facts["params"],
        needs=needs,
        genes=tuple(facts["genes"]),
        window=facts.get("window"),
        weights=facts["weights"],
        image=facts["image"],
        encoder=_encoder(facts, folder),
        facts=facts,
    )


def _encoder(facts: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the recipe of the features that a model was trained on; older records name a network.

    The weights of the recipe are looked for where the run kept them, from here or from the model's folder
    upwards, and must be those of the training.
    """
    from histobench.encoders.registry import torchvision_recipe

    name = facts["needs"].get("features")
    if facts.get("encoder") or not name:
        recipe = dict(facts.get("encoder") or {})
        if file := recipe.get("file"):
            known = (facts.get("published_weights") or {}).get(file, {}).get("sha256")
            places = (base / file for base in (Path(), *folder.resolve().parents))
            recipe["file"] = str(next((place for place in places if place.is_file()), file))
            recipe["weights"] = {**(recipe.get("weights") or {}), **({"sha256": known} if known else {})}
        return recipe
    return torchvision_recipe(name, pretrained=facts["weights"] == "imagenet")


def slide_um_per_px(slide: Slide, path: str | Path, given: float | None) -> tuple[float, str]:
    """Return micrometres per pixel of a slide and who says so.

    The source is "given", or where the file says it, in words; a magnification is no scale, and what is
    assumed from one is called so.

    Raises
    ------
    UserError
        Nobody says it, the file says several, it is implausible, or file and user contradict each other by
        more than 5 %.
    """
    from histobench.imaging.statements import scale_statements

    said, pixels = scale_statements(path), max(slide.width, slide.height)
    if given is not None:
        scale, source = given, "given"
        if wrong := implausible_text(scale, *PLAUSIBLE_UM):
            raise UserError(f"{path}: --um-per-px is {wrong}; give the right --um-per-px.")
        believable = [
            stated
            for stated in said.scales
            if not _differ(stated.um_per_px_x, stated.um_per_px_y)
            and pixels * stated.um_per_px / 1000 <= LONGEST_MM
        ]
        if believable and all(_differ(stated.um_per_px, given) for stated in believable):
            states = " and ".join(map(str, believable))
            raise UserError(
                f"{path}: --um-per-px is {given:g}, but the file states {states}; leave --um-per-px out, or "
                "correct it."
            )
    else:
        scale, source = _stated_um_per_px(said, path)
    if wrong := too_long_text(scale, slide.width, slide.height):
        raise UserError(f"{path}: {wrong} ({source}); give the right --um-per-px.")
    return scale, source


def _stated_um_per_px(said: ScaleStatements, path: str | Path) -> tuple[float, str]:
    """Return the file's own scale, or what is assumed from its magnification, and its source in words."""
    if said.scales:
        first = said.scales[0]
        if _differ(first.um_per_px_x, first.um_per_px_y):
            raise UserError(
                f"{path}: the file states {first}, so its pixels are not square; resample the image, or give "
                "--um-per-px where the statement is wrong."
            )
        other = next((scale for scale in said.scales if _differ(scale.um_per_px, first.um_per_px)), None)
        if other is not None:
            raise UserError(
                f"{path}: the file states both {first} and {other}; say with --um-per-px which is right."
            )
        return first.um_per_px, first.source
    if said.assumed_um_per_px is not None:
        return said.assumed_um_per_px, f"assumed from a magnification of {said.magnification:g}x"
    why = f" (it states {'; '.join(said.ignored)})" if said.ignored else ""
    raise UserError(
        f"{path}: the image does not say its scale{why}; give micrometres per pixel with --um-per-px "
        "(a scan at 20x has about 0.5, at 40x about 0.25)."
    )


def _differ(one: float, other: float) -> bool:
    return abs(one / other - 1) > DECLARED_TOLERANCE


def grid_spots(width: int, height: int, um_per_px: float, pitch_um: float, field_um: float) -> pd.DataFrame:
    """Lay a square grid over an image: array_x, array_y, pixel_x, pixel_y of every position.

    A position lies at least half a patch (``field_um`` micrometres wide) from the border.
    """
    import pandas as pd

    pitch, half = pitch_um / um_per_px, field_um / um_per_px / 2
    axes = []
    for size in (width, height):
        number = max(0, math.floor((size - 2 * half) / pitch) + 1)
        first = (size - (number - 1) * pitch) / 2  # the same margin on both sides
        axes.append(first + pitch * np.arange(number))
    grid = np.meshgrid(np.arange(len(axes[0])), np.arange(len(axes[1])))
    column, row = (axis.ravel() for axis in grid)
    spots = pd.DataFrame(
        {"array_x": column, "array_y": row, "pixel_x": axes[0][column], "pixel_y": axes[1][row]}, dtype=float
    )
    spots.index = pd.Index([f"{x}x{y}" for x, y in zip(column, row, strict=True)], dtype=object, name="spot")
    return spots


def white_around(
    overview: np.ndarray, spots: pd.DataFrame, size: tuple[int, int], width: float
) -> np.ndarray:
    """Share of glass in the window around every position, judged on a small picture of the slide; (n,).

    What is black counts as glass, as nothing was scanned there. ``size`` is that of the full image and
    ``width`` that of the window, in pixels of the full image.
    """
    shrink = size[0] / overview.shape[1], size[1] / overview.shape[0]
    white = glass(overview) | unscanned(overview)
    summed = np.zeros((white.shape[0] + 1, white.shape[1] + 1))
    summed[1:, 1:] = white.cumsum(axis=0).cumsum(axis=1)

    def edges(centre: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
        length = white.shape[1 - axis]
        low = np.clip(np.floor((centre - width / 2) / shrink[axis]), 0, length - 1).astype(int)
        high = np.clip(np.ceil((centre + width / 2) / shrink[axis]), low + 1, length).astype(int)
        return low, high

    left, right = edges(spots["pixel_x"].to_numpy(), 0)
    top, bottom = edges(spots["pixel_y"].to_numpy(), 1)
    total = summed[bottom, right] - summed[top, right] - summed[bottom, left] + summed[top, left]
    share: np.ndarray = total / ((right - left) * (bottom - top))
    return share


def predict_slide(
    model_folder: str | Path,
    image: str | Path,
    *,
    um_per_px: float | None = None,
    pitch_um: float = PITCH_UM,
    max_white: float = MAX_WHITE,
    device: str = "auto",
    threads: int = 1,
    progress: bool = False,
    scratch: str | Path | None = None,
) -> anndata.AnnData:
    """Predict a grid of positions on the tissue of a slide.

    Parameters
    ----------
    model_folder
        A trained model, ``results/EXPERIMENT/models/METHOD/FOLD``.
    image
        JPEG, PNG, TIFF, SVS, or what OpenSlide opens.
    um_per_px
        Scale of the image; None for what a scanner wrote into the file.
    pitch_um
        Distance of neighbouring positions.
    max_white
        Positions with a larger share of glass are left out.
    device, threads
        Where the model runs.
    progress
        Show progress bars on the terminal.
    scratch
        Folder for the patches while the model runs; None for the system's own.

    Returns
    -------
    anndata.AnnData
        ``X`` is predicted expression on the scale of the training's target, rows the positions, columns the
        genes of the model; ``obs`` has positions, ``white_fraction`` and, where the model predicts it,
        ``tumour_probability``; ``obsm["spatial"]`` is x, y in pixels of the image; ``uns["spatial"]`` holds a
        small picture as scanpy and squidpy expect it; ``uns["histobench"]`` says how it was made.

    Raises
    ------
    UserError
        The model or image is unreadable, the scale is missing or implausible, or there is no tissue.
    """
    import anndata
    import pandas as pd

    limit_threads(threads)
    run = read_run(model_folder)
    look = run.image
    field_um = look["width_px"] * look["um_per_px"]
    if not 0 < pitch_um < math.inf:
        raise UserError(f"the pitch must be positive and finite, not {pitch_um:g} µm; correct --pitch-um.")
    with open_slide(image) as slide:
        scale, source = slide_um_per_px(slide, image, um_per_px)
        if pitch_um < scale:
            raise UserError(
                f"{image}: a pitch of {pitch_um:g} µm is less than a pixel of {scale:g} µm; give a larger "
                "--pitch-um."
            )
        spots = grid_spots(slide.width, slide.height, scale, pitch_um, field_um)
        if not len(spots):
            short = min(slide.width, slide.height)
            raise UserError(
                f"{image}: the image is {short * scale:.0f} µm wide at {scale:g} µm per pixel, less than one "
                f"patch of {field_um:.0f} µm; give the right --um-per-px or a larger image."
            )
        overview = thumbnail(image, _OVERVIEW_PX)
        refuse_blank(image, overview)
        spots["white_fraction"] = white_around(overview, spots, (slide.width, slide.height), field_um / scale)
        n_positions = len(spots)
        spots = spots[spots["white_fraction"] <= max_white]
        if not len(spots):
            raise UserError(
                f"{image}: there is no tissue; each of {n_positions} positions is more than {max_white:.0%} "
                "white; check that it is the right file."
            )
        windows = place_windows(
            slide.width,
            slide.height,
            spots["pixel_x"],
            spots["pixel_y"],
            look["width_px"],
            scale,
            look["um_per_px"],
        )
        size = slide.width, slide.height
        stain, doubts = stain_function(slide, run)
        with _patches(slide, windows, stain, progress, scratch) as patches:
            prediction = _predict(run, spots, patches, Path(image), device, progress)
    obs = spots.copy()
    told = Path(os.fsencode(image).decode(errors="replace"))  # HDF5 holds no other bytes than UTF-8
    if prediction.tumour_probability is not None:
        obs["tumour_probability"] = np.asarray(prediction.tumour_probability, np.float32)
    table = anndata.AnnData(
        X=np.asarray(prediction.expression, np.float32),
        obs=obs,
        var=pd.DataFrame(index=pd.Index(run.genes, name="gene")),
        obsm={"spatial": spots[["pixel_x", "pixel_y"]].to_numpy(np.float64)},
    )
    if prediction.embedding is not None:
        table.obsm["embedding"] = np.asarray(prediction.embedding, np.float32)
    table.uns["spatial"] = {
        told.stem: {
            "images": {"hires": overview},
            "scalefactors": {
                "tissue_hires_scalef": overview.shape[1] / size[0],
                "spot_diameter_fullres": min(pitch_um, field_um) / scale,
            },
            "metadata": {},
        }
    }
    table.uns["histobench"] = {
        "image": told.name,
        "image_width": size[0],
        "image_height": size[1],
        "um_per_px": scale,
        "um_per_px_source": source,
        "note": "; ".join([*remarks(image, overview), *doubts]),
        "pitch_um": pitch_um,
        "grid": _GRID,
        "max_white": max_white,
        "n_positions": n_positions,
        "n_glass": n_positions - len(spots),
        "patch_um_per_px": look["um_per_px"],
        "patch_width_px": look["width_px"],
        "stain": look["stain"],
        "weights_terms": "; ".join(
            f"{place}: {terms_in_words(told)}"
            for place, told in (run.facts.get("published_weights") or {}).items()
            if "licence" in told
        ),
        **{
            key: str(run.facts.get(key, "")) for key in ("experiment", "method", "fold", "transform", "entry")
        },
    }
    return table


@contextmanager
def _patches(
    slide: Slide,
    windows: Windows,
    stain: ColourFunction | None,
    progress: bool,
    scratch: str | Path | None,
) -> Iterator[np.ndarray]:
    """Cut all patches into a file for the length of the block and map it."""
    shape = (len(windows), windows.width_px, windows.width_px, 3)
    with tempfile.TemporaryDirectory(prefix=".histobench.", dir=scratch) as folder:
        mapped = np.lib.format.open_memmap(Path(folder) / "patches.npy", "w+", np.uint8, shape)
        with _bar("cutting patches", len(windows), progress) as bar:
            for rows, batch in iter_patches(slide, windows, stain):
                mapped[rows] = batch
                bar.update(len(rows))
        mapped.flush()
        del mapped  # pages that were written count as memory until the map is closed
        yield np.load(Path(folder) / "patches.npy", mmap_mode="r")


def stain_function(slide: Slide, run: TrainedRun) -> tuple[ColourFunction | None, list[str]]:
    """Return the map of colours that the training applied to its sections, and reasons to doubt it in words.

    None for raw pixels.
    """
    if run.image["stain"] == "raw":
        return None, []
    from histobench.imaging.stain import fit_stain, read_stain, stain_map
    from histobench.imaging.stain_fit import DOUBTS
    from histobench.imaging.stains import stain_file

    reference = run.image.get("stain_reference")
    target = None
    if reference:
        cohort, _, section = reference.partition("/")
        # results/EXPERIMENT/models/METHOD/FOLD
        fits = run.folder.resolve().parents[3] / "data" / cohort / "stain"
        target = read_stain(fits / stain_file(run.image["stain"], section))
    fit = fit_stain(slide, run.image["stain"])
    return stain_map(fit, target), [DOUBTS[flag] for flag in fit.flags if flag in DOUBTS]


def _predict(
    run: TrainedRun, spots: pd.DataFrame, patches: np.ndarray, image: Path, device: str, progress: bool
) -> Prediction:
    """Run the model over chunks of patches, or over all at once where it sees whole sections."""
    model: Any = load_method(run.entry, run.params, run.folder)
    look = run.image
    size = window_pixels(dict(run.window) if run.window else None, look["um_per_px"], look["width_px"], image)
    whole = getattr(model, "sees_whole_section", False)
    step = len(spots) if whole else _CHUNK
    parts: list[Prediction] = []
    with _bar("predicting", len(spots), progress) as bar:
        for start in range(0, len(spots), step):
            rows = np.arange(start, min(start + step, len(spots)))
            vectors = None
            if run.needs.get("features"):
                from histobench.encoders.features import extract_features

                vectors = extract_features(patches[rows], encoder=run.encoder, device=device)
            section = SectionData(
                cohort="",
                section=image.stem,
                patient="",
                spots=spots.iloc[rows][["array_x", "array_y", "pixel_x", "pixel_y"]],
                um_per_px=look["um_per_px"],
                patches=PatchView(patches, rows, size) if run.needs.get("patches") else None,  # type: ignore[arg-type]
                features=vectors,
                grid=_GRID,
            )
            parts.append(model.predict(section))
            check_prediction(parts[-1], len(rows), len(run.genes), image.name)
            bar.update(len(rows))

    def joined(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else np.concatenate(values)

    return Prediction(joined("expression"), joined("tumour_probability"), joined("embedding"))


def _bar(what: str, total: int, shown: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, desc=what, unit=" patches", disable=not shown, leave=True)
