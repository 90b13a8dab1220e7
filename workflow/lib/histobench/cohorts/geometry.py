"""The gate for geometry: whether array, pixels, image and all that is said of the scale belong together.

Runs and ``check-cohort`` ask :func:`judge`; what is plausible for an image is also asked by ``predict``. The
spots are mapped onto the image by an affine fit, which does not care how the image lies, and everything that
the fit says of itself is judged: how far spots lie from their places, whether the image is mirrored, the
ratio of its axes, and the scale. Limits are keys of the cohort's file (``geometry``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.cohorts.readers.scalefactors import ScaleFactors
from histobench.errors import UserError
from histobench.imaging.grid import GRIDS, Grid, cells, grid_named
from histobench.imaging.scale import (
    DECLARED_TOLERANCE,
    LONGEST_MM,
    PLAUSIBLE_UM,
    ArrayMap,
    ScaleFit,
    check_declared,
    collapsed_text,
    declared_scale,
    implausible_text,
    map_array,
    mirrored_text,
    robust_map,
    scale_of,
    steady_map,
    too_long_text,
)

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from histobench.imaging.statements import StatedScale

MANY = 0.2
"""Share of spots above which it is not single spots that are wrong."""

TURNED = 5.0
"""Degrees by which an array lies turned in the image from which on it is worth a note."""

_AS_MICROMETRES = 0.01  # share by which a pitch in micrometres differs at most from the one on paper

WHOLE_NUMBERS = 0.09
"""Distance in pitches, root mean square, by which spots of a legacy array miss the whole-numbered place."""

_LEAST_WOBBLE = 0.02
_FEW_SPOTS = 6
_NAMED = 3  # wrong spots that a message names
_ENOUGH_SPOTS = 12  # that many spots of a square array never have the same parity by chance
_ODD = 0.02  # share of spots that may have the wrong parity, because measured positions are rounded


@dataclass(frozen=True)
class Limits:
    """What geometry is let through; the keys of ``geometry`` in the cohort's file.

    Attributes
    ----------
    max_residual, max_spot
        Distance of spots from where the array says, in pitches: root mean square, and of each spot.
    max_axes
        Disagreement of the two axes of the image, as a share.
    max_difference
        Disagreement of the fitted scale with what is declared, or stated by files, as a share.
    min_um_per_px, max_um_per_px
        Plausible scales.
    max_image_mm
        Longest image.
    mirrored
        Whether the image may be a mirror image of the array.
    """

    max_residual: float = 0.15
    max_spot: float = 0.75
    max_axes: float = 0.05
    max_difference: float = DECLARED_TOLERANCE
    min_um_per_px: float = PLAUSIBLE_UM[0]
    max_um_per_px: float = PLAUSIBLE_UM[1]
    max_image_mm: float = LONGEST_MM
    mirrored: bool = False


def limits_from(settings: Mapping[str, Any] | None, where: str = "`geometry`") -> Limits:
    """Take the limits that the cohort's file changes; ``where`` they stand is for messages.

    Raises
    ------
    UserError
        No scale lies between the least and the largest.
    """
    known = {field.name for field in fields(Limits)}
    limits = Limits(**{key: value for key, value in (settings or {}).items() if key in known})
    if limits.min_um_per_px >= limits.max_um_per_px:
        raise UserError(
            f"{where}: `min_um_per_px` {limits.min_um_per_px:g} is not below `max_um_per_px` "
            f"{limits.max_um_per_px:g}, so that no section could pass; mend one of them."
        )
    return limits


@dataclass(frozen=True)
class Question:
    """What is known of a section besides its spots.

    Attributes
    ----------
    section
        Name, for messages.
    size
        Width and height of the image; 0 without one.
    grid, guessed
        Kind of grid, and whether the positions may overrule it.
    pitch_um
        Distance of neighbouring spots as the cohort's file says it; None if it does not.
    maker_pitch_um
        The same as the maker of the array says it, where it is a constant (Visium); None for others.
    declared
        Declared scale, or None.
    factors
        Scale factors that came with the positions, or None.
    stated
        What the image says of its scale.
    framed
        Whether the image is cropped to the frame of the array, and so cannot lie turned.
    """

    section: str
    size: tuple[int, int] = (0, 0)
    grid: str = "square"
    guessed: bool = False
    pitch_um: float | None = None
    maker_pitch_um: float | None = None
    declared: float | None = None
    factors: ScaleFactors | None = None
    stated: Sequence[StatedScale] = ()
    framed: bool = False


@dataclass(frozen=True)
class Geometry:
    """What the gate let through.

    Attributes
    ----------
    grid, pitch_um
        Kind of grid and distance of neighbouring spots.
    scale
        Scale of the image.
    array
        (spots, 2): ``array_x``, ``array_y``, as given, or in pitches where there is no array.
    notes
        What is worth a look, one sentence part each.
    """

    grid: str
    pitch_um: float
    scale: ScaleFit
    array: npt.NDArray[np.float64]
    notes: tuple[str, ...] = ()


class GeometryError(UserError):
    """The geometry is wrong; ``spots`` holds (row, what is wrong with it) where single spots are."""

    def __init__(self, text: str, spots: Sequence[tuple[int, str]] = ()) -> None:
        super().__init__(text)
        self.spots = list(spots)


class ScaleError(GeometryError):
    """The scale is missing, implausible or contradicted: what is said of it is wrong, or the positions."""


def judge(spots: pd.DataFrame, about: Question, limits: Limits | None = None) -> Geometry:
    """Find the scale of a section, and refuse what does not belong together.

    Parameters
    ----------
    spots
        By name: ``array_x``, ``array_y``, ``pixel_x``, ``pixel_y``, all finite (array positions may be
        missing on an irregular grid).
    about
        What else is known.
    limits
        From the cohort's file; None for the defaults.

    Raises
    ------
    GeometryError
        In one sentence: spots do not follow the array, the image is mirrored, the axes disagree, the scale is
        missing, implausible, or contradicts what is declared or stated.
    """
    where = f"Section {about.section}: "
    limits = limits or Limits()
    pixel = spots[["pixel_x", "pixel_y"]].to_numpy(dtype=np.float64)
    if not grid_named(about.grid, f"Section {about.section}").regular:
        return _irregular(pixel, about, limits, where)
    array = spots[["array_x", "array_y"]].to_numpy(dtype=np.float64)
    kind = GRIDS[about.grid]
    notes: list[str] = []
    found = map_array(array * kind.steps, pixel)
    if found is not None:
        if collapsed := collapsed_text(found, pixel):
            raise GeometryError(where + collapsed)
        usual = _usual(found, array * kind.steps, pixel, limits)
        wobble = _wobble(usual, array * kind.steps, pixel)
        if about.guessed and (told := _told(usual, array, kind, wobble, limits)) is not kind:
            notes.append(f"the spots lie on a {told.name} grid, not on a {kind.name} one")
            usual, kind = _seen_on(usual, kind, told), told
        found = _follow(usual, array * kind.steps, pixel, spots.index, limits, where)
        # Where row and column of the array are exchanged, the axes say it more plainly than the mirror.
        _check_axes(found, array, kind, wobble, limits, where)
        if found.mirrored and not limits.mirrored:
            raise GeometryError(where + mirrored_text(found))
        notes += _turned(found, about, where)
    pitch = _pitch(about, kind, where)
    if found is None:
        fit = _no_fit(about, pitch, len(spots), where)
    else:
        place = array * kind.steps
        fit = scale_of(steady_map(found, place, pixel), place, pixel, pitch)
    visium = kind.name == "hexagonal" and about.maker_pitch_um is not None
    notes += _judge_scale(fit, about, limits, where, visium)
    return Geometry(kind.name, pitch, fit, array, tuple(notes))


# -- does the image follow the array -------------------------------------------------------------------


def _usual(
    found: ArrayMap, place: npt.NDArray[np.float64], pixel: npt.NDArray[np.float64], limits: Limits
) -> ArrayMap:
    """Return the map of most spots, which single wrong ones do not move."""
    if found.pitches_off(place, pixel).max() <= limits.max_spot:
        return found
    return robust_map(place, pixel) or found


def _follow(
    usual: ArrayMap,
    place: npt.NDArray[np.float64],
    pixel: npt.NDArray[np.float64],
    names: pd.Index,
    limits: Limits,
    where: str,
) -> ArrayMap:
    """See that each spot lies where the array says, and fit them all."""
    away = usual.pitches_off(place, pixel)
    far = np.flatnonzero(away > limits.max_spot)
    if len(far) > max(MANY * len(place), 1):
        raise GeometryError(
            f"{where}{len(far)} of {len(place)} spots lie more than {limits.max_spot:g} pitches from where "
            "the array says; check that array and pixel positions belong together, and that no column was "
            "sorted or shifted by itself."
        )
    if len(far):
        swapped = usual.pitches_off(place, pixel[:, ::-1])
        wrong = [
            (
                row,
                f"spot {names[row]} lies {away[row]:.1f} pitches from where the array says; "
                + (
                    "pixel x and y are swapped, exchange them."
                    if swapped[row] <= limits.max_spot
                    else "correct its position."
                ),
            )
            for row in far.tolist()
        ]
        listed = ", ".join(f"{names[row]} ({away[row]:.1f})" for row in far[:_NAMED].tolist())
        more = f" and {len(far) - _NAMED} more" if len(far) > _NAMED else ""
        several = (
            f"{len(far)} of {len(place)} spots lie more than {limits.max_spot:g} pitches from where the "
            f"array says: {listed}{more}; correct or remove their positions."
        )
        raise GeometryError(where + (wrong[0][1] if len(wrong) == 1 else several), wrong)
    found = map_array(place, pixel)
    assert found is not None
    residual = float(np.sqrt(np.mean(found.pitches_off(place, pixel) ** 2)))
    if residual > limits.max_residual:
        raise GeometryError(
            f"{where}spots lie {residual:.2f} pitches from where the array says (root mean square), more "
            f"than {limits.max_residual:g}; check that array and pixel positions belong together, or allow "
            "more with `geometry: {max_residual: ...}` in the cohort's file."
        )
    return found


def _seen_on(found: ArrayMap, kind: Grid, other: Grid, *, exchanged: bool = False) -> ArrayMap:
    """Return the same map with places counted on another kind of grid (or with column and row exchanged)."""
    by_step = found.matrix * kind.steps
    return found._replace(matrix=(by_step[:, ::-1] if exchanged else by_step) / other.steps)


def _wobble(found: ArrayMap, place: npt.NDArray[np.float64], pixel: npt.NDArray[np.float64]) -> float:
    """Return by how many pitches a usual spot misses its place, root mean square."""
    if len(place) < _FEW_SPOTS:
        return WHOLE_NUMBERS
    away = found.pitches_off(place, pixel)
    return max(_LEAST_WOBBLE, 1.2 * float(np.median(away)))  # 1.2: of the median of a Rayleigh distribution


def _agree(found: ArrayMap, wobble: float, limits: Limits) -> bool:
    """Whether both axes of the image agree: within the limit, and what few spots cannot tell better."""
    return found.axis_ratio <= 1.0 + limits.max_axes + 2.0 * wobble * found.error


def _told(
    found: ArrayMap, array: npt.NDArray[np.float64], guess: Grid, wobble: float, limits: Limits
) -> Grid:
    """Tell the kind of grid: the guess if the axes agree on it, else the only other one on which they do."""
    if math.isinf(found.error) or _agree(found, wobble, limits):
        return guess
    others = _others(found, array, guess, wobble, limits)
    return others[0] if len(others) == 1 else guess


def _others(
    found: ArrayMap, array: npt.NDArray[np.float64], kind: Grid, wobble: float, limits: Limits
) -> list[Grid]:
    """Return the other kinds of grid on which the axes agree.

    On a staggered array columns and rows are counted so that both are even or both odd at every spot (or
    never); on a square one neighbours differ in that.
    """
    odd = float((cells(kind.name, array[:, 0], array[:, 1]).sum(axis=1) % 2).mean())
    staggered = len(array) >= _ENOUGH_SPOTS and min(odd, 1.0 - odd) <= _ODD
    return [
        other
        for other in GRIDS.values()
        if other.regular
        and other is not kind
        and other.staggered == staggered
        and _agree(_seen_on(found, kind, other), wobble, limits)
    ]


def _check_axes(
    found: ArrayMap,
    array: npt.NDArray[np.float64],
    kind: Grid,
    wobble: float,
    limits: Limits,
    where: str,
) -> None:
    """Stop if one axis of the image is longer than the other, which no scan does."""
    if math.isinf(found.error) or _agree(found, wobble, limits):
        return
    by = f"{found.axis_ratio - 1:.0%}"
    begin = f"{where}the two axes disagree by {by} on a {kind.name} grid, which no scan does"
    others = _others(found, array, kind, wobble, limits)
    if others:
        name = others[0].name
        raise GeometryError(
            f"{begin}; the spots lie on a {name} grid: say `options: {{grid: {name}}}` in the cohort's file, "
            "or correct the positions."
        )
    if _agree(_seen_on(found, kind, kind, exchanged=True), wobble, limits):
        raise GeometryError(
            f"{begin}; column and row of the array are exchanged: array_x counts columns and array_y rows."
        )
    x, y = found.pixels_per_pitch()
    raise GeometryError(
        f"{begin} (a pitch is {x:.4g} pixels along x of the image and {y:.4g} along y); check that pixel_x "
        "and pixel_y are of one image, and that the kind of grid is right."
    )


def _turned(found: ArrayMap, about: Question, where: str) -> list[str]:
    """Note an array that lies turned or mirrored, and refuse one that cannot."""
    angle = found.rotation_deg
    notes = ["the image is a mirror image of the array"] if found.mirrored else []
    if abs(angle) <= TURNED:
        return notes
    if about.framed:
        raise GeometryError(
            f"{where}the array lies turned by {angle:.0f} degrees, but the image is cropped to the frame "
            "of the array and cannot; check that image and positions belong together, and that none was "
            "turned alone."
        )
    return [*notes, f"the array lies turned by {angle:.0f} degrees in the image"]


# -- the scale --------------------------------------------------------------------------------------------


def _pitch(about: Question, kind: Grid, where: str) -> float:
    """Return the distance of neighbouring spots: what the maker says, else what the cohort's file says."""
    maker = about.maker_pitch_um if kind.name == "hexagonal" else None
    if maker is None:
        if about.pitch_um is None:
            raise ScaleError(
                f"{where}the distance of neighbouring spots is not known; give `pitch_um` in the cohort's "
                "file (200 for legacy Spatial Transcriptomics arrays, the side of a bin for square bins)."
            )
        return about.pitch_um
    if about.pitch_um is not None and abs(about.pitch_um / maker - 1.0) > 0.01:
        raise ScaleError(
            f"{where}`pitch_um` is {about.pitch_um:g}, but neighbouring spots of a Visium array are "
            f"{maker:g} µm apart; leave `pitch_um` out, or write {maker:g}."
        )
    return maker


