"""What the demo is to show: a trained network finds genes that colour does not tell, because of the nuclei alone."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from unit import described

from histobench.cohorts.simulation import image as simulate_image
from histobench.cohorts.simulation import tissue as simulate_tissue
from histobench.cohorts.simulation.simulate import (
    SimulationSettings,
    latent_at_spots,
    section_names,
    settings_from_options,
    simulate_counts_table,
    simulate_truth,
)
from histobench.expression.transforms import transform_counts
from histobench.imaging.patches import cut_patches
from histobench.imaging.slides import ArraySlide
from histobench.training.contract import Context, SectionData
from histobench.training.entry import build_method

DEEP = "stnet"
SEEDS = (0, 1, 2)
TESTED = 2  # patients of each simulation that are left out in turn; the demo leaves out all six


@pytest.fixture(scope="module")
def demo(project, tmp_path_factory) -> Any:
    """The demo as it is configured."""
    return described.planned(project, tmp_path_factory.mktemp("demo"), "").described("demo")


def settings_of(demo: Any, **changes: Any) -> SimulationSettings:
    return settings_from_options({**demo.cohort.settings["options"], **changes})


@functools.cache
def sections(settings: SimulationSettings, px: int, um_per_px: float) -> tuple[SectionData, ...]:
    """Every section of the cohort with the demo's patches, and all its genes as targets."""
    found = []
    for name, patient in section_names(settings).items():
        tissue = simulate_tissue.grow_tissue(settings, patient, name)
        image = simulate_image.draw_image(settings, patient, name, tissue)
        latent, counts = latent_at_spots(settings, name), simulate_counts_table(settings, name)
        x, y = latent["pixel_x"].to_numpy(), latent["pixel_y"].to_numpy()
        scales = {"um_per_px_native": settings.um_per_px, "um_per_px_target": um_per_px}
        total = counts.to_numpy().sum(axis=1).astype(float)
        spots = latent[["new_x", "new_y", "pixel_x", "pixel_y"]]
        found.append(
            SectionData(
                cohort="simulated",
                section=name,
                patient=patient,
                spots=spots.set_axis(["array_x", "array_y", "pixel_x", "pixel_y"], axis=1),
                um_per_px=um_per_px,
                patches=cut_patches(ArraySlide(image), x, y, px, **scales),
                targets=transform_counts("log1p_cp10k", counts.to_numpy(), total),
                total_counts=total,
            )
        )
    return tuple(found)


def scores(demo: Any, settings: SimulationSettings, method: str, patients: int) -> np.ndarray:
    """Mean r over the morphology genes of each of the first patients, left out in turn."""
    patches = demo.settings["patches"]
    cohort = sections(settings, patches["width_px"], patches["um_per_px"])
    truth = simulate_truth(settings)
    panel = truth["mean_count"].rank(ascending=False).to_numpy() <= demo.settings["panel"]["size"]
    genes = truth["gene"][panel]
    morphology = (truth["kind"][panel] == "morphology").to_numpy()
    assert morphology.sum() >= 10
    cohort = tuple(replace(section, targets=section.targets[:, panel]) for section in cohort)
    arm = demo.arms[method]
    context = Context(
        tuple(genes), tuple(truth["gene"]), seed=11, device="cpu", weights=demo.settings["weights"], threads=1
    )
    found = []
    for tested in cohort[:patients]:
        fitted = build_method(arm.settings["entry"], arm.settings["params"])
        fitted.fit([section for section in cohort if section is not tested], [], context)
        predicted = fitted.predict(tested.without_truth()).expression[:, morphology]
        observed = tested.targets[:, morphology]
        r = [np.corrcoef(predicted[:, i], observed[:, i])[0, 1] for i in range(observed.shape[1])]
        found.append(np.mean(r))
    return np.array(found)


@pytest.mark.slow
def test_a_network_finds_morphology_genes_that_colour_does_not_tell(demo):
    runs = [settings_of(demo, seed=seed) for seed in SEEDS]
    colour = np.array([scores(demo, settings, "colour_ridge", TESTED) for settings in runs])
    deep = np.array([scores(demo, settings, DEEP, TESTED) for settings in runs])
    difference = deep - colour
    low, high = stats.ttest_1samp(difference.ravel(), 0).confidence_interval(0.95)
    print(f"{DEEP} {deep.mean():.3f}, colour_ridge {colour.mean():.3f}, difference {low:.3f} to {high:.3f}")
    print("by simulation", deep.mean(axis=1).round(3), colour.mean(axis=1).round(3))
    assert low > 0 and (difference.mean(axis=1) > 0).all()
    assert abs(colour.mean()) < 0.06, "colour tells these genes: they are none of morphology"
    assert (np.abs(colour.mean(axis=1)) < 0.1).all()

    # The same genes without the nests, hence without anything to see: what is left would be a leak.
    hidden = settings_of(demo, seed=SEEDS[0], morphology_contrast=0.0)
    left = scores(demo, hidden, DEEP, TESTED)
    print("without nests", left.round(3))
    assert abs(left.mean()) < 0.1
    assert abs(left.mean()) < 0.25 * deep[0].mean()
