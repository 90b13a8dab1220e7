"""The simulated cohort: tissue, H&E images and counts that share one latent structure, with the truth.

This is the front door. ``settings`` says what is wanted, ``tissue`` grows latent maps,
``counts`` draws spots, labels and counts from them, ``paint``, ``nuclei`` and
``image`` the H&E image. Nothing heavy is imported until a section is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from histobench.cohorts.simulation.settings import (
    SimulationSettings,
    patient_of,
    section_names,
    settings_from_options,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "SimulationSettings",
    "latent_at_spots",
    "patient_of",
    "section_names",
    "settings_from_options",
    "simulate_counts_table",
    "simulate_section",
    "simulate_truth",
]


def simulate_truth(settings: SimulationSettings) -> pd.DataFrame:
    """Return the truth, one row per gene: gene, kind, programme, strength, mean_count.

    ``kind`` is colour, morphology, null, depth or patient. ``strength`` is the change of log expression per
    standard deviation of the programme (0 for null genes; for patient genes: in the tumour of an amplified
    patient).
    ``mean_count`` is the expected count in a spot of average tissue and depth. The table depends on
    the settings alone and so holds for every section.
    """
    from histobench.cohorts.simulation import counts as simulate_counts

    return simulate_counts.truth_table(settings)


def latent_at_spots(settings: SimulationSettings, section: str) -> pd.DataFrame:
    """Return what is true of a section's spots, without drawing the image.

    Index: spot id. Columns: the spot table of the legacy layout (``x`` ... ``pixel_y``); ``tumour``,
    ``stroma``, ``immune``, ``fat`` (shares of the spot's area, 0 to 1), ``grade`` (tumour share times grade),
    ``nesting`` (share of nuclei that stand in nests, less 1/2),
    ``cellularity`` (nuclei per mm²), ``log_depth`` (natural log of the expected UMIs), ``label`` and
    ``tumour_label`` (1, 0, NaN).
    """
    from histobench.cohorts.simulation import counts as simulate_counts
    from histobench.cohorts.simulation import tissue as simulate_tissue

    tissue = simulate_tissue.grow_tissue(settings, patient_of(settings, section), section)
    return simulate_counts.spots_under_tissue(settings, section, tissue)


def simulate_counts_table(settings: SimulationSettings, section: str) -> pd.DataFrame:
    """Return a section's counts without drawing the image: int32, (spots, genes), as in the counts file."""
    from histobench.cohorts.simulation import counts as simulate_counts

    latent = latent_at_spots(settings, section)
    return simulate_counts.draw_counts(settings, section, patient_of(settings, section), latent)


def simulate_section(
    settings: SimulationSettings,
    section: str,
    image_path: Path | None,
    counts_path: Path,
    spots_path: Path,
    labels_path: Path,
) -> None:
    """Write one section as raw files in the legacy ST layout; equal settings give equal bytes.

    Parameters
    ----------
    image_path
        RGB JPEG; None draws no image.
    counts_path
        ``tsv.gz``: rows ``XxY``, one column per gene, integers.
    spots_path
        TSV ``x y new_x new_y pixel_x pixel_y selected``; as in published files it can hold a spot or two
        that the counts lack.
    labels_path
        TSV ``spot label tumour``; tumour is 1, 0 or empty (undetermined).

    Raises
    ------
    UserError
        The cohort has no such section, or a file cannot be written.
    """
    from histobench.cohorts.simulation import counts as simulate_counts
    from histobench.cohorts.simulation import tissue as simulate_tissue

    patient = patient_of(settings, section)
    tissue = simulate_tissue.grow_tissue(settings, patient, section)
    latent = simulate_counts.spots_under_tissue(settings, section, tissue)
    counts = simulate_counts.draw_counts(settings, section, patient, latent)
    if image_path is not None:
        from histobench.cohorts.simulation import image as simulate_image

        simulate_image.write_image(settings, patient, section, tissue, image_path)
    simulate_counts.write_counts(counts, counts_path)
    simulate_counts.write_spots(settings, section, latent, spots_path)
    simulate_counts.write_labels(latent, labels_path)
