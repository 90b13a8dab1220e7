"""Painting the two stain densities of a simulated section, strip by strip.

Everything random is decided once per section (``Plan``); strips only look it up, so that the memory needed
does not grow with the image and strips fit together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from histobench.cohorts.simulation import nuclei
from histobench.cohorts.simulation.tissue import DENSITY, MAP_UM, smooth_field
from histobench.seeds import seed_for

if TYPE_CHECKING:
    from histobench.cohorts.simulation.settings import SimulationSettings
    from histobench.cohorts.simulation.tissue import Tissue

HALO_UM = 130.0
"""What a strip must know beyond its edges: more than a fat cell or a nucleus is wide."""

_NOISE_WIDTH = 1024  # texture noise repeats after this many samples, far apart enough not to show
_NOISE_HILL = 2.5  # samples from hill to hill in the texture noise
_NEST_PITCH_UM = 75.0  # from nest to nest: several in a patch of 150 µm
_NEST_AREA = 0.4  # share of the tissue that lies in nests
# Density over the usual one, which leaves room for nests, and spacing in nests (µm), where nuclei just touch.
_NESTING = {"tumour": (0.46, 11.5), "immune": (0.46, 8.4), "stroma": (0.8, 17.0)}
_TEXTURES = ("edge", "edge fine", "rim", "immune", "cytoplasm", "fibre", "bundle", "broad")


@dataclass(frozen=True)
class Nuclei:
    """Stamps of one look, and which of them goes to which pixel."""

    stamps: np.ndarray
    which: np.ndarray
    column: np.ndarray
    row: np.ndarray


class Plan:
    """All random choices for one section's image, and the maps that need no full resolution."""

    def __init__(self, settings: SimulationSettings, section: str, tissue: Tissue) -> None:
        self.um_per_px = settings.um_per_px
        self.width, self.height = settings.image_size
        self.tissue = tissue
        rng = np.random.default_rng(seed_for("simulated", settings.seed, section, "image"))
        self.noise = _periodic_noise(rng)
        self.starts = {name: rng.uniform(0, _NOISE_WIDTH, 2) for name in _TEXTURES}
        shape = tissue.level.shape
        self.across = tissue.fibre + 1.6 * smooth_field(rng, shape, 38)
        down, right = np.gradient(tissue.fibre)
        self.fibre_turn = float(np.arctan2(down.mean(), right.mean()))
        self.cytoplasm = 0.34 + 0.06 * smooth_field(rng, shape, 16)
        # Nests shrink away from the stroma in places; glands are open.
        shrunk = np.clip(1.5 * smooth_field(rng, shape, 60) - 0.3, 0, 1)
        cleft = np.exp(-((tissue.nest_margin - 0.03) ** 2) / 0.0009) * shrunk
        lumen = np.clip((cv2.GaussianBlur(tissue.lumen, (0, 0), 0.8) - 0.5) * 4 + 0.5, 0, 1)
        self.gaps = np.clip(np.maximum(0.97 * lumen, cleft), 0, 1).astype(np.float32)
        self.fat_x, self.fat_y = nuclei.place(rng, tissue, np.full_like(tissue.level, 1e6), 60.0, 0.38)
        self.nests: tuple[np.ndarray, np.ndarray] | None = None
        if settings.n_genes_morphology:
            share = 0.5 + settings.morphology_contrast * (tissue.nested - 0.5)
            self.nests = share.astype(np.float32), _nests(rng, tissue)
        self.nuclei = [
            *self._tumour_nuclei(rng),
            self._stroma_nuclei(rng),
            self._chosen(rng, nuclei.LYMPHOCYTE, self._place(rng, "immune", 7.4, 0.30), None),
        ]
        # Fat nuclei need the walls between fat cells, which only a strip knows: points that may carry one.
        rims = (tissue.fat > 0.5) * tissue.inside * np.float32(1100)
        self.rim_x, self.rim_y = nuclei.place(rng, tissue, rims, 9.0, 0.5)
        self.rim_stamps = nuclei.draw_stamps(rng, nuclei.ADIPOCYTE, self.um_per_px, _directions(2))

    def _place(
        self, rng: np.random.Generator, kind: str, spacing_um: float, jitter: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose positions of one kind's nuclei: at random or, with morphology genes, evenly and in nests.

        Evenly spread and nested nuclei are equally many and look the same, so that a patch holds the same
        amount of stain, spread over its pixels in the same way, wherever its nuclei stand.
        """
        density = self.tissue.nuclei_per_mm2(kind)
        if self.nests is None:
            return nuclei.place(rng, self.tissue, density, spacing_um, jitter)
        share, mask = self.nests
        thinned, within_um = _NESTING[kind]
        # The lattice that holds just the densest tissue leaves no holes, which would look like nests.
        even_um = 1000 * np.sqrt(2 / (np.sqrt(3) * thinned * DENSITY[kind]))
        even = nuclei.place(rng, self.tissue, thinned * density * (1 - share), even_um, jitter)
        nested = nuclei.place(rng, self.tissue, thinned * density * share * mask, within_um, jitter)
        return np.concatenate([even[0], nested[0]]), np.concatenate([even[1], nested[1]])

    def _tumour_nuclei(self, rng: np.random.Generator) -> list[Nuclei]:
        """Place tumour nuclei in ten looks from low to high grade."""
        x, y = self._place(rng, "tumour", 10.8, 0.30)
        step = np.clip((self.tissue.at(self.tissue.grade, x, y) * 10).astype(int), 0, 9)
        return [
            self._chosen(rng, nuclei.tumour_look((i + 0.5) / 10), (x[step == i], y[step == i]), None)
            for i in range(10)
        ]

    def _stroma_nuclei(self, rng: np.random.Generator) -> Nuclei:
        """Place fibroblast nuclei along the fibres."""
        x, y = self._place(rng, "stroma", 15.0, 0.45)
        angle = self.tissue.at(self.tissue.fibre_angle, x, y) + rng.normal(0, 0.18, x.size)
        return self._chosen(rng, nuclei.FIBROBLAST, (x, y), angle)

    def _chosen(
        self,
        rng: np.random.Generator,
        look: nuclei.Look,
        points: tuple[np.ndarray, np.ndarray],
        angle: np.ndarray | None,
    ) -> Nuclei:
        """Draw the stamps of one look and choose one per point, along ``angle`` where given."""
        variants = 2 if angle is None else 5
        stamps = nuclei.draw_stamps(rng, look, self.um_per_px, _directions(variants))
        x, y = points
        if angle is None:
            which = rng.integers(0, len(stamps), x.size)
        else:
            which = _nearest_direction(angle) + nuclei.ANGLES * rng.integers(0, variants, x.size)
        return Nuclei(stamps, which, self.pixel(x), self.pixel(y))

    def pixel(self, um: np.ndarray) -> np.ndarray:
        """Turn micrometres into whole pixels."""
        return np.rint(um / self.um_per_px).astype(int)


class Strip:
    """Rows ``top`` to ``bottom`` of the image; paints haematoxylin and eosin, float32 (rows, width)."""

    def __init__(self, plan: Plan, top: int, bottom: int) -> None:
        self.plan = plan
        self.top, self.rows = top, bottom - top
        self.size = (plan.width, self.rows)

    def paint(self) -> tuple[np.ndarray, np.ndarray]:
        """Return haematoxylin and eosin density; rows within ``HALO_UM`` of an inner edge are not exact."""
        plan, tissue = self.plan, self.plan.tissue
        scale = plan.um_per_px
        ragged = 5 * self.grain("edge", 9) + 2 * self.grain("edge fine", 3)
        inside = np.clip((self.enlarge(tissue.level) + ragged) / (3 * scale) + 0.5, 0, 1)
        fat, vacuole, depth = self.fat_cells()
        tumour, immune = self.enlarge(tissue.tumour), self.enlarge(tissue.immune)
        stroma = np.clip(1 - tumour - immune, 0, 1)
        cytoplasm = np.clip(self.enlarge(plan.cytoplasm) + 0.05 * self.grain("cytoplasm", 5), 0.1, 0.8)
        eosin = (
            stroma * self.collagen() + tumour * cytoplasm + immune * (0.3 + 0.06 * self.grain("immune", 4))
        )
        haematoxylin = 0.03 * stroma + 0.55 * tumour * cytoplasm + 0.16 * immune
        present = (1 - fat) * inside * (1 - self.enlarge(plan.gaps) * tumour)
        eosin *= present
        haematoxylin *= present
        rim = fat * (1 - vacuole) * inside
        eosin += rim * (0.5 + 0.1 * self.grain("rim", 5)) + 0.015 * fat * inside
        haematoxylin += 0.04 * rim

        dots = np.zeros((self.rows, plan.width), np.float32)
        for group in plan.nuclei:
            self.stamp(dots, group)
        self.stamp(dots, self.fat_nuclei(depth))
        dots *= inside * (1 - fat * vacuole)
        eosin *= 1 - 0.55 * np.clip(1.6 * dots, 0, 1)  # a nucleus displaces the cytoplasm around it
        haematoxylin += dots
        blur = 0.55 / scale
        if blur > 0.25:  # the microscope's blur, unless pixels are coarser than it
            eosin = cv2.GaussianBlur(eosin, (0, 0), 1.4 * blur)
            haematoxylin = cv2.GaussianBlur(haematoxylin, (0, 0), blur)
        return np.maximum(haematoxylin, 0), np.maximum(eosin, 0)

    def enlarge(self, values: np.ndarray) -> np.ndarray:
        """Interpolate a tissue map to the pixels of the strip."""
        ratio = self.plan.um_per_px / MAP_UM
        matrix = np.array([[ratio, 0, 0], [0, ratio, self.top * ratio]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(values, matrix, self.size, flags=flags, borderMode=cv2.BORDER_REPLICATE)

    def grain(self, texture: str, hill_um: float) -> np.ndarray:
        """Return isotropic noise with hills of about ``hill_um``, roughly unit sd."""
        ratio = _NOISE_HILL * self.plan.um_per_px / hill_um
        x, y = self.plan.starts[texture]
        matrix = np.array([[ratio, 0, x], [0, ratio, y + self.top * ratio]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(self.plan.noise, matrix, self.size, flags=flags, borderMode=cv2.BORDER_WRAP)

    def collagen(self) -> np.ndarray:
        """Return eosin density of connective tissue: wavy bundles of fibres with clefts between them."""
        plan = self.plan
        scale = np.float32(plan.um_per_px)
        across = self.enlarge(plan.across)
        columns = np.arange(plan.width, dtype=np.float32)[None, :] * scale
        rows = np.arange(self.top, self.top + self.rows, dtype=np.float32)[:, None] * scale
        along = np.float32(np.cos(plan.fibre_turn)) * rows - np.float32(np.sin(plan.fibre_turn)) * columns

        def streaks(texture: str, width_um: float, length_um: float) -> np.ndarray:
            """Return noise that is stretched along the fibres."""
            x, y = plan.starts[texture]
            return cv2.remap(
                plan.noise,
                along * np.float32(_NOISE_HILL / length_um) + np.float32(x),
                across * np.float32(_NOISE_HILL / width_um) + np.float32(y),
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_WRAP,
            )

        fine, bundle, broad = streaks("fibre", 3.2, 55), streaks("bundle", 17, 170), streaks("broad", 60, 320)
        density = 0.52 + 0.10 * fine + 0.11 * bundle + 0.12 * broad
        cleft = np.clip(2.2 * (bundle + 0.45 * fine - 0.35 * broad - 1.55), 0, 1)
        return np.clip(density, 0.12, 1.3) * (1 - 0.95 * cleft)

    def fat_cells(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return where fat cells are, their empty vacuoles (both 0 to 1), and the smoothed wall distance.

        Fat cells are the Voronoi cells of jittered points; a cell belongs to the fat as a whole.
        """
        plan = self.plan
        column = np.clip(plan.pixel(plan.fat_x), 0, plan.width - 1)
        row = plan.pixel(plan.fat_y) - self.top
        near = (row >= 0) & (row < self.rows)
        column, row = column[near], row[near]
        fat = plan.tissue.at(plan.tissue.fat, plan.fat_x[near], plan.fat_y[near]) > 0.5
        blank = np.full((self.rows, plan.width), 255, np.uint8)
        blank[row, column] = 0
        _, label = cv2.distanceTransformWithLabels(
            blank, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )  # label: number of the nearest point
        is_fat = np.zeros(int(label.max()) + 1, np.float32)
        is_fat[label[row, column]] = fat
        same = np.ones((self.rows, plan.width), np.uint8)
        same[:, 1:] &= label[:, 1:] == label[:, :-1]
        same[1:] &= label[1:] == label[:-1]
        to_wall = cv2.distanceTransform(same, cv2.DIST_L2, 3) * np.float32(plan.um_per_px)
        # Blurring before the cut rounds the corners, where real fat cells leave little triangles.
        depth = cv2.GaussianBlur(np.minimum(to_wall, 9.0), (0, 0), 5.0 / plan.um_per_px)
        step = max(plan.um_per_px, 1.0)
        vacuole = np.clip(np.minimum((depth - 3.4) / (0.8 * step), (to_wall - 1.4) / step) + 0.5, 0, 1)
        return is_fat[label], vacuole, depth

    def fat_nuclei(self, depth: np.ndarray) -> Nuclei:
        """Choose the fat nuclei of the strip: those points that lie on a wall, flat along it."""
        plan = self.plan
        column = np.clip(plan.pixel(plan.rim_x), 1, plan.width - 2)
        row = plan.pixel(plan.rim_y) - self.top
        number = np.flatnonzero((row >= 1) & (row < self.rows - 1))
        number = number[depth[row[number], column[number]] < 3.6]
        column, row = column[number], row[number]
        right = depth[row, column + 1] - depth[row, column - 1]
        down = depth[row + 1, column] - depth[row - 1, column]
        which = _nearest_direction(np.arctan2(down, right) + np.pi / 2) + nuclei.ANGLES * (number % 2)
        return Nuclei(plan.rim_stamps, which, column, row + self.top)

    def stamp(self, canvas: np.ndarray, group: Nuclei) -> None:
        """Press the nuclei of one look onto the strip."""
        nuclei.stamp(canvas, group.stamps, group.which, group.column, group.row - self.top)


def _nests(rng: np.random.Generator, tissue: Tissue) -> np.ndarray:
    """Return by what density is multiplied where nuclei stand in nests: float32 map, mean 1, 0 between nests.

    Nests are discs on a jittered lattice, so that every patch has about the same number of them.
    """
    x, y = nuclei.place(rng, tissue, np.full_like(tissue.level, 1e6), _NEST_PITCH_UM, 0.2)
    rows, columns = tissue.level.shape
    blank = np.full((rows, columns), 255, np.uint8)
    row = np.clip(np.rint(y / MAP_UM).astype(int), 0, rows - 1)
    blank[row, np.clip(np.rint(x / MAP_UM).astype(int), 0, columns - 1)] = 0
    distance = cv2.distanceTransform(blank, cv2.DIST_L2, 5)
    inside = distance <= np.quantile(distance, _NEST_AREA)
    return (inside / inside.mean()).astype(np.float32)


def _periodic_noise(rng: np.random.Generator) -> np.ndarray:
    """Return smooth noise that repeats without a seam: float32, unit sd."""
    noise = rng.standard_normal((_NOISE_WIDTH, _NOISE_WIDTH)).astype(np.float32)
    blurred = cv2.GaussianBlur(np.pad(noise, 8, mode="wrap"), (0, 0), 1.0)[8:-8, 8:-8]
    return np.ascontiguousarray(blurred / blurred.std())


def _directions(variants: int) -> np.ndarray:
    """Return the angles for which stamps are drawn, ``variants`` times over."""
    return np.tile(np.arange(nuclei.ANGLES) * np.pi / nuclei.ANGLES, variants)


def _nearest_direction(angle: np.ndarray) -> np.ndarray:
    """Return the number of the drawn direction nearest to an angle in radians (half a turn is the same)."""
    return np.rint(np.mod(angle, np.pi) / np.pi * nuclei.ANGLES).astype(int) % nuclei.ANGLES
