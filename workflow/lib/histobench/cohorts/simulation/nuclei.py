"""Nuclei of the simulated H&E image: small stamps of haematoxylin density, and where they go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from histobench.cohorts.simulation.tissue import Tissue

ANGLES = 24
"""Number of directions, over half a turn, for which elongated nuclei are drawn in advance."""


@dataclass(frozen=True)
class Look:
    """How the nuclei of one kind look; lengths are semi-axes in µm, densities optical (natural log).

    Attributes
    ----------
    long_um, aspect
        Mean longer semi-axis, and shorter over longer.
    size_spread
        Standard deviation of log size.
    irregular
        Amplitude of the outline's irregularity, as a share of the radius.
    density, density_spread
        Haematoxylin density and its standard deviation in log.
    rim, clumps, nucleoli
        Extra density at the envelope, chromatin texture, and number of nucleoli (may be fractional).
    """

    long_um: float
    aspect: float
    size_spread: float
    irregular: float
    density: float
    density_spread: float
    rim: float
    clumps: float
    nucleoli: float


def tumour_look(grade: float) -> Look:
    """Tumour nuclei grow larger, less regular and coarser with grade (0 to 1)."""
    return Look(
        long_um=4.2 + 2.3 * grade,
        aspect=0.80 - 0.10 * grade,
        size_spread=0.08 + 0.16 * grade,
        irregular=0.03 + 0.055 * grade,
        density=1.05 + 0.20 * grade,
        density_spread=0.12 + 0.14 * grade,
        rim=0.28,
        clumps=0.18 + 0.10 * grade,
        nucleoli=0.3 + 1.0 * grade,
    )


LYMPHOCYTE = Look(3.1, 0.92, 0.09, 0.03, 1.85, 0.10, 0.05, 0.16, 0.0)
FIBROBLAST = Look(7.6, 0.22, 0.20, 0.05, 1.25, 0.14, 0.05, 0.12, 0.0)
ADIPOCYTE = Look(5.2, 0.26, 0.15, 0.04, 1.35, 0.10, 0.0, 0.10, 0.0)


def draw_stamps(rng: np.random.Generator, look: Look, um_per_px: float, angle: np.ndarray) -> np.ndarray:
    """Draw one nucleus per angle: float32, (angles, width, width), density 0 outside.

    The outline is an ellipse with low harmonics; inside it a brighter centre, chromatin clumps and nucleoli.
    """
    n = len(angle)
    half = (
        int(np.ceil(look.long_um * (1 + 2.5 * look.size_spread) * (1 + 2 * look.irregular) / um_per_px)) + 1
    )
    y, x = (np.mgrid[-half : half + 1, -half : half + 1] * um_per_px)[:, None]
    size = np.exp(
        np.clip(rng.normal(0, look.size_spread, n), -2.5 * look.size_spread, 2.5 * look.size_spread)
    )
    long = (look.long_um * size)[:, None, None]
    short = long * np.clip(look.aspect * np.exp(rng.normal(0, 0.08, n)), 0.15, 1.0)[:, None, None]
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    along, across = (cos * x + sin * y) / long, (cos * y - sin * x) / short
    turn = np.arctan2(across, along)
    outline = np.ones_like(along)
    for k in (2, 3, 4, 5):
        height = rng.normal(0, look.irregular / np.sqrt(k), n)[:, None, None]
        outline += height * np.cos(k * turn + rng.uniform(0, 2 * np.pi, n)[:, None, None])
    depth_um = (1 - np.hypot(along, across) / np.maximum(outline, 0.3)) * short
    soft = rng.uniform(0.35, 0.9, n)[:, None, None] * max(1.0, um_per_px)  # some nuclei lie out of focus
    body = np.clip(depth_um / (2 * soft) + 0.5, 0, 1)

    grain = rng.standard_normal(along.shape).astype(np.float32)
    blur = 0.7 / um_per_px
    grain = np.stack([cv2.GaussianBlur(g, (0, 0), blur) if blur > 0.3 else g for g in grain])
    grain /= max(float(grain.std()), 1e-6)
    density = 1 + look.rim * np.exp(-((depth_um - 0.6) ** 2) / 0.8) + look.clumps * grain
    for _ in range(2):
        there = (rng.random(n) < look.nucleoli / 2)[:, None, None]
        at, around = (
            rng.uniform(0, 0.5, n)[:, None, None] * short,
            rng.uniform(0, 2 * np.pi, n)[:, None, None],
        )
        distance = np.hypot(x - at * np.cos(around), y - at * np.sin(around))
        density += there * 0.6 * np.exp(-((distance / 1.0) ** 2))
    tone = look.density * np.exp(rng.normal(0, look.density_spread, n))[:, None, None]
    return (body * tone * np.clip(density, 0.3, 2.2)).astype(np.float32)


def place(
    rng: np.random.Generator, tissue: Tissue, density: np.ndarray, spacing_um: float, jitter: float
) -> tuple[np.ndarray, np.ndarray]:
    """Choose positions (x, y in µm) at a local density, no two much closer than the spacing.

    Candidates are a jittered hexagonal lattice; each is kept with the probability that gives ``density``
    (nuclei per mm², a map of the tissue), so packed tissue looks packed and sparse tissue scattered.
    """
    from histobench.cohorts.simulation.tissue import MAP_UM

    height, width = (size * MAP_UM for size in density.shape)
    step = spacing_um * np.sqrt(3) / 2
    rows, columns = np.meshgrid(np.arange(0, height, step), np.arange(0, width, spacing_um), indexing="ij")
    columns = columns + (np.arange(len(columns)) % 2)[:, None] * spacing_um / 2
    x = (columns + rng.uniform(-jitter, jitter, columns.shape) * spacing_um).ravel()
    y = (rows + rng.uniform(-jitter, jitter, rows.shape) * spacing_um).ravel()
    wanted = tissue.at(density, x, y) * (spacing_um * step * 1e-6)
    keep = (rng.random(x.size) < wanted) & (x >= 0) & (y >= 0) & (x < width) & (y < height)
    return x[keep], y[keep]


def stamp(
    canvas: np.ndarray, stamps: np.ndarray, which: np.ndarray, column: np.ndarray, row: np.ndarray
) -> None:
    """Press stamps onto a canvas, in place; where nuclei overlap the denser one shows."""
    half = stamps.shape[1] // 2
    rows, columns = canvas.shape
    inside = (column >= half) & (row >= half) & (column < columns - half) & (row < rows - half)
    tops, lefts = (row[inside] - half).tolist(), (column[inside] - half).tolist()
    width = stamps.shape[1]
    library = list(stamps)
    for index, top, left in zip(which[inside].tolist(), tops, lefts, strict=True):
        window = canvas[top : top + width, left : left + width]
        np.maximum(window, library[index], out=window)
