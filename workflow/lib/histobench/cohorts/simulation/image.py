"""The simulated H&E image: stain densities of the latent tissue, seen through the Beer-Lambert law."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from histobench.cohorts.simulation.paint import HALO_UM, Plan, Strip
from histobench.files import atomic_path
from histobench.seeds import seed_for

if TYPE_CHECKING:
    from histobench.cohorts.simulation.settings import SimulationSettings
    from histobench.cohorts.simulation.tissue import Tissue

# Optical density of one unit of stain in red, green and blue (natural log), scaled to unit length when used.
HAEMATOXYLIN = (0.66, 0.69, 0.29)
EOSIN = (0.11, 0.93, 0.35)

_STRIP_PIXELS = 2**22  # bounds the memory of a large image; larger strips are slower, too
_SENSOR_TILE = 1024


def write_image(settings: SimulationSettings, patient: str, section: str, tissue: Tissue, path: Path) -> None:
    """Write the section's H&E image as an RGB JPEG."""
    import imagecodecs

    image = draw_image(settings, patient, section, tissue)
    with atomic_path(path) as temporary:
        temporary.write_bytes(imagecodecs.jpeg8_encode(image, level=settings.jpeg_quality))


def draw_image(settings: SimulationSettings, patient: str, section: str, tissue: Tissue) -> np.ndarray:
    """Draw the section's H&E image: uint8, (height, width, 3), RGB."""
    width, height = settings.image_size
    plan = Plan(settings, section, tissue)
    sensor = _Sensor(settings, patient, section)
    image = np.empty((height, width, 3), np.uint8)
    halo = int(np.ceil(HALO_UM / settings.um_per_px))
    rows = max(_STRIP_PIXELS // width, 4 * halo)  # halos are drawn twice: keep their share small
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        first, last = max(top - halo, 0), min(bottom + halo, height)
        haematoxylin, eosin = Strip(plan, first, last).paint()
        part = slice(top - first, bottom - first)
        sensor.expose(haematoxylin[part], eosin[part], image[top:bottom], top)
    return image


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
    vectors = vectors + spread * (batch.normal(0, 0.033, (2, 3)) + slide.normal(0, 0.01, (2, 3)))
    vectors = np.maximum(vectors, 0.02)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    strengths = np.exp(spread * (batch.normal(0, 0.16, 2) + slide.normal(0, 0.04, 2)))
    light = np.array([243.0, 240.0, 245.0]) + spread * (batch.normal(0, 3.5, 3) + slide.normal(0, 1.0, 3))
    return vectors, strengths, np.clip(light, 215, 253)


class _Sensor:
    """Turns stain densities into pixels: Beer-Lambert, shading of the lamp, sensor noise."""

    def __init__(self, settings: SimulationSettings, patient: str, section: str) -> None:
        vectors, strengths, light = stain_of(settings, patient, section)
        self.vectors = (vectors * strengths[:, None]).astype(np.float32)
        self.light = light.astype(np.float32)
        rng = np.random.default_rng(seed_for("simulated", settings.seed, section, "sensor"))
        size = settings.image_size
        lamp = rng.normal(0, 0.008, (4, 4)).astype(np.float32)
        self.lamp = cv2.resize(lamp, (64, 64), interpolation=cv2.INTER_CUBIC)
        self.lamp_scale = (63 / max(size[0] - 1, 1), 63 / max(size[1] - 1, 1))
        self.noise = rng.normal(0, 1.7, (_SENSOR_TILE, _SENSOR_TILE, 3)).astype(np.float32)

    def expose(self, haematoxylin: np.ndarray, eosin: np.ndarray, image: np.ndarray, top: int) -> None:
        """Fill ``image``, uint8 (rows, width, 3), whose first row is row ``top`` of the whole image."""
        rows, width = haematoxylin.shape
        matrix = np.array([[self.lamp_scale[0], 0, 0], [0, self.lamp_scale[1], top * self.lamp_scale[1]]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        shade = cv2.warpAffine(self.lamp, matrix, (width, rows), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        for channel in range(3):
            density = haematoxylin * self.vectors[0, channel] + eosin * self.vectors[1, channel] - shade
            value = cv2.exp(-density) * self.light[channel]
            # The noise is tied to the row of the whole image, so that strips fit together.
            noise = np.take(self.noise[..., channel], np.arange(top, top + rows) % _SENSOR_TILE, axis=0)
            for left in range(0, width, _SENSOR_TILE):
                value[:, left : left + _SENSOR_TILE] += noise[:, : min(_SENSOR_TILE, width - left)]
            image[..., channel] = np.clip(value + 0.5, 0, 255)
