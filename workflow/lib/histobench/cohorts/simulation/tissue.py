"""Latent tissue of the simulated cohort: smooth maps of what grows where, shared by image and counts.

All maps lie on one raster of ``MAP_UM`` micrometres; map pixel (row, column) is the point
(column * MAP_UM, row * MAP_UM) of the section, with the array's first position at the origin. A patient has
one set of latent fields; each section looks at them through its own smooth deformation and adds a little of
its own, as serial cuts do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from histobench.cohorts.simulation.settings import PITCH_UM
from histobench.seeds import seed_for

if TYPE_CHECKING:
    from histobench.cohorts.simulation.settings import SimulationSettings

MAP_UM = 4.0
"""Micrometres per map pixel: finer than a cell, coarse enough to be cheap."""

_MARGIN_UM = (
    600.0  # the patient's fields reach this far beyond the frame, so that deformed sections stay inside
)
_BORDER_UM = 130.0  # no tissue nearer to the image border: every spot keeps a window of 224 px at 1 µm/px

# Nuclei per mm² of pure tissue, in the range of published counts for breast tissue.
DENSITY = {"tumour": 7500.0, "stroma": 1500.0, "immune": 13000.0, "fat": 200.0}
GRADE_THINNING = 0.5  # larger nuclei of high grade need more room

_STEEPNESS = 4.0  # of the change from evenly spread nuclei to nests
_ROUNDS = 6  # of balancing: the share is not linear in the field, so that one does not do


@dataclass(frozen=True)
class Tissue:
    """Maps of one section, float32 (rows, columns) at ``MAP_UM`` µm per pixel.

    Attributes
    ----------
    level
        Signed depth below the tissue surface, positive inside, roughly in micrometres.
    tumour, stroma, immune, fat
        Shares of the tissue, they add to 1 everywhere.
    lumen
        1 in gland openings inside tumour, else 0.
    grade
        Nuclear grade of tumour, 0 (small, regular, glandular) to 1 (large, irregular, solid).
    nest_margin
        Signed distance from the edge of tumour nests in field units, positive inside.
    fibre
        Scalar whose level lines are the collagen fibres, in micrometres across them.
    fibre_angle
        Direction of the fibres, radians.
    nested
        Share of the nuclei that stand in nests, 0 to 1; the others are spread evenly. Without meaning where
        the cohort has no morphology genes: 0.5 throughout.
    """

    level: np.ndarray
    tumour: np.ndarray
    stroma: np.ndarray
    immune: np.ndarray
    fat: np.ndarray
    lumen: np.ndarray
    grade: np.ndarray
    nest_margin: np.ndarray
    fibre: np.ndarray
    fibre_angle: np.ndarray
    nested: np.ndarray

    @property
    def inside(self) -> np.ndarray:
        """Bool map of where there is tissue."""
        return self.level > 0

    def nuclei_per_mm2(self, kind: str) -> np.ndarray:
        """Return expected nuclei per mm² of one tissue kind, zero outside the tissue and in lumens."""
        density = DENSITY[kind] * getattr(self, kind) * self.inside * (1 - self.lumen)
        return density * (1 - GRADE_THINNING * self.grade) if kind == "tumour" else density

    def at(self, values: np.ndarray, x_um: np.ndarray, y_um: np.ndarray) -> np.ndarray:
        """Look a map up at points given in micrometres (nearest map pixel)."""
        columns = np.clip(np.rint(x_um / MAP_UM).astype(int), 0, values.shape[1] - 1)
        rows = np.clip(np.rint(y_um / MAP_UM).astype(int), 0, values.shape[0] - 1)
        return values[rows, columns]


def smooth_field(
    rng: np.random.Generator, shape: tuple[int, int], scale_um: float, step_um: float = MAP_UM
) -> np.ndarray:
    """Draw a smooth Gaussian field: float32, mean 0, sd 1, with hills about ``scale_um`` apart.

    White noise on a raster of a third of the scale is blurred there and enlarged, so that the cost does not
    grow with the scale.
    """
    coarse = max(scale_um / 3.0, step_um)
    rows = int(np.ceil(shape[0] * step_um / coarse)) + 8
    columns = int(np.ceil(shape[1] * step_um / coarse)) + 8
    noise = cv2.GaussianBlur(rng.standard_normal((rows, columns), dtype=np.float32), (0, 0), 1.2)
    ratio = step_um / coarse
    shift = np.array([[ratio, 0, 3.0], [0, ratio, 3.0]])
    size = (shape[1], shape[0])
    field = cv2.warpAffine(noise, shift, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    return ((field - field.mean()) / max(float(field.std()), 1e-6)).astype(np.float32)


def _frame_um(settings: SimulationSettings) -> tuple[float, float]:
    """Height and width of the array frame in micrometres."""
    return (settings.grid_rows - 1) * PITCH_UM, (settings.grid_columns - 1) * PITCH_UM


@lru_cache(maxsize=1)  # sections of a patient are usually made one after the other
def _patient_fields(settings: SimulationSettings, patient: str) -> dict[str, np.ndarray]:
    """Draw the patient's latent fields on the frame plus a margin; names to float32 maps, unit sd."""
    rng = np.random.default_rng(seed_for("simulated", settings.seed, patient, "tissue"))
    shape = _margin_shape(settings)
    octaves = {
        "tumour": ((520, 1.0), (190, 0.65), (85, 0.45), (30, 0.12)),
        "immune": ((420, 1.0), (150, 0.6), (60, 0.3)),
        "fat": ((800, 1.0), (260, 0.45)),
        "grade": ((900, 1.0), (300, 0.4)),
        "lumen": ((46, 1.0), (24, 0.4)),
        "bend": ((420, 1.0), (160, 0.22)),
        "outline": ((700, 1.0), (220, 0.3), (60, 0.07)),
    }
    result: dict[str, np.ndarray] = {}
    for name, parts in octaves.items():
        field = np.zeros(shape, np.float32)
        for scale, weight in parts:
            field += np.float32(weight) * smooth_field(rng, shape, scale)
        result[name] = field / field.std()
    return result


