"""The simulated H&E image: two stain densities drawn from the latent tissue, mixed by the Beer-Lambert law."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from histobench.cohorts import simulate_nuclei as nuclei
from histobench.cohorts.simulate_tissue import MAP_UM
from histobench.files import atomic_path
from histobench.seeds import seed_for

if TYPE_CHECKING:
    from histobench.cohorts.simulate import SimulationSettings
    from histobench.cohorts.simulate_tissue import Tissue

# Optical density of one unit of stain in red, green and blue (unit length, natural log).
HAEMATOXYLIN = (0.66, 0.69, 0.29)
EOSIN = (0.11, 0.93, 0.35)

_NOISE_WIDTH = 1024  # texture noise repeats after this many samples, far apart enough not to show


def write_image(settings: SimulationSettings, patient: str, section: str, tissue: Tissue, path: Path) -> None:
    """Write the section's H&E image as a JPEG (RGB, 4:4:4 would be larger and looks the same)."""
    import imagecodecs

    image = draw_image(settings, patient, section, tissue)
    with atomic_path(path) as temporary:
        temporary.write_bytes(imagecodecs.jpeg8_encode(image, level=settings.jpeg_quality))


def draw_image(settings: SimulationSettings, patient: str, section: str, tissue: Tissue) -> np.ndarray:
    """Draw the section's H&E image: uint8, (height, width, 3), RGB."""
    painter = _Painter(settings, section, tissue)
    haematoxylin, eosin = painter.paint()
    return _light(settings, patient, section, haematoxylin, eosin)


