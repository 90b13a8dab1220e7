"""Settings of the simulated cohort and the names of its sections.

Nothing heavy is imported: the workflow asks for section names while it builds the job graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from histobench.errors import UserError

PITCH_UM = 200.0
"""Distance of neighbouring spots of the legacy Spatial Transcriptomics array, centre to centre."""

SPOT_UM = 100.0
"""Diameter of a spot of the legacy array."""

COUNTS_PER_GENE = 10.0
"""Smallest mean count per gene: below, rounding to whole counts would begin to show in null genes."""

# Key: (smallest, largest) value that is accepted. The upper ends keep a typing error from filling a disk.
_BOUNDS: dict[str, tuple[float, float]] = {
    "n_patients": (1, 200),
    "sections_per_patient": (1, 20),
    "grid_columns": (5, 64),
    "grid_rows": (5, 64),
    "um_per_px": (0.25, 8.0),
    "n_genes_colour": (1, 5000),
    "n_genes_morphology": (0, 1000),
    "n_genes_null": (0, 5000),
    "n_genes_depth": (0, 1000),
    "n_genes_patient": (0, 1000),
    "strength_scale": (0.1, 3.0),
    "morphology_contrast": (0.0, 1.0),
    "mean_depth": (100, 1e6),
    "tissue_share": (0.2, 0.7),
    "technical_depth_sd": (0.0, 2.0),
    "cellularity_depth_sd": (0.0, 1.0),
    "patient_effect_sd": (0.0, 2.0),
    "patient_slope_spread": (0.0, 3.0),
    "stain_spread": (0.0, 3.0),
    "jpeg_quality": (50, 100),
    "seed": (0, 2**31 - 1),
}


@dataclass(frozen=True)
class SimulationSettings:
    """What the simulated cohort looks like; the defaults suit a demonstration on a laptop.

    Attributes
    ----------
    n_patients, sections_per_patient
        Size of the cohort. The sections of a patient are serial cuts through one latent tissue.
    grid_columns, grid_rows
        Array positions per axis, 200 µm apart; they span the image, as in the legacy ST layout.
    um_per_px
        Micrometres per image pixel.
    n_genes_colour, n_genes_morphology
        Genes that the image tells. Colour genes follow a programme of the tissue that changes how much stain
        a patch holds; morphology genes follow how its nuclei stand, in nests or evenly spread, at the same
        amount of stain. The image shows nests only where there are morphology genes.
    n_genes_null, n_genes_depth, n_genes_patient
        Genes unrelated to the image; genes whose share of a spot's counts grows with its depth; genes
        amplified in the tumour of some patients only.
    strength_scale
        Multiplies the strength of colour and morphology genes.
    morphology_contrast
        How far the image shows the programme of morphology genes: 1 fully, 0 not at all. The counts do not
        depend on it.
    mean_depth
        Median UMIs per spot over all genes, before patient effects.
    tissue_share
        Share of the image that the tissue covers.
    technical_depth_sd, cellularity_depth_sd
        Standard deviation, within a section, of log depth from technical causes and from cellularity.
    patient_effect_sd
        Standard deviation of a gene's log expression between patients.
    patient_slope_spread
        How much a colour gene's relation to the tissue differs between patients, as a multiple of the
        gene's own strength. It is what a sister section of the same patient gives away.
    stain_spread
        Scale of the differences in stain between patients; 1 is usual, 0 is none.
    jpeg_quality
        Quality of the image files.
    seed
        Seed of everything random.
    """

    n_patients: int = 6
    sections_per_patient: int = 2
    grid_columns: int = 16
    grid_rows: int = 16
    um_per_px: float = 1.0
    n_genes_colour: int = 60
    n_genes_morphology: int = 0
    n_genes_null: int = 60
    n_genes_depth: int = 12
    n_genes_patient: int = 36
    strength_scale: float = 1.0
    morphology_contrast: float = 1.0
    mean_depth: float = 4000.0
    tissue_share: float = 0.62
    technical_depth_sd: float = 0.4
    cellularity_depth_sd: float = 0.22
    patient_effect_sd: float = 0.25
    patient_slope_spread: float = 0.8
    stain_spread: float = 1.0
    jpeg_quality: int = 92
    seed: int = 0

    def __post_init__(self) -> None:
        for entry in fields(self):
            _check_number(entry.name, getattr(self, entry.name), whole=entry.type == "int")
        least = COUNTS_PER_GENE * self.n_genes
        if self.mean_depth < least:
            raise UserError(
                f"simulated cohort: mean_depth is {self.mean_depth:g}, expected at least {least:g} "
                f"({COUNTS_PER_GENE:g} counts for each of the {self.n_genes} genes); "
                "raise mean_depth or ask for fewer genes."
            )

    @property
    def n_genes(self) -> int:
        """Genes in the cohort, of all kinds."""
        planted = self.n_genes_colour + self.n_genes_morphology
        return planted + self.n_genes_null + self.n_genes_depth + self.n_genes_patient

    @property
    def pitch_px(self) -> float:
        """Pixels from spot to spot."""
        return PITCH_UM / self.um_per_px

    @property
    def image_size(self) -> tuple[int, int]:
        """Width and height of the image in pixels: the frame of the array, from first to last position."""
        return (
            round((self.grid_columns - 1) * self.pitch_px),
            round((self.grid_rows - 1) * self.pitch_px),
        )


def _check_number(key: str, value: object, *, whole: bool) -> None:
    """Refuse a value of the wrong type or outside its bounds, with one sentence."""
    low, high = _BOUNDS[key]
    kinds = int if whole else (int, float)
    good = isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high
    if not good:
        kind = "a whole number" if whole else "a number"
        raise UserError(
            f"simulated cohort: {key} is {value!r}, expected {kind} from {low:g} to {high:g}; "
            "correct it in the cohort's options."
        )


def settings_from_options(options: Mapping[str, Any] | None) -> SimulationSettings:
    """Make settings from the ``options`` of a cohort YAML.

    Raises
    ------
    UserError
        A key is unknown, or a value has the wrong type or is out of bounds.
    """
    known = {entry.name for entry in fields(SimulationSettings)}
    for key in options or {}:
        if key not in known:
            raise UserError(
                f"simulated cohort: options has the unknown key {key!r}; "
                f"use one of {', '.join(sorted(known))}."
            )
    return SimulationSettings(**(options or {}))


def section_names(settings: SimulationSettings) -> dict[str, str]:
    """Return section -> patient, in order: ``P1_1, P1_2, P2_1, ...`` with patients ``P1, P2, ...``."""
    return {
        f"P{patient}_{cut}": f"P{patient}"
        for patient in range(1, settings.n_patients + 1)
        for cut in range(1, settings.sections_per_patient + 1)
    }


def patient_of(settings: SimulationSettings, section: str) -> str:
    """Return the patient of a section.

    Raises
    ------
    UserError
        The cohort has no such section.
    """
    names = section_names(settings)
    if section not in names:
        last = list(names)[-1]
        raise UserError(
            f"simulated cohort: there is no section {section!r}; "
            f"with these options they run from P1_1 to {last}."
        )
    return names[section]