def _no_fit(about: Question, pitch_um: float, n_spots: int, where: str) -> ScaleFit:
    """Return the scale that is declared, or stated by a source to be relied on."""
    try:
        return declared_scale(_said(about), pitch_um, n_spots, where)
    except UserError as error:
        raise ScaleError(str(error)) from None


def _said(about: Question) -> float | None:
    if about.declared is not None:
        return about.declared
    if about.factors is not None and about.factors.um_per_px is not None:
        low, high = about.factors.um_per_px
        if low == high:
            return low
    return next((said.um_per_px for said in about.stated if said.measured), None)


def _judge_scale(
    fit: ScaleFit, about: Question, limits: Limits, where: str, visium: bool = False
) -> list[str]:
    """Refuse scales that are implausible or contradicted; returns notes."""
    shows = "the spot grid shows" if fit.fitted else "the scale is"
    contradiction = _contradiction(fit, about, limits, visium)
    reduced = "the positions look like those of a reduced image: give them in pixels of the full image"
    text = implausible_text(fit.um_per_px, limits.min_um_per_px, limits.max_um_per_px)
    if text:
        small = "check `pitch_um`, and that positions are in pixels of this image"
        remedy = reduced if fit.um_per_px > limits.max_um_per_px else small
        raise ScaleError(f"{where}{shows} {text}; {contradiction or remedy}.")
    text = too_long_text(fit.um_per_px, *about.size, limits.max_image_mm)
    if text:
        raise ScaleError(f"{where}{text}; {contradiction or reduced + ', or correct `pitch_um`'}.")
    if contradiction:
        raise ScaleError(f"{where}{shows} {fit.um_per_px:.4g} µm per pixel, but {contradiction}.")
    try:
        check_declared(fit, about.declared, about.section, limits.max_difference)
    except UserError as error:
        raise ScaleError(str(error)) from None
    return [*_compare_image(fit, about, limits, where, shows), *_maybe_micrometres(fit, about)]


