"""What the map explorer shows: measured and predicted expression of sections, small enough for a page."""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from histobench.evaluation.metrics import gene_metrics
from histobench.figures.drawing.tissue import spot_pitch
from histobench.figures.on_tissue.expression_maps import MARKER_GENES, choose_genes
from histobench.files import atomic_path, read_results
from histobench.imaging.slides import image_size
from histobench.imaging.thumbnail import thumbnail
from histobench.report.embed import LARGEST_MAPS, data_uri

LEVELS = 63
"""A value is stored as one of so many steps between the smallest and the largest of its gene and source."""
ABSENT = 255
"""Stored where nothing was measured."""
_LONGEST_PX = 560
_QUALITY = 72


def collect_maps(
    sections: Mapping[str, Mapping[str, Any]],
    output: str | Path,
    *,
    genes: Sequence[str] = (),
    largest: int = LARGEST_MAPS,
) -> None:
    """Write the maps of an experiment as one JSON document.

    Parameters
    ----------
    sections
        By name: ``predictions`` (path of the prediction .h5ad by method) and, where there is one, ``image``
        (path of the section's image).
    output
        The file to write. Its ``sections`` hold by name: ``patient``, positions ``x`` and ``y`` of spots in
        pixels of the ``image`` (a data URI; without one: of the empty frame), the frame's ``width`` and
        ``height``, the spots' ``diameter`` (the pitch of the grid), ``um_per_px`` of the frame, ``genes``,
        ``methods``, ``low`` and ``high`` (ends of the stored steps; sources x genes, truth first), ``values``
        (base64 of the deflated bytes; sources x genes x spots), ``r`` (methods x genes; None if undefined),
        ``missing`` (reason by method) and ``n_left_out`` (genes that are not stored).
    genes
        Genes to store first. Others follow by mean measured expression, as many as ``largest`` allows.
    largest
        Bytes of values of all sections together, before compression.
    """
    opened = {name: _open(name, entry) for name, entry in sections.items()}
    cost = sum(len(section.spots) * (1 + len(section.predicted)) for section in opened.values())
    most = max(1, largest // max(1, cost))
    stored = {
        name: _section(section, sections[name].get("image"), list(genes), most)
        for name, section in opened.items()
    }
    with atomic_path(output) as temporary:
        text = json.dumps({"sections": stored}, separators=(",", ":"), sort_keys=True, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


@dataclass
class _Section:
    """One section as read: (spots, genes) of truth and of every method, and why a method is missing."""

    patient: str
    spots: pd.DataFrame
    genes: list[str]
    um_per_px: float
    truth: np.ndarray
    predicted: dict[str, np.ndarray]
    missing: dict[str, str]


def _open(name: str, entry: Mapping[str, Any]) -> _Section:
    """Read the predictions of one section; the truth is taken from the first file that can be read."""
    found = _Section("", pd.DataFrame(), [], float("nan"), np.empty((0, 0)), {}, {})
    for method, path in entry["predictions"].items():
        if not Path(path).is_file():
            found.missing[method] = f"{path} does not exist"
            continue
        data = read_results(path)
        genes = list(map(str, data.var_names))
        if not found.genes:
            found.spots = data.obs[["pixel_x", "pixel_y"]].astype(float)
            found.patient = str(data.uns.get("patient", data.obs["patient"].iloc[0] if len(data) else ""))
            found.genes, found.um_per_px = genes, float(data.uns.get("um_per_px", float("nan")))
            found.truth = np.asarray(data.layers["truth"], dtype=np.float32)
        if genes != found.genes or list(data.obs_names) != list(found.spots.index):
            found.missing[method] = f"{path} has other spots or genes than the predictions before it"
            continue
        found.predicted[method] = np.asarray(data.X, dtype=np.float32)
    return found


def _section(section: _Section, image: str | Path | None, wanted: list[str], most: int) -> dict[str, Any]:
    """Return what is stored of one section."""
    with np.errstate(invalid="ignore"):
        means = np.nan_to_num(section.truth).mean(axis=0) if section.truth.size else np.zeros(0)
    genes = choose_genes(section.genes, means, [*wanted, *MARKER_GENES], most)
    places = [section.genes.index(gene) for gene in genes]
    truth = section.truth[:, places]
    predicted = {method: values[:, places] for method, values in section.predicted.items()}
    low, high, steps = [], [], []
    for values in [truth, *predicted.values()]:
        ends = _ends(values)
        low.append([_short(value) for value in ends[0]])
        high.append([_short(value) for value in ends[1]])
        steps.append(_steps(values, *ends).T.tobytes())
    r = [
        [
            None if np.isnan(value) else round(float(value), 4)
            for value in gene_metrics(truth, values)["pearson"]
        ]
        for values in predicted.values()
    ]
    return {
        "patient": section.patient,
        "genes": genes,
        "methods": list(predicted),
        "missing": section.missing,
        "n_left_out": len(section.genes) - len(genes),
        "low": low,
        "high": high,
        "values": base64.b64encode(zlib.compress(b"".join(steps), 9)).decode("ascii"),
        "r": r,
        **_frame(section.spots, section.um_per_px, image),
    }


def _ends(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest and largest finite value of each gene; (0, 0) where there is none."""
    known = np.isfinite(values)
    some = known.any(axis=0)
    low = np.where(known, values, np.inf).min(axis=0, initial=np.inf)
    high = np.where(known, values, -np.inf).max(axis=0, initial=-np.inf)
    return np.where(some, low, 0.0), np.where(some, high, 0.0)


def _steps(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return values as steps from 0 to :data:`LEVELS`, as bytes; :data:`ABSENT` where not finite."""
    width = np.where(high > low, high - low, 1.0)
    known = np.isfinite(values)
    steps = np.rint((np.where(known, values, 0.0) - low) / width * LEVELS)
    return np.where(known, steps, ABSENT).astype(np.uint8)


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _frame(spots: pd.DataFrame, um_per_px: float, image: str | Path | None) -> dict[str, Any]:
    """Return the tissue around the spots, made small, and the spots' places on it.

    The frame is the box around all spots with one pitch as margin; a pixel of it is the same length in both
    directions.
    """
    positions = spots.to_numpy(float).reshape(-1, 2)
    if not len(positions):
        return {"x": [], "y": [], "width": 1, "height": 1, "diameter": 1, "um_per_px": None, "image": ""}
    pitch = spot_pitch(positions)
    corner = positions.min(axis=0) - pitch
    extent = positions.max(axis=0) + pitch - corner
    scale = _LONGEST_PX / float(extent.max())
    width, height = (max(1, round(float(length) * scale)) for length in extent)
    x, y = np.round((positions - corner) * scale, 1).T
    known = um_per_px > 0
    return {
        "x": x.tolist(),
        "y": y.tolist(),
        "width": width,
        "height": height,
        "diameter": round(pitch * scale, 2),
        "um_per_px": _short(um_per_px / scale) if known else None,
        "image": _tissue(image, corner, extent, (width, height)) if image else "",
    }


def _tissue(path: str | Path, corner: np.ndarray, extent: np.ndarray, size: tuple[int, int]) -> str:
    """Return the part of an image inside the frame as a small JPEG in a data URI; empty without the file.

    What lies outside the image is white.
    """
    if not Path(path).is_file():
        return ""
    full = max(image_size(path))
    # As fine as the frame needs, wherever in the slide the spots lie.
    longest = min(full, round(_LONGEST_PX * full / float(np.max(extent))))
    whole = Image.fromarray(thumbnail(path, longest))
    ratio = max(whole.size) / full
    left, top, right, bottom = (float(end) * ratio for end in (*corner, *(corner + extent)))
    canvas = Image.new("RGB", (max(1, round(right - left)), max(1, round(bottom - top))), "white")
    canvas.paste(whole, (-round(left), -round(top)))
    stream = io.BytesIO()
    canvas.resize(size, Image.Resampling.BILINEAR).save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return data_uri(stream.getvalue(), "image/jpeg")


# -- on the page ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MapsView:
    """The maps of one experiment as the page stores them, or the reason why there are none."""

    experiment: str
    title: str
    sections: dict[str, str]
    missing: str = ""
    genes: tuple[str, ...] = ()


def maps_view(name: str, title: str, path: Any) -> MapsView:
    """Return each section's maps as JSON that can stand inside a script element."""
    if not path:
        return MapsView(name, title, {}, "maps: not part of this run")
    if not Path(path).is_file():
        return MapsView(name, title, {}, f"maps: {path} does not exist")
    try:
        stored = json.loads(Path(path).read_text(encoding="utf-8"))["sections"]
    except (ValueError, KeyError, TypeError):
        return MapsView(name, title, {}, f"maps: {path} cannot be read")
    genes = dict.fromkeys(gene for entry in stored.values() for gene in entry["genes"])
    return MapsView(
        name, title, {section: script_json(entry) for section, entry in stored.items()}, genes=tuple(genes)
    )


def script_json(value: Any) -> str:
    """Return JSON in which nothing can end the script element that holds it."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
