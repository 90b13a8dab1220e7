"""The simulated tissue and its H&E image: kinship of sections, stains, and what the image tells about genes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from histobench.cohorts.simulation import image as simulate_image
from histobench.cohorts.simulation import tissue as simulate_tissue
from histobench.cohorts.simulation.paint import Plan
from histobench.cohorts.simulation.simulate import (
    SimulationSettings,
    latent_at_spots,
    section_names,
    simulate_counts_table,
    simulate_truth,
)

SETTINGS = SimulationSettings(n_patients=4, grid_columns=13, grid_rows=13, um_per_px=2.0, seed=1)


@pytest.fixture(scope="module")
def tissue():
    return simulate_tissue.grow_tissue(SETTINGS, "P1", "P1_1")


@pytest.fixture(scope="module")
def image(tissue):
    return simulate_image.draw_image(SETTINGS, "P1", "P1_1", tissue)


def pixels(values: np.ndarray) -> np.ndarray:
    """Look a tissue map up at every image pixel."""
    width, height = SETTINGS.image_size
    ratio = SETTINGS.um_per_px / simulate_tissue.MAP_UM
    rows = np.clip(np.rint(np.arange(height) * ratio).astype(int), 0, values.shape[0] - 1)
    columns = np.clip(np.rint(np.arange(width) * ratio).astype(int), 0, values.shape[1] - 1)
    return values[np.ix_(rows, columns)]


def test_tissue_kinds_add_up_and_cover_the_wanted_share(tissue):
    total = tissue.tumour + tissue.stroma + tissue.immune + tissue.fat
    np.testing.assert_allclose(total, 1, atol=1e-5)
    assert abs(tissue.inside.mean() - SETTINGS.tissue_share) < 0.02
    for kind in ("tumour", "stroma", "immune", "fat"):
        assert (getattr(tissue, kind)[tissue.inside] > 0.5).mean() > 0.02


def test_tissue_keeps_away_from_the_border(tissue):
    margin = int(100 / simulate_tissue.MAP_UM)
    frame = np.ones(tissue.inside.shape, bool)
    frame[margin:-margin, margin:-margin] = False
    assert not (tissue.inside & frame).any()


def test_sister_sections_resemble_each_other_and_other_patients_do_not(tissue):
    def alike(patient: str, section: str) -> float:
        other = simulate_tissue.grow_tissue(SETTINGS, patient, section)
        both = tissue.inside & other.inside
        return float(np.corrcoef(tissue.nest_margin[both], other.nest_margin[both])[0, 1])

    sister = alike("P1", "P1_2")
    assert 0.6 < sister < 0.98
    others = [alike(f"P{number}", f"P{number}_1") for number in (2, 3, 4)]
    assert max(others) < sister - 0.2
    assert abs(np.mean(others)) < 0.4


def test_two_stains_explain_the_image(image):
    """Optical densities lie in the plane of the two stain vectors, and both concentrations are positive."""
    vectors, _, light = simulate_image.stain_of(SETTINGS, "P1", "P1_1")
    density = -np.log(np.maximum(image.reshape(-1, 3), 1) / light)
    dark = density[density.sum(axis=1) > 0.4]
    amount, *_ = np.linalg.lstsq(vectors.T, dark.T, rcond=None)
    rest = dark.T - vectors.T @ amount
    assert np.sqrt((rest**2).mean()) < 0.05
    assert (amount > -0.1).mean() > 0.99
    assert (amount[0] > 0.8).mean() > 0.03  # nuclei


def test_regions_look_as_they_should(image, tissue):
    grey = image.mean(axis=2)
    inside = pixels(tissue.level) > 40
    mean = {
        kind: grey[inside & (pixels(getattr(tissue, kind)) > 0.9)].mean()
        for kind in ("tumour", "stroma", "immune", "fat")
    }
    background = grey[pixels(tissue.level) < -40]
    assert background.mean() > 230
    assert background.std() < 4
    assert mean["immune"] < mean["stroma"] < mean["fat"] < background.mean()
    assert mean["tumour"] < mean["stroma"]
    # Eosin takes green and leaves red, most clearly where there are few nuclei.
    stroma = image[inside & (pixels(tissue.stroma) > 0.9)].mean(axis=0)
    assert stroma[0] - stroma[1] > 50


def test_strips_fit_together(image, tissue, monkeypatch):
    assert SETTINGS.image_size[1] > 4 * simulate_image.HALO_UM / SETTINGS.um_per_px  # several strips
    monkeypatch.setattr(simulate_image, "_STRIP_PIXELS", 1)
    strips = simulate_image.draw_image(SETTINGS, "P1", "P1_1", tissue).astype(int)
    assert (np.abs(strips - image) > 12).mean() < 0.002


def test_stain_differs_between_patients_more_than_between_sisters():
    many = SimulationSettings(n_patients=20)
    light = np.array(
        [[simulate_image.stain_of(many, f"P{p}", f"P{p}_{c}")[1] for c in (1, 2)] for p in range(1, 21)]
    )
    between, within = light.mean(axis=1).std(axis=0), np.abs(light[:, 0] - light[:, 1]).mean(axis=0)
    assert (between > 2 * within).all()
    plain = SimulationSettings(stain_spread=0.0)
    for one, other in zip(
        simulate_image.stain_of(plain, "P1", "P1_1"),
        simulate_image.stain_of(plain, "P2", "P2_1"),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_spots_lie_on_tissue_with_a_whole_window(tissue):
    latent = latent_at_spots(SETTINGS, "P1_1")
    width, height = SETTINGS.image_size
    half = 100 / SETTINGS.um_per_px
    assert latent["pixel_x"].between(half, width - half).all()
    assert latent["pixel_y"].between(half, height - half).all()
    x, y = (latent["new_x"] - 1) * 200, (latent["new_y"] - 1) * 200
    assert tissue.at(tissue.inside, x.to_numpy(), y.to_numpy()).mean() > 0.95


def test_labels_name_the_largest_share():
    latent = latent_at_spots(SETTINGS, "P1_1")
    words = {"tumour": "invasive cancer", "stroma": "connective tissue"}
    for kind, word in words.items():
        assert (latent.loc[latent["label"] == word, kind] >= 0.45).all()
    assert (latent["tumour_label"].isna() == (latent["label"] == "undetermined")).all()
    assert ((latent["tumour_label"] == 1) == (latent["label"] == "invasive cancer")).all()


def colour_moments(image: np.ndarray, latent: pd.DataFrame) -> np.ndarray:
    """Return mean, sd and skewness of the three channels of 224 µm patches: (spots, 9)."""
    half = round(112 / SETTINGS.um_per_px)
    rows = []
    for x, y in zip(
        latent["pixel_x"].round().astype(int), latent["pixel_y"].round().astype(int), strict=True
    ):
        window = image[max(y - half, 0) : y + half, max(x - half, 0) : x + half]
        centred = window.reshape(-1, 3) - (mean := window.reshape(-1, 3).mean(axis=0))
        sd = centred.std(axis=0) + 1e-6
        rows.append(np.concatenate([mean, sd, (centred**3).mean(axis=0) / sd**3]))
    return np.array(rows)


@pytest.mark.slow
def test_colours_of_the_image_predict_planted_genes_and_not_null_genes():
    x, y = {}, {}
    names = section_names(SETTINGS)
    for section, patient in names.items():
        tissue = simulate_tissue.grow_tissue(SETTINGS, patient, section)
        image = simulate_image.draw_image(SETTINGS, patient, section, tissue)
        x[section] = colour_moments(image, latent_at_spots(SETTINGS, section))
        counts = simulate_counts_table(SETTINGS, section)
        y[section] = np.log1p(1e4 * counts.div(counts.sum(axis=1), axis=0))
    scores = []
    for test, patient in names.items():
        train = [s for s in names if names[s] != patient]
        # Each section is scaled by itself, which takes most of the stain batch out.
        scaled = {s: (x[s] - x[s].mean(axis=0)) / x[s].std(axis=0) for s in names}
        features, targets = np.vstack([scaled[s] for s in train]), np.vstack([y[s] for s in train])
        gram = features.T @ features + 10 * np.eye(9)
        weights = np.linalg.solve(gram, features.T @ (targets - targets.mean(axis=0)))
        predicted = pd.DataFrame(scaled[test] @ weights, index=y[test].index, columns=y[test].columns)
        scores.append(predicted.corrwith(y[test]))
    mean = pd.concat(scores, axis=1).mean(axis=1)
    truth = simulate_truth(SETTINGS).set_index("gene")
    by_kind = mean.groupby(truth["kind"]).mean()
    assert by_kind["colour"] > 0.15
    assert abs(by_kind["null"]) < 0.03
    strong = (truth["kind"] == "colour") & (truth["strength"].abs() > 0.5)
    assert mean[strong].mean() > 0.25


def test_nuclei_stand_in_nests_and_are_as_many_as_elsewhere():
    """Squares of 40 µm hold equally many nuclei on average, but as unequal numbers as nests and gaps."""
    mean, spread = {}, {}
    for contrast in (0.0, 1.0):
        settings = replace(SETTINGS, n_genes_morphology=20, morphology_contrast=contrast)
        counts: dict[bool, list[np.ndarray]] = {False: [], True: []}
        for patient in ("P1", "P2", "P3", "P4"):
            tissue = simulate_tissue.grow_tissue(settings, patient, f"{patient}_1")
            plan = Plan(settings, f"{patient}_1", tissue)
            place = np.concatenate([np.stack([group.row, group.column]) for group in plan.nuclei], axis=1)
            cell = round(40 / settings.um_per_px)
            shape = [size // cell for size in settings.image_size[::-1]]
            number, _, _ = np.histogram2d(*place, bins=shape, range=[[0, size * cell] for size in shape])
            rows, columns = (np.arange(size) * 40 + 20 for size in shape)
            x, y = np.meshgrid(columns, rows)
            within = (tissue.at(tissue.level, x, y) > 60) & (tissue.at(tissue.tumour, x, y) > 0.9)
            share = tissue.at(tissue.nested, x, y)
            expected = tissue.at(tissue.nuclei_per_mm2("tumour"), x, y)
            for nested in counts:
                chosen = within & (expected > 0) & ((share > 0.9) if nested else (share < 0.1))
                counts[nested].append(number[chosen] / expected[chosen])
        for nested, values in counts.items():
            mean[contrast, nested] = np.concatenate(values).mean()
            spread[contrast, nested] = np.concatenate(values).std() / mean[contrast, nested]
    print(mean, spread)
    assert spread[1.0, True] > 1.5 * spread[1.0, False]
    assert abs(spread[0.0, True] / spread[0.0, False] - 1) < 0.15
    for contrast in (0.0, 1.0):
        assert abs(mean[contrast, True] / mean[contrast, False] - 1) < 0.1


def test_a_cohort_without_morphology_genes_has_no_nests(image, tissue):
    assert (tissue.nested == 0.5).all()
    other = replace(SETTINGS, morphology_contrast=0.0)
    again = simulate_image.draw_image(other, "P1", "P1_1", simulate_tissue.grow_tissue(other, "P1", "P1_1"))
    np.testing.assert_array_equal(again, image)