def _maybe_micrometres(fit: ScaleFit, about: Question) -> list[str]:
    """Note a grid with as many pixels as micrometres between spots, where nothing else tells the scale.

    Such a picture would be rare; positions in micrometres are not.
    """
    told = about.declared is not None or any(said.measured for said in about.stated)
    told = told or (about.factors is not None and about.factors.um_per_px is not None)
    if told or not fit.fitted or abs(fit.um_per_px - 1.0) > _AS_MICROMETRES:
        return []
    pitch = math.sqrt(fit.pitch_px_x * fit.pitch_px_y)
    return [
        f"neighbouring spots are {pitch:.4g} apart, as many as micrometres, so that positions may be in "
        "micrometres and not in pixels: if the image has 1 µm per pixel, declare um_per_px: 1"
    ]


def _contradiction(fit: ScaleFit, about: Question, limits: Limits, visium: bool) -> str:
    """Say how scale factors contradict the scale, and what follows from it; "" if they do not."""
    factors = about.factors
    if factors is None or factors.um_per_px is None:
        return ""
    low, high = factors.um_per_px
    exact = low == high
    if not (exact or visium):
        return ""  # for other arrays, programs write any diameter
    slack = 1.0 + limits.max_difference
    if low / slack <= fit.um_per_px <= high * slack:
        return ""
    said = f"{factors.source} says {low:.4g}" + ("" if exact else f" to {high:.4g}")
    for name, share in factors.reduced.items():
        if low / slack <= fit.um_per_px * share <= high * slack:
            return f"{said}: the positions are those of a small image, divide them by {name} ({share:g})"
    return f"{said}; correct `pitch_um`, or give positions and scale factors of the same image"


