"""Micrometres per pixel of a section, from the grid its spots were printed on.

The arrays are printed with a known pitch, so a map of the array onto the pixels is the scale of the image.
The map is affine: it does not care how the image lies (any angle), and its two axes, its angle and what it
leaves over say whether positions, array and image belong together. Densities stored in image files are not
used: scanners and editors overwrite them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from histobench.errors import UserError
from histobench.imaging.grid import places

#: Largest disagreement between a fitted and a declared scale that is let through.
DECLARED_TOLERANCE = 0.05

#: Micrometres per pixel of an image in which cells can be seen.
PLAUSIBLE_UM = (0.1, 5.0)

#: Longest image in millimetres: a glass slide is 75 mm long.
LONGEST_MM = 80.0

_SURE = 4.0  # error from which on spots say nothing about the second axis; three in an L have 2.0
_STRETCH = 0.005  # usual difference of each axis from the mean of both, as a share: 1 % between them
_TRIES = 300
_SAMPLE = 2000


class ArrayMap(NamedTuple):
    """Map of the array onto the image: ``pixel = matrix @ place + offset``.

    ``matrix`` is (2, 2) in pixels per pitch, ``offset`` the pixel of array position 0, ``error`` the standard
    error of the ratio of both axes that a wobble of one pitch would make (infinite where the spots lie on one
    line, so that only angle and size were fitted).
    """

    matrix: npt.NDArray[np.float64]
    offset: npt.NDArray[np.float64]
    error: float

    @property
    def pitch_px(self) -> float:
        """Pixels per pitch: the geometric mean of the two axes, which keeps areas."""
        return math.sqrt(abs(float(np.linalg.det(self.matrix))))

    @property
    def mirrored(self) -> bool:
        """Whether the pixels are a mirror image of the array."""
        return float(np.linalg.det(self.matrix)) < 0.0

    @property
    def rotation_deg(self) -> float:
        """Angle by which the array lies turned in the image, clockwise, in -180 to 180 degrees."""
        (a, b), (c, d) = self.matrix.tolist()
        if self.mirrored:  # that of the array after its columns are counted from the other side
            a, c = -a, -c
        return math.degrees(math.atan2(c - b, a + d))

    @property
    def axis_ratio(self) -> float:
        """How much longer a pitch is along the long axis of the map than along the short one, at least 1."""
        long, short = np.linalg.svd(self.matrix, compute_uv=False).tolist()
        return long / short if short > 0 else math.inf

    def pixels_per_pitch(self) -> tuple[float, float]:
        """Pixels per pitch along x and along y of the image."""
        inverse = np.linalg.inv(self.matrix)
        return 1.0 / float(np.hypot(*inverse[:, 0])), 1.0 / float(np.hypot(*inverse[:, 1]))

    def distances(
        self, place: npt.NDArray[np.float64], pixel: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """How far every spot lies from where the map puts it, in pixels; (spots,)."""
        return np.hypot(*(pixel - place @ self.matrix.T - self.offset).T)

    def pitches_off(
        self, place: npt.NDArray[np.float64], pixel: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """How far every spot lies from its place, in pitches of the array, however its axes are stretched."""
        return np.hypot(*(np.linalg.inv(self.matrix) @ (pixel - place @ self.matrix.T - self.offset).T))


@dataclass(frozen=True)
class ScaleFit:
    """Scale of one section.

    ``um_per_px`` is the geometric mean of the two axes (it keeps areas), ``um_per_px_x`` and ``_y`` are those
    along x and y of the image. ``pitch_px_*`` is the distance of neighbouring spots in pixels, ``offset_*``
    the pixel of grid position 0, ``residual_px`` the root mean square distance of the spots from the fitted
    grid.
    ``rotation_deg`` is the angle by which the array lies turned in the image, and ``axis_ratio`` by how much
    its longer axis exceeds the shorter one (1 on a true grid). A value that was declared, not fitted, has NaN
    offsets, residuals and angle. Where spots lie on one line, the other axis takes the pitch found on it.
    """

    um_per_px: float
    um_per_px_x: float
    um_per_px_y: float
    pitch_px_x: float
    pitch_px_y: float
    offset_x: float
    offset_y: float
    residual_px: float
    max_residual_px: float
    rotation_deg: float = 0.0
    axis_ratio: float = 1.0
    mirrored: bool = False

    @property
    def fitted(self) -> bool:
        """Whether the scale was measured on the grid (False: it is the declared value)."""
        return not math.isnan(self.residual_px)

    @property
    def pitch_px(self) -> float:
        """Distance of neighbouring spots in pixels, the geometric mean of both axes."""
        return math.sqrt(self.pitch_px_x * self.pitch_px_y)


class FrameOffset(NamedTuple):
    """How far the spots lie from where the printed frame puts them: median pixels, and spot pitches."""

    dx: float
    dy: float
    pitches: float


def map_array(place: npt.NDArray[np.float64], pixel: npt.NDArray[np.float64]) -> ArrayMap | None:
    """Map places on the array onto pixels by least squares.

    Spots on one line (or too few off it to tell their distance) do not say how the other axis lies: turn and
    size alone are then fitted, and nothing is mirrored.

    Parameters
    ----------
    place, pixel
        (spots, 2), in pitches and in pixels.

    Returns
    -------
    ArrayMap or None
        None if all spots share one place.
    """
    if not len(place):
        return None
    middle, centre = place.mean(axis=0), pixel.mean(axis=0)
    p, q = place - middle, pixel - centre
    gram = p.T @ p
    small, large = np.linalg.eigvalsh(gram).tolist()
    if not large > 0.0:
        return None
    error = math.sqrt(float(np.trace(np.linalg.inv(gram)))) if small > 1e-9 * large else math.inf
    if error <= _SURE:
        matrix = np.linalg.solve(gram, p.T @ q).T
    else:
        error = math.inf
        along, across = float((p * q).sum()), float((p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum())
        matrix = np.array([[along, -across], [across, along]]) / float(np.trace(gram))
    return ArrayMap(matrix, centre - matrix @ middle, error)


def steady_map(found: ArrayMap, place: npt.NDArray[np.float64], pixel: npt.NDArray[np.float64]) -> ArrayMap:
    """Weigh what the spots say of a difference between the axes against what is known of scanners.

    A section of two rows says little of the distance of rows; without this, the chance of a few spots would
    become a difference between the axes, which no scanner makes larger than about a hundredth. Where spots
    say much (many, or exact ones), they have the last word.
    """
    n = len(place)
    if math.isinf(found.error) or n < 4:
        return found
    p, q = place - place.mean(axis=0), pixel - pixel.mean(axis=0)
    x, y = p.T[..., None]
    # pixel_x, then pixel_y: turn and size (a, b), and what stretches one axis against the other (c, d)
    design = np.block([[x, -y, x, y], [y, x, -y, x]])
    values = np.concatenate([q[:, 0], q[:, 1]])
    noise = float((found.distances(place, pixel) ** 2).sum()) / (2 * n - 6)
    prior = np.diag([1.0, 1.0, 0.0, 0.0] if found.mirrored else [0.0, 0.0, 1.0, 1.0])
    weight = noise / (_STRETCH * found.pitch_px) ** 2
    a, b, c, d = np.linalg.solve(design.T @ design + weight * prior, design.T @ values).tolist()
    matrix = np.array([[a + c, d - b], [b + d, a - c]])
    return found._replace(matrix=matrix, offset=pixel.mean(axis=0) - matrix @ place.mean(axis=0))


def robust_map(place: npt.NDArray[np.float64], pixel: npt.NDArray[np.float64]) -> ArrayMap | None:
    """Map places on the array onto pixels so that wrong spots do not move the map.

    The map through three spots (two, where all lie on one line) that puts the median spot nearest is refined
    by least squares without the spots that lie far from it. Below six spots this is :func:`map_array`.
    """
    found = map_array(place, pixel)
    n = len(place)
    if found is None or n < 6:
        return found
    random = np.random.default_rng(0)
    some = random.choice(n, min(n, _SAMPLE), replace=False)
    size = 2 if math.isinf(found.error) else 3
    best, least = found, float(np.median(found.distances(place[some], pixel[some])))
    for _ in range(_TRIES):
        chosen = random.choice(n, size, replace=False)
        guess = map_array(place[chosen], pixel[chosen])
        if guess is None or (size == 3 and math.isinf(guess.error)):
            continue
        middle = float(np.median(guess.distances(place[some], pixel[some])))
        if middle < least:
            best, least = guess, middle
    for _ in range(5):
        away = best.distances(place, pixel)
        near = away <= max(3.0 * float(np.median(away)), 1e-6 * best.pitch_px)
        refined = map_array(place[near], pixel[near])
        if refined is None or math.isinf(refined.error) != math.isinf(found.error):
            break
        best = refined
    return best


def _checked(values: npt.ArrayLike, name: str, n: int | None, where: str) -> npt.NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or (n is not None and array.size != n):
        raise ValueError(f"{name}: expected a vector of one value per spot, got shape {array.shape}")
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array))[0])
        raise UserError(
            f"{where}{name} of spot number {row + 1} is not a number; "
            "correct or remove that row of the spot file."
        )
    return array


def fit_scale(
    array_x: npt.ArrayLike,
    array_y: npt.ArrayLike,
    pixel_x: npt.ArrayLike,
    pixel_y: npt.ArrayLike,
    pitch_um: float,
    *,
    declared: float | None = None,
    section: str = "",
    grid: str = "square",
    allow_flipped: bool = False,
) -> ScaleFit:
    """Fit micrometres per pixel by least squares of the pixel position on the grid position.

    The image may lie at any angle. What the fit says of itself (residual, ratio of the axes) is not judged
    here, see :func:`histobench.cohorts.geometry.judge`.

    Parameters
    ----------
    array_x, array_y
        Grid position of each spot (column, row); adjusted, fractional positions are better than integers.
    pixel_x, pixel_y
        Pixel position in the image, x to the right, y downwards.
    pitch_um
        Distance of neighbouring spots in micrometres (200 for the legacy ST array, 100 for Visium).
    declared
        Scale to fall back on where the grid cannot tell (a single spot); it is *not* compared with the
        fit here, see :func:`check_declared`.
    section
        Name used in messages.
    grid
        Kind of grid, see :mod:`histobench.imaging.grid`.
    allow_flipped
        Accept pixels that are a mirror image of the array.

    Raises
    ------
    UserError
        Neither the grid nor ``declared`` gives a scale, a value is missing, or the pixels are a mirror image
        of the grid (their axes swapped, or one of them flipped).
    """
    where = f"Section {section}: " if section else ""
    if not pitch_um > 0:
        raise ValueError(f"pitch_um must be positive, got {pitch_um}")
    gx = _checked(array_x, "array_x", None, where)
    gy = _checked(array_y, "array_y", gx.size, where)
    px = _checked(pixel_x, "pixel_x", gx.size, where)
    py = _checked(pixel_y, "pixel_y", gx.size, where)
    place, pixel = places(grid, gx, gy), np.column_stack([px, py])
    found = map_array(place, pixel)
    if found is None:
        return declared_scale(declared, pitch_um, int(gx.size), where)
    collapsed = collapsed_text(found, pixel)
    if collapsed:
        raise UserError(where + collapsed)
    if found.mirrored and not allow_flipped:
        raise UserError(where + mirrored_text(found))
    return scale_of(steady_map(found, place, pixel), place, pixel, pitch_um)


def scale_of(
    found: ArrayMap, place: npt.NDArray[np.float64], pixel: npt.NDArray[np.float64], pitch_um: float
) -> ScaleFit:
    """Turn a map of the array into a scale; ``place`` and ``pixel`` are the spots that the residual is of."""
    pitch_x, pitch_y = found.pixels_per_pitch()
    away = found.distances(place, pixel)
    return ScaleFit(
        um_per_px=pitch_um / found.pitch_px,
        um_per_px_x=pitch_um / pitch_x,
        um_per_px_y=pitch_um / pitch_y,
        pitch_px_x=pitch_x,
        pitch_px_y=pitch_y,
        offset_x=float(found.offset[0]),
        offset_y=float(found.offset[1]),
        residual_px=float(np.sqrt(np.mean(away**2))),
        max_residual_px=float(away.max()),
        rotation_deg=found.rotation_deg,
        axis_ratio=found.axis_ratio,
        mirrored=found.mirrored,
    )


def declared_scale(declared: float | None, pitch_um: float, n_spots: int, where: str) -> ScaleFit:
    """Return a scale that is not fitted but declared.

    Raises
    ------
    UserError
        None is declared.
    """
    if declared is None:
        what = "it has no spots" if n_spots == 0 else "all its spots share one grid position"
        raise UserError(
            f"{where}the scale cannot be fitted because {what}; "
            "declare um_per_px for this section in the cohort's configuration."
        )
    pitch = pitch_um / declared
    nan = math.nan
    return ScaleFit(declared, declared, declared, pitch, pitch, nan, nan, nan, nan, rotation_deg=nan)


def collapsed_text(found: ArrayMap, pixel: npt.NDArray[np.float64]) -> str:
    """Say that spots of different array positions share their pixels; "" if they do not."""
    long, short = np.linalg.svd(found.matrix, compute_uv=False).tolist()
    if short > 1e-6 * long:
        return ""
    for axis, name in enumerate("xy"):
        if np.ptp(pixel[:, axis]) == 0.0:
            return (
                f"all spots have the same pixel_{name} although their array positions differ; "
                "correct the pixel columns of the spot file."
            )
    return (
        "all spots lie on one line of the image although their array positions do not; "
        "correct the pixel columns of the spot file."
    )


def mirrored_text(found: ArrayMap) -> str:
    """Say how pixels that are a mirror image of the array came to be so, and what to do."""
    remedy = (
        "; if the image itself is mirrored, mirror it and its positions back, or set "
        "`geometry: {mirrored: true}` in the cohort's file."
    )
    unit = found.matrix / max(found.pitch_px, 1e-300)
    if unit[0, 1] + unit[1, 0] > 1.9:
        return (
            "pixel_x follows array_y and pixel_y follows array_x, so the axes are swapped; "
            f"exchange the pixel columns of the spot file{remedy}"
        )
    for axis, name, edge in ((0, "x", "left"), (1, "y", "top")):
        if unit[1 - axis, 1 - axis] - unit[axis, axis] > 1.9:
            return (
                f"pixel_{name} falls while array_{name} rises, so the {name} axis is flipped; count "
                f"pixel_{name} from the {edge} edge of the image{remedy}"
            )
    return (
        "the pixel positions are a mirror image of the array: either pixel_x and pixel_y are swapped, or "
        "one of them is counted from the wrong edge (x goes to the right, y downwards); correct the spot "
        f"file{remedy}"
    )


def check_declared(
    fit: ScaleFit, declared: float | None, section: str, tolerance: float = DECLARED_TOLERANCE
) -> None:
    """Stop if a declared scale is more than 5 % from the one the spot grid shows.

    Raises
    ------
    UserError
        The two disagree. ``declared`` of None (nothing declared) always passes.
    """
    if declared is None:
        return
    if not (math.isfinite(declared) and declared > 0):
        raise UserError(
            f"Section {section}: um_per_px is declared as {declared}, but must be a positive number."
        )
    difference = fit.um_per_px / declared - 1.0
    if abs(difference) > tolerance:
        raise UserError(
            f"Section {section}: um_per_px is declared as {declared:g}, but the spot grid shows "
            f"{fit.um_per_px:.4g} ({difference:+.1%}); correct um_per_px or pitch_um in the cohort's "
            "configuration, or check that image and spot file belong together."
        )


def implausible_text(um_per_px: float, low: float, high: float) -> str:
    """Say that nobody scans tissue at such a scale; "" if it is plausible. NaN is not."""
    if low <= um_per_px <= high:
        return ""
    return f"{um_per_px:.4g} µm per pixel, which is implausible for histology ({low:g} to {high:g})"


def too_long_text(um_per_px: float, width: int, height: int, longest_mm: float = LONGEST_MM) -> str:
    """Say that the image would be longer than a glass slide; "" if it is not."""
    longest = max(width, height) * um_per_px / 1000
    if longest <= longest_mm:
        return ""
    return (
        f"at {um_per_px:.4g} µm per pixel the image would be {longest:.0f} mm long, more than a glass slide"
    )


def frame_offset(
    array_x: npt.ArrayLike,
    array_y: npt.ArrayLike,
    pixel_x: npt.ArrayLike,
    pixel_y: npt.ArrayLike,
    width: int | None = None,
    height: int | None = None,
    *,
    columns: int = 32,
    rows: int = 34,
) -> FrameOffset:
    """How far the spots lie from the frame rule of images cropped to the printed array frame.

    Legacy ST images are cropped to the frame of the 33 x 35 array, which puts grid position ``g`` at pixel
    ``(g - 1) * width / 32`` and ``(g - 1) * height / 34``. A median offset near one pitch means that
    coordinates or image were shifted by a spot; a value above about a quarter of a pitch deserves a look.
    Where the image is not at hand (``width`` or ``height`` of None or 0), the pitch is fitted to the spots.

    Returns
    -------
    FrameOffset
        Median of (pixel - rule) along x and y in pixels, and their length in spot pitches.
    """
    gx, gy = np.asarray(array_x, np.float64), np.asarray(array_y, np.float64)
    px, py = np.asarray(pixel_x, np.float64), np.asarray(pixel_y, np.float64)
    if width and height:
        step_x, step_y = width / columns, height / rows
    else:
        fit = fit_scale(gx, gy, px, py, pitch_um=1.0)
        step_x, step_y = fit.pitch_px_x, fit.pitch_px_y
    dx = float(np.median(px - (gx - 1.0) * step_x))
    dy = float(np.median(py - (gy - 1.0) * step_y))
    return FrameOffset(dx, dy, math.hypot(dx / step_x, dy / step_y))