def _margin_shape(settings: SimulationSettings) -> tuple[int, int]:
    height, width = _frame_um(settings)
    return (
        int(np.ceil((height + 2 * _MARGIN_UM) / MAP_UM)) + 1,
        int(np.ceil((width + 2 * _MARGIN_UM) / MAP_UM)) + 1,
    )


def _deformation(
    settings: SimulationSettings, section: str, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return where each map pixel of the section lies in the patient's fields (column and row coordinates).

    A turn of a few degrees, a shift of a fraction of a spot, and a smooth stretch, as sections lie on slides.
    """
    rng = np.random.default_rng(seed_for("simulated", settings.seed, section, "deformation"))
    angle = np.deg2rad(rng.normal(0, 4))
    shift = rng.normal(0, 40, size=2)
    stretch = [smooth_field(rng, shape, 900) * 35 for _ in range(2)]
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32) * np.float32(MAP_UM)
    height, width = _frame_um(settings)
    dy, dx = rows - height / 2, columns - width / 2
    x = width / 2 + np.cos(angle) * dx - np.sin(angle) * dy + shift[0] + stretch[0]
    y = height / 2 + np.sin(angle) * dx + np.cos(angle) * dy + shift[1] + stretch[1]
    return ((x + _MARGIN_UM) / MAP_UM).astype(np.float32), ((y + _MARGIN_UM) / MAP_UM).astype(np.float32)


def _outline(settings: SimulationSettings, field: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the signed depth below the tissue surface (µm): a lobed ellipse inside the frame."""
    height, width = _frame_um(settings)
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32) * np.float32(MAP_UM)
    radius = np.hypot((columns - width / 2) / (width / 2), (rows - height / 2) / (height / 2))
    half = min(height, width) / 2
    lobed = (1 - radius) * half + field * np.float32(0.09 * half)
    border = np.minimum.reduce([columns, rows, width - columns, height - rows]) - np.float32(_BORDER_UM)
    # The level of the wanted area: the border is respected first, then the ellipse grows or shrinks.
    inside = border > 0
    wanted = min(settings.tissue_share * inside.size / max(int(inside.sum()), 1), 1.0)
    threshold = np.quantile(lobed[inside], 1 - wanted)
    return np.minimum(lobed - threshold, border + field * 6).astype(np.float32)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -30, 30)))


