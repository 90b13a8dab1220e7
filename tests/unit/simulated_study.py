"""A small simulated cohort as methods see it: does a method find genes that are known to be in the image?"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from histobench.cohorts.simulation.simulate import (
    SimulationSettings,
    latent_at_spots,
    patient_of,
    section_names,
    simulate_counts_table,
    simulate_truth,
)
from histobench.expression.transforms import transform_counts
from histobench.imaging.patches import cut_patches
from histobench.imaging.slides import ArraySlide
from histobench.training.contract import Context, SectionData
from histobench.training.entry import build_method

# Sections of some 105 spots at a coarse scale: drawn in seconds. Patients differ little, because a few are
# too few to learn how patients differ.
SETTINGS = SimulationSettings(
    sections_per_patient=1,
    grid_columns=14,
    grid_rows=14,
    um_per_px=2.4,
    n_genes_colour=20,
    n_genes_null=20,
    n_genes_depth=2,
    n_genes_patient=4,
    patient_effect_sd=0.05,
    patient_slope_spread=0.3,
    stain_spread=0.3,
    seed=3,
)
PX = 64
# Patients to train on and to test. A method whose training example is a section needs more sections.
SIZES = {"small": (4, 1), "large": (8, 2)}


@functools.cache
def cohort(size: str) -> tuple[tuple[SectionData, ...], Context, np.ndarray]:
    """Sections of all patients, the context, and which panel genes are planted."""
    from scipy import sparse

    from histobench.cohorts.simulation import image as simulate_image
    from histobench.cohorts.simulation import tissue as simulate_tissue

    settings = replace(SETTINGS, n_patients=sum(SIZES[size]))
    truth = simulate_truth(settings).set_index("gene")["kind"]
    sections = []
    for name in section_names(settings):
        patient = patient_of(settings, name)
        latent = latent_at_spots(settings, name)
        counts = simulate_counts_table(settings, name)
        image = simulate_image.draw_image(
            settings, patient, name, simulate_tissue.grow_tissue(settings, patient, name)
        )
        x, y = latent["pixel_x"].to_numpy(), latent["pixel_y"].to_numpy()
        patches = cut_patches(ArraySlide(image), x, y, PX)
        genes = sorted(counts.columns)
        values = counts[genes].to_numpy()
        total = values.sum(axis=1).astype(np.float64)
        panel = [gene for gene in genes if truth[gene] in ("colour", "null")][::2]
        chosen = counts[panel].to_numpy()
        spots = latent[["new_x", "new_y", "pixel_x", "pixel_y"]]
        spots = spots.set_axis(["array_x", "array_y", "pixel_x", "pixel_y"], axis=1)
        sections.append(
            SectionData(
                cohort="simulated",
                section=name,
                patient=patient,
                spots=spots,
                um_per_px=settings.um_per_px,
                patches=patches,
                features=simple_features(patches),
                targets=transform_counts("log1p_cp10k", chosen, total),
                counts=sparse.csr_matrix(values),
                labels=latent["tumour_label"].to_numpy(np.float32),
                total_counts=total,
            )
        )
    context = Context(tuple(panel), tuple(genes), seed=11, device="cpu", weights="none", threads=1)
    return tuple(sections), context, (truth[panel] == "colour").to_numpy()


def study(
    size: str = "small",
) -> tuple[tuple[SectionData, ...], tuple[SectionData, ...], Context, np.ndarray]:
    """Sections to train on, sections to test, the context, and which panel genes are planted."""
    sections, context, planted = cohort(size)
    n_train, _ = SIZES[size]
    return sections[:n_train], sections[n_train:], context, planted


def simple_features(patches: np.ndarray) -> np.ndarray:
    """Mean and sd of each channel in the nine tiles of a patch: float32, (spots, 54)."""
    width = patches.shape[1] // 3
    tiles = patches[:, : 3 * width, : 3 * width].reshape(len(patches), 3, width, 3, width, 3) / 255.0
    parts = [tiles.mean(axis=(2, 4)), tiles.std(axis=(2, 4))]
    return np.concatenate([part.reshape(len(patches), -1) for part in parts], axis=1).astype(np.float32)


def pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """r of each column; 0 where the prediction is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        r = [np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(a.shape[1])]
    return np.nan_to_num(np.array(r))


@functools.cache
def random_score(size: str = "small") -> float:
    """Mean r of untrained networks on the planted genes of the test patients, over ten seeds."""
    params = {"architecture": "small_cnn", "input_px": PX}
    entry = "histobench.methods.random_network:RandomNetwork"
    found = [planted_and_null(fit(entry, params, size, seed=seed)[0], size)[0] for seed in range(10)]
    return float(np.mean(found))


def fit(entry: str, params: Mapping[str, Any], size: str = "small", **context: Any) -> tuple[Any, Any]:
    """Fit a method on the training patients; returns it and its log."""
    train, _, given, _ = study(size)
    method = build_method(entry, params)
    return method, method.fit(list(train), [], replace(given, **context))


def planted_and_null(method: Any, size: str = "small") -> tuple[float, float]:
    """Mean r over planted and over null genes of the test patients."""
    _, tested, _, planted = study(size)
    r = np.mean([pearson(method.predict(s.without_truth()).expression, s.targets) for s in tested], axis=0)
    return float(r[planted].mean()), float(r[~planted].mean())
