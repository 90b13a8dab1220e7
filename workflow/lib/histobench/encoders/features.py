"""Frozen features: run every patch of a section once through a network that is not trained."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from histobench.devices import claim_device, hardware
from histobench.encoders.build import count_declared, frozen_encoder
from histobench.errors import UserError
from histobench.filelists import files_of, read_lists, write_list
from histobench.files import atomic_path, write_table
from histobench.training.data import PatchSource
from histobench.training.device import has_bfloat16, pick_device

log = logging.getLogger(__name__)

# Patches at a time: on a CPU as many as its caches hold the activations of.
_BATCH = {"cpu": 16, "cuda": 128}


def extract_features(
    patches: Any,
    *,
    encoder: Mapping[str, Any],
    weights: Path | None = None,
    seed: int = 0,
    device: str = "cpu",
    batch_size: int | None = None,
    precision: str | None = None,
) -> np.ndarray:
    """Return frozen features of patches.

    Parameters
    ----------
    patches
        uint8, (spots, width, width, 3), array or lazy view.
    encoder
        Its recipe, :func:`histobench.encoders.registry.recipe`.
    weights, seed
        See :func:`histobench.encoders.build.build_encoder`.
    device, batch_size
        Where, and how many at a time; None for what suits the device.
    precision
        "float32", "bfloat16" or "float16", for autocast whatever the device (cosine similarity to float32
        above 0.999); None for what the recipe says, where the device computes with it.

    Returns
    -------
    numpy.ndarray
        float32, (spots, features).
    """
    where = pick_device(device)
    width = encoder["input"].get("px") or patches.shape[1]
    network = frozen_encoder(encoder, device=where, width=width, weights=weights, seed=seed)
    return describe(
        network,
        patches,
        input_px=width,
        batch_size=batch_size,
        precision=precision or computed_with(encoder.get("precision", "float32"), where),
    )


def computed_with(declared: str, device: torch.device) -> str:
    """Return the precision that a device computes with where another is declared."""
    if declared == "bfloat16" and has_bfloat16(device):
        return declared
    return declared if declared == "float16" and device.type == "cuda" else "float32"


@torch.inference_mode()
def describe(
    network: torch.nn.Sequential,
    patches: Any,
    *,
    input_px: int | None,
    batch_size: int | None = None,
    precision: str = "float32",
) -> np.ndarray:
    """Return the features of patches by an encoder ready to be applied; see :func:`extract_features`."""
    where = next(network.parameters()).device
    batch_size = batch_size or _BATCH.get(where.type, 32)
    reduced = None if precision == "float32" else getattr(torch, precision)
    source = PatchSource([patches], input_px=input_px or patches.shape[1], device=where, resident=False)
    found = []
    start = reported = time.perf_counter()
    for first in range(0, len(source), batch_size):
        rows = np.arange(first, min(first + batch_size, len(source)))
        pixels = source.batch(rows)
        if first + batch_size < len(source):
            source.prefetch(np.arange(first + batch_size, min(first + 2 * batch_size, len(source))))
        with torch.autocast(where.type, reduced, enabled=reduced is not None):
            out = network(pixels)
        found.append(out.float().cpu().numpy())
        if time.perf_counter() - reported > 10:
            reported = time.perf_counter()
            log.info("%d of %d patches", rows[-1] + 1, len(source))
    seconds = time.perf_counter() - start
    log.info(
        "%d patches in %s, %.1f images/s",
        len(source),
        precision,
        len(source) / max(seconds, 1e-9),
    )
    return np.concatenate(found)


def write_section_features(
    patch_lists: Sequence[str | Path],
    outputs: Sequence[str | Path],
    *,
    sections: Sequence[str],
    output_list: str | Path,
    output_cost: str | Path,
    **settings: Any,
) -> None:
    """Write the frozen features of sections, a list of them, and what they took.

    Parameters
    ----------
    patch_lists
        Lists with their ``patches`` (:mod:`histobench.filelists`).
    outputs, sections
        Files and names of the sections, in the same order.
    output_list
        A list of ``features``.
    output_cost
        The table ``encoder_cost``: what describing each section took.
    settings
        See :func:`write_features`.
    """
    files = files_of(read_lists(patch_lists), sections)
    costs = write_features([files[name]["patches"] for name in sections], outputs, **settings)
    table = [{"section": name, **cost} for name, cost in zip(sections, costs, strict=True)]
    write_table(pd.DataFrame(table), output_cost)
    rows = zip(sections, outputs, strict=True)
    write_list({name: {"features": output} for name, output in rows}, output_list)


def write_features(
    patches_npy: str | Path | Sequence[str | Path],
    output_npy: str | Path | Sequence[str | Path],
    *,
    encoder: Mapping[str, Any],
    weights: str | Path | None = None,
    seed: int = 0,
    window: Mapping[str, float] | None = None,
    um_per_px: float | None = None,
    device: str = "auto",
    threads: int = 1,
    batch_size: int | None = None,
    precision: str | None = None,
) -> list[dict[str, Any]]:
    """Write the frozen features of sections; the encoder is loaded once.

    Returns what each section took: encoder, start, spots, seconds without loading the encoder, parameters and
    length of vectors as they are, and the hardware.

    Parameters
    ----------
    patches_npy
        Of one section or of several: uint8, (spots, width, width, 3).
    output_npy
        As many; each gets float32, (spots, features), or (spots, tokens, features) of an encoder with
        ``pooling: tokens``, rows as in its patches.
    window
        Central part of the patches to use, ``{"um": ...}`` or ``{"px": ...}``; None for all.
    um_per_px
        Scale of the patches, for a window in micrometres.
    encoder, weights, seed, device, batch_size, precision
        See :func:`extract_features`.
    threads
        CPU threads.

    Raises
    ------
    UserError
        The patches are missing or damaged, weights cannot be had, or features are not finite.
    """
    from histobench.imaging.patchview import PatchView, window_pixels

    paths = [Path(path) for path in _listed(patches_npy)]
    arrays = [_patches(path) for path in paths]
    torch.set_num_threads(threads)
    if device in ("auto", "cuda"):
        claim_device()
    scale = float("nan") if um_per_px is None else um_per_px
    views = []
    for path, array in zip(paths, arrays, strict=True):
        size = window_pixels(dict(window) if window else None, scale, array.shape[1], path)
        views.append(PatchView(array, np.arange(len(array)), size))
    where = pick_device(device)
    networks: dict[int, torch.nn.Sequential] = {}
    costs = []
    for path, view, output in zip(paths, views, _listed(output_npy), strict=True):
        width = encoder["input"].get("px") or view.shape[1]
        if width not in networks:
            networks[width] = frozen_encoder(
                encoder, device=where, width=width, weights=Path(weights) if weights else None, seed=seed
            )
        start = time.perf_counter()
        features = describe(
            networks[width],
            view,
            input_px=width,
            batch_size=batch_size,
            precision=precision or computed_with(encoder.get("precision", "float32"), where),
        )
        seconds = time.perf_counter() - start
        _store(features, output, path, encoder["name"])
        costs.append(
            {
                "encoder": encoder["name"],
                "start": "pretrained" if encoder["pretrained"] else "none",
                "n_spots": len(features),
                "seconds": round(seconds, 3),
                "parameters": count_declared(encoder, networks[width], width),
                "dimension": features.shape[-1],
                "hardware": hardware(where.type),
            }
        )
    return costs


def _listed(paths: str | Path | Sequence[str | Path]) -> Sequence[str | Path]:
    return [paths] if isinstance(paths, str | Path) else paths


def _patches(path: Path) -> np.ndarray:
    if not path.is_file():
        raise UserError(f"{path}: the patches are missing; run the patch stage.")
    try:
        array: np.ndarray = np.load(path, mmap_mode="r")
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{path}: this is not a readable NumPy array; remove it and run again.") from error
    return array


def _store(features: np.ndarray, output: str | Path, patches: Path, encoder: str) -> None:
    """Write the features of one section, refused where they are not finite."""
    bad = ~np.isfinite(features).reshape(len(features), -1).all(axis=1)
    if bad.any():
        raise UserError(
            f"{patches}: encoder `{encoder}` gives features that are not finite for {bad.sum()} patches."
        )
    with atomic_path(output) as temporary:
        np.save(temporary, features)
        stored = np.load(temporary, mmap_mode="r").shape
        if stored != features.shape:
            raise UserError(f"{output}: {stored[0]} rows were stored for {len(features)} patches; run again.")