@lru_cache(maxsize=1)  # counts, labels and image of a section ask for the same tissue
def grow_tissue(settings: SimulationSettings, patient: str, section: str) -> Tissue:
    """Grow the latent tissue of one section. Deterministic in settings and names; not to be modified."""
    height, width = _frame_um(settings)
    shape = (round(height / MAP_UM) + 1, round(width / MAP_UM) + 1)
    fields = _patient_fields(settings, patient)
    columns, rows = _deformation(settings, section, shape)
    rng = np.random.default_rng(seed_for("simulated", settings.seed, section, "own tissue"))

    def cut(name: str, own_share: float, scale_um: float) -> np.ndarray:
        """Return the patient's field in this section, blended with variation of the section's own."""
        shared = cv2.remap(fields[name], columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        own = smooth_field(rng, shape, scale_um)
        return np.float32(np.sqrt(1 - own_share**2)) * shared + np.float32(own_share) * own

    # Thresholds come from the patient's undeformed fields: all cuts of a patient have the same mixture.
    amounts = np.random.default_rng(seed_for("simulated", settings.seed, patient, "amounts"))
    share = {
        "tumour": amounts.uniform(0.34, 0.52),
        "immune": amounts.uniform(0.10, 0.20),
        "fat": amounts.uniform(0.08, 0.20),
    }
    grade_shift = amounts.normal(0, 0.5)
    fibre_turn = amounts.uniform(0, np.pi)

    nest = cut("tumour", 0.25, 120)
    # Lymphocytes gather along the edges of tumour nests.
    infiltrate = cut("immune", 0.3, 120) + 0.9 * np.exp(-((nest - 0.2) ** 2) / 0.18)
    margin = {
        "tumour": nest - np.quantile(fields["tumour"], 1 - share["tumour"]),
        "fat": cut("fat", 0.15, 200) - np.quantile(fields["fat"], 1 - share["fat"]),
        "immune": infiltrate - np.quantile(infiltrate, 1 - share["immune"]),
    }
    fat = _sigmoid(30 * margin["fat"])
    immune = (1 - fat) * _sigmoid(7 * margin["immune"])
    tumour = (1 - fat - immune) * _sigmoid(25 * margin["tumour"])
    grade = _sigmoid(2.2 * (cut("grade", 0.15, 300) + grade_shift))
    lumen = (tumour > 0.8) & (margin["tumour"] > 0.2) & (cut("lumen", 0.5, 40) > 1.25 + 1.5 * grade)
    fibre, angle = _fibres(cut("bend", 0.2, 200), fibre_turn)
    level = _outline(settings, cut("outline", 0.2, 250), shape)
    nested = np.full(shape, 0.5, np.float32)
    if settings.n_genes_morphology:
        field = cv2.remap(_nesting_field(settings, patient), columns, rows, cv2.INTER_LINEAR)
        nested = _balanced(field, [tumour, immune, fat, tumour * grade], level > 0)
    return Tissue(
        level=level,
        tumour=tumour.astype(np.float32),
        stroma=np.clip(1 - fat - immune - tumour, 0, 1).astype(np.float32),
        immune=immune.astype(np.float32),
        fat=fat.astype(np.float32),
        lumen=lumen.astype(np.float32),
        grade=grade.astype(np.float32),
        nest_margin=margin["tumour"].astype(np.float32),
        fibre=fibre,
        fibre_angle=angle,
        nested=nested,
    )


def _nesting_field(settings: SimulationSettings, patient: str) -> np.ndarray:
    """Draw the patient's field of nesting, from randomness of its own: float32, unit sd."""
    rng = np.random.default_rng(seed_for("simulated", settings.seed, patient, "nesting"))
    shape = _margin_shape(settings)
    field = smooth_field(rng, shape, 700) + np.float32(0.4) * smooth_field(rng, shape, 260)
    return (field / field.std()).astype(np.float32)


def _balanced(field: np.ndarray, causes: list[np.ndarray], inside: np.ndarray) -> np.ndarray:
    """Return the share of nuclei that stand in nests: float32, 0 to 1, near 0 or 1 in most places.

    Over the section the share has mean 1/2 and is uncorrelated with the causes of colour. By chance alone a
    few hills would correlate with them.
    """
    design = np.stack([np.ones(int(inside.sum())), *(cause[inside] for cause in causes)], axis=1)
    share = _sigmoid(_STEEPNESS * field)
    for _ in range(_ROUNDS):
        slopes = np.linalg.lstsq(design, share[inside] - 0.5, rcond=None)[0].astype(np.float32)
        field = field - slopes[0] - sum(s * cause for s, cause in zip(slopes[1:], causes, strict=True))
        share = _sigmoid(_STEEPNESS * field)
    return share.astype(np.float32)


def _fibres(bend: np.ndarray, turn: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the scalar whose level lines are fibres, and their direction: a bent plane."""
    rows, columns = np.mgrid[: bend.shape[0], : bend.shape[1]].astype(np.float32) * np.float32(MAP_UM)
    fibre = (np.cos(turn) * columns + np.sin(turn) * rows + 110 * bend).astype(np.float32)
    down, right = np.gradient(fibre)
    return fibre, (np.arctan2(down, right) + np.pi / 2).astype(np.float32)