class _Painter:
    """Draws the two stain densities of one section, each float32 (height, width)."""

    def __init__(self, settings: SimulationSettings, section: str, tissue: Tissue) -> None:
        self.um_per_px = settings.um_per_px
        self.width, self.height = settings.image_size
        self.tissue = tissue
        self.rng = np.random.default_rng(seed_for("simulated", settings.seed, section, "image"))
        self.noise = cv2.GaussianBlur(
            self.rng.standard_normal((_NOISE_WIDTH, _NOISE_WIDTH)).astype(np.float32),
            (0, 0), 1.0, borderType=cv2.BORDER_REFLECT_101,
        )  # fmt: skip
        self.noise /= self.noise.std()

    def paint(self) -> tuple[np.ndarray, np.ndarray]:
        """Return haematoxylin and eosin density."""
        tissue = self.tissue
        ragged = self.grain(9) * 5 + self.grain(3) * 2
        inside = np.clip((self.enlarge(tissue.level) + ragged) / (3 * self.um_per_px) + 0.5, 0, 1)
        fat_cell, vacuole = self.adipocytes()
        tumour = self.enlarge(tissue.tumour)
        immune = self.enlarge(tissue.immune)
        solid = (1 - fat_cell) * inside  # everything that is not adipose tissue
        stroma = np.clip(1 - tumour - immune, 0, 1)

        fibres = self.collagen()
        cytoplasm, gaps = self.cytoplasm()
        eosin = stroma * fibres + tumour * cytoplasm + immune * (0.30 + 0.06 * self.grain(4))
        basophilia = 0.03 * stroma + tumour * (0.55 * cytoplasm) + 0.16 * immune
        open_space = 1 - gaps * tumour
        eosin *= solid * open_space
        haematoxylin = basophilia * solid * open_space
        rim = fat_cell * (1 - vacuole) * inside
        eosin += rim * (0.50 + 0.10 * self.grain(5)) + 0.015 * fat_cell * inside
        haematoxylin += rim * 0.04

        dots = np.zeros((self.height, self.width), np.float32)
        self.stamp_all(dots)
        dots *= inside * (1 - fat_cell * vacuole)
        # A nucleus displaces the cytoplasm around it.
        covered = np.clip(dots * 1.6, 0, 1)
        eosin *= 1 - 0.55 * covered
        haematoxylin += dots
        blur = 0.55 / self.um_per_px
        if blur > 0.25:
            eosin = cv2.GaussianBlur(eosin, (0, 0), blur * 1.4)
            haematoxylin = cv2.GaussianBlur(haematoxylin, (0, 0), blur)
        return np.maximum(haematoxylin, 0), np.maximum(eosin, 0)

    def enlarge(self, values: np.ndarray) -> np.ndarray:
        """Interpolate a tissue map to image pixels."""
        ratio = self.um_per_px / MAP_UM
        matrix = np.array([[ratio, 0, 0], [0, ratio, 0]])
        return cv2.warpAffine(
            values, matrix, (self.width, self.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip

    def grain(self, scale_um: float) -> np.ndarray:
        """Return noise with hills of about ``scale_um``, unit sd, at a random place of the noise raster."""
        ratio = 2.5 * self.um_per_px / scale_um
        start = self.rng.uniform(0, _NOISE_WIDTH, 2)
        matrix = np.array([[ratio, 0, start[0]], [0, ratio, start[1]]])
        return cv2.warpAffine(
            self.noise, matrix, (self.width, self.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_WRAP,
        )  # fmt: skip

    def streaks(self, across: np.ndarray, along: np.ndarray, width_um: float, length_um: float) -> np.ndarray:
        """Return noise stretched along the fibres: unit sd, ``width_um`` across and ``length_um`` along."""
        start = self.rng.uniform(0, _NOISE_WIDTH, 2)
        return cv2.remap(
            self.noise,
            (along * np.float32(2.5 / length_um) + np.float32(start[0])),
            (across * np.float32(2.5 / width_um) + np.float32(start[1])),
            cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP,
        )  # fmt: skip

    def collagen(self) -> np.ndarray:
        """Return eosin density of connective tissue: wavy bundles of fibres with clefts between them."""
        across = self.enlarge(self.tissue.fibre) + 1.6 * self.grain(38)
        down, right = np.gradient(self.tissue.fibre)
        turn = float(np.arctan2(down.mean(), right.mean()))
        columns = np.arange(self.width, dtype=np.float32)[None, :] * np.float32(self.um_per_px)
        rows = np.arange(self.height, dtype=np.float32)[:, None] * np.float32(self.um_per_px)
        along = np.float32(np.cos(turn)) * rows - np.float32(np.sin(turn)) * columns
        fine = self.streaks(across, along, 3.2, 55)
        bundle = self.streaks(across, along, 17, 170)
        broad = self.streaks(across, along, 60, 320)
        density = 0.52 + 0.10 * fine + 0.11 * bundle + 0.12 * broad
        cleft = np.clip(2.2 * (bundle + 0.45 * fine - 0.35 * broad - 1.55), 0, 1)
        return np.clip(density, 0.12, 1.3) * (1 - 0.95 * cleft)

    def cytoplasm(self) -> tuple[np.ndarray, np.ndarray]:
        """Return eosin density of tumour cytoplasm, and where tumour is open (lumens, retraction clefts)."""
        tissue = self.tissue
        density = 0.34 + 0.05 * self.grain(5) + 0.06 * self.grain(16)
        lumen = np.clip((self.enlarge(cv2.GaussianBlur(tissue.lumen, (0, 0), 0.8)) - 0.5) * 5 + 0.5, 0, 1)
        # Nests shrink away from the stroma in places.
        margin = self.enlarge(tissue.nest_margin)
        edge = np.exp(-((margin - 0.03) ** 2) / 0.0009) * np.clip(self.grain(60) * 1.5 - 0.3, 0, 1)
        return np.clip(density, 0.1, 0.8), np.clip(np.maximum(lumen * 0.97, edge), 0, 1)

    def adipocytes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return where fat cells are and, within them, the empty vacuole (both 0 to 1).

        Fat cells are the Voronoi cells of jittered points; a cell belongs to the fat as a whole.
        """
        from histobench.cohorts.simulate_nuclei import place

        x, y = place(self.rng, self.tissue, np.full_like(self.tissue.level, 1e6), 60.0, 0.38)
        column = np.clip((x / self.um_per_px).astype(int), 0, self.width - 1)
        row = np.clip((y / self.um_per_px).astype(int), 0, self.height - 1)
        fat = self.tissue.at(self.tissue.fat, x, y) > 0.5
        blank = np.full((self.height, self.width), 255, np.uint8)
        blank[row, column] = 0
        _, label = cv2.distanceTransformWithLabels(blank, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        is_fat = np.zeros(int(label.max()) + 1, np.float32)
        is_fat[label[row, column]] = fat
        wall = np.ones((self.height, self.width), np.uint8)
        wall[:, 1:] &= label[:, 1:] == label[:, :-1]
        wall[1:] &= label[1:] == label[:-1]
        to_wall = cv2.distanceTransform(wall, cv2.DIST_L2, 3) * np.float32(self.um_per_px)
        # Blurring before the cut rounds the corners, where real fat cells leave little triangles.
        sigma = 5.0 / self.um_per_px
        smooth = cv2.GaussianBlur(np.minimum(to_wall, 9.0), (0, 0), sigma)
        self.vacuole_depth = smooth
        step = max(self.um_per_px, 1.0)
        vacuole = np.clip(np.minimum((smooth - 3.4) / (0.8 * step), (to_wall - 1.4) / step) + 0.5, 0, 1)
        return is_fat[label], vacuole

    def stamp_all(self, canvas: np.ndarray) -> None:
        """Place the nuclei of every tissue and press them onto the canvas."""
        tissue, rng = self.tissue, self.rng
        # Tumour: ten looks from low to high grade, 24 nuclei each.
        x, y = nuclei.place(rng, tissue, tissue.nuclei_per_mm2("tumour"), 10.8, 0.30)
        step = np.clip((tissue.at(tissue.grade, x, y) * 10).astype(int), 0, 9)
        looks = [nuclei.tumour_look((i + 0.5) / 10) for i in range(10)]
        for level, look in enumerate(looks):
            self._stamp(canvas, look, x[step == level], y[step == level], None)
        x, y = nuclei.place(rng, tissue, tissue.nuclei_per_mm2("stroma"), 15.0, 0.45)
        angle = tissue.at(tissue.fibre_angle, x, y) + rng.normal(0, 0.18, x.size)
        self._stamp(canvas, nuclei.FIBROBLAST, x, y, angle)
        x, y = nuclei.place(rng, tissue, tissue.nuclei_per_mm2("immune"), 7.4, 0.30)
        self._stamp(canvas, nuclei.LYMPHOCYTE, x, y, None)
        self._adipocyte_nuclei(canvas)

    def _adipocyte_nuclei(self, canvas: np.ndarray) -> None:
        """Put flat nuclei on the rims of fat cells, along the rim."""
        x, y = nuclei.place(
            self.rng, self.tissue, (self.tissue.fat > 0.5) * self.tissue.inside * np.float32(9000), 9.0, 0.5
        )
        column = np.clip((x / self.um_per_px).astype(int), 1, self.width - 2)
        row = np.clip((y / self.um_per_px).astype(int), 1, self.height - 2)
        depth = self.vacuole_depth
        on_rim = (depth[row, column] < 3.6) & (self.rng.random(x.size) < 0.12)
        column, row = column[on_rim], row[on_rim]
        right = depth[row, column + 1] - depth[row, column - 1]
        down = depth[row + 1, column] - depth[row - 1, column]
        angle = np.arctan2(down, right) + np.pi / 2
        self._stamp(canvas, nuclei.ADIPOCYTE, x[on_rim], y[on_rim], angle)

    def _stamp(
        self, canvas: np.ndarray, look: nuclei.Look, x: np.ndarray, y: np.ndarray, angle: np.ndarray | None
    ) -> None:
        """Draw the library of one look and press it at the points, along ``angle`` where given."""
        if x.size == 0:
            return
        variants = 5 if angle is not None else 2
        directions = np.tile(np.arange(nuclei.ANGLES) * np.pi / nuclei.ANGLES, variants)
        stamps = nuclei.draw_stamps(self.rng, look, self.um_per_px, directions)
        if angle is None:
            which = self.rng.integers(0, len(stamps), x.size)
        else:
            turn = np.rint(np.mod(angle, np.pi) / np.pi * nuclei.ANGLES).astype(int) % nuclei.ANGLES
            which = turn + nuclei.ANGLES * self.rng.integers(0, variants, x.size)
        column = np.rint(x / self.um_per_px).astype(int)
        row = np.rint(y / self.um_per_px).astype(int)
        nuclei.stamp(canvas, stamps, which, column, row)


def stain_of(
    settings: SimulationSettings, patient: str, section: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return stain vectors (2, 3), stain strengths (2,) and the light of the empty slide (3,) of a section.

    Patients were stained in different batches, sections of a patient in one: patients differ much, sections
    little.
    """
    spread = settings.stain_spread
    batch = np.random.default_rng(seed_for("simulated", settings.seed, patient, "stain"))
    slide = np.random.default_rng(seed_for("simulated", settings.seed, section, "stain"))
    vectors = np.array([HAEMATOXYLIN, EOSIN])
    vectors = vectors + spread * (batch.normal(0, 0.045, (2, 3)) + slide.normal(0, 0.01, (2, 3)))
    vectors = np.maximum(vectors, 0.02)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    strengths = np.exp(spread * (batch.normal(0, 0.16, 2) + slide.normal(0, 0.04, 2)))
    light = np.array([243.0, 240.0, 245.0]) + spread * (batch.normal(0, 3.5, 3) + slide.normal(0, 1.0, 3))
    return vectors, strengths, np.clip(light, 215, 253)


def _light(
    settings: SimulationSettings, patient: str, section: str, haematoxylin: np.ndarray, eosin: np.ndarray
) -> np.ndarray:
    """Send light through the stains (Beer-Lambert): uint8 RGB, with shading of the lamp and sensor noise."""
    vectors, strengths, light = stain_of(settings, patient, section)
    vectors = (vectors * strengths[:, None]).astype(np.float32)
    rng = np.random.default_rng(seed_for("simulated", settings.seed, section, "sensor"))
    height, width = haematoxylin.shape
    lamp = cv2.resize(
        rng.normal(0, 0.008, (4, 4)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    noise = rng.normal(0, 1.7, (_NOISE_WIDTH, _NOISE_WIDTH, 3)).astype(np.float32)
    image = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _NOISE_WIDTH):  # in strips, which bounds the memory
        part = slice(top, min(top + _NOISE_WIDTH, height))
        size = part.stop - part.start
        for channel in range(3):
            density = (
                haematoxylin[part] * vectors[0, channel] + eosin[part] * vectors[1, channel] - lamp[part]
            )
            value = cv2.exp(-density) * np.float32(light[channel])
            for left in range(0, width, _NOISE_WIDTH):
                value[:, left : left + _NOISE_WIDTH] += noise[
                    :size, : min(_NOISE_WIDTH, width - left), channel
                ]
            image[part, :, channel] = np.clip(value + 0.5, 0, 255)
    return image