def _compare_image(fit: ScaleFit, about: Question, limits: Limits, where: str, shows: str) -> list[str]:
    """Compare the scale with what the image says of itself.

    What a scanner measured stops the run, unless the scale is declared and so confirmed; a resolution for
    print is noted.
    """
    notes = []
    for said in about.stated:
        difference = fit.um_per_px / said.um_per_px - 1.0
        if abs(difference) <= limits.max_difference:
            continue
        text = f"the image states {said}"
        if said.measured and about.declared is None:
            raise ScaleError(
                f"{where}{shows} {fit.um_per_px:.4g} µm per pixel, but {text}; check that image and "
                "positions belong together, correct `pitch_um`, or declare um_per_px for this section to "
                "confirm it."
            )
        notes.append(f"{text}; {shows} {fit.um_per_px:.4g}")
    return notes


# -- without an array ---------------------------------------------------------------------------------------


def _irregular(pixel: npt.NDArray[np.float64], about: Question, limits: Limits, where: str) -> Geometry:
    """Take the scale from what is said, and the pitch from the spots' own distances."""
    scale = _said(about)
    if scale is None:
        raise ScaleError(
            f"{where}spots have no array positions, so that the scale cannot be fitted, and no file states "
            "it; declare um_per_px for this section, or add array positions."
        )
    pitch_px = nearest_distance(pixel)
    if pitch_px > 0:
        pitch_um = pitch_px * scale
    elif about.pitch_um is not None:
        pitch_um = about.pitch_um
    else:
        raise ScaleError(
            f"{where}all spots lie at one place, so that their distance cannot be told; give `pitch_um`."
        )
    fit = declared_scale(scale, pitch_um, len(pixel), where)
    notes = _judge_scale(fit, replace(about, maker_pitch_um=None), limits, where)
    return Geometry("irregular", pitch_um, fit, pixel / (pitch_um / scale), tuple(notes))


def nearest_distance(points: npt.NDArray[np.float64]) -> float:
    """Return the median distance of spots to the nearest other place; 0 if there is none."""
    from scipy.spatial import KDTree

    distinct = np.unique(points, axis=0)
    return float(np.median(KDTree(distinct).query(distinct, k=2)[0][:, 1])) if len(distinct) > 1 else 0.0
