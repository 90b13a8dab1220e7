"""The truth of the simulated cohort: planted genes are there, null genes are null, patients differ."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

from histobench.cohorts.simulation.counts import PROGRAMMES, amplified_in, expected_shares
from histobench.cohorts.simulation.simulate import (
    SimulationSettings,
    latent_at_spots,
    section_names,
    simulate_counts_table,
    simulate_truth,
)

# More null genes than usual, so that a small bias would show; the rest is the default cohort's mixture.
SEEDS = (0, 1, 2)
FOLDS = {"grid_columns": 13, "grid_rows": 13, "um_per_px": 2.0}
MANY_NULL = {"n_patients": 3, "grid_columns": 14, "grid_rows": 14, "n_genes_null": 160, "mean_depth": 6000.0}


def log_normalised(counts: pd.DataFrame) -> pd.DataFrame:
    """Return ln(1 + 1e4 c / Z), the benchmark's usual target."""
    return np.log1p(1e4 * counts.div(counts.sum(axis=1), axis=0))


@cache
def cohort(seed: int) -> tuple[pd.DataFrame, dict[str, tuple[pd.DataFrame, pd.DataFrame]]]:
    """Return the truth, and latent fields and counts by section."""
    settings = SimulationSettings(seed=seed, **MANY_NULL)
    sections = {
        name: (latent_at_spots(settings, name), simulate_counts_table(settings, name))
        for name in section_names(settings)
    }
    return simulate_truth(settings).set_index("gene"), sections


@cache
def correlations() -> pd.DataFrame:
    """Return r of every gene in every section with the programmes, log cellularity and log depth."""
    parts = []
    for seed in SEEDS:
        truth, sections = cohort(seed)
        for section, (latent, counts) in sections.items():
            target = log_normalised(counts)
            against = latent[list(PROGRAMMES)].assign(
                cells=np.log(latent["cellularity"]), depth=np.log(counts.sum(axis=1))
            )
            r = pd.DataFrame({name: target.corrwith(against[name]) for name in against})
            between = against["cells"].corr(against["depth"])
            given = (r["cells"] - between * r["depth"]) / np.sqrt((1 - between**2) * (1 - r["depth"] ** 2))
            r = r.assign(cells_given_depth=given)
            parts.append(r.join(truth).assign(seed=seed, section=section))
    return pd.concat(parts)


def section_mean(r: pd.DataFrame, name: str) -> tuple[float, float]:
    """Return the mean over sections of the mean over genes, and its standard error (sections are the units)."""
    means = r.groupby(["seed", "section"])[name].mean()
    return float(means.mean()), float(means.std() / np.sqrt(len(means)))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PROGRAMMES, "cells"])
@pytest.mark.parametrize("programme", ["none", "own map"])
def test_null_genes_are_unrelated_to_everything_that_the_image_shows(name, programme):
    r = correlations()
    null = r[(r["kind"] == "null") & (r["programme"] == programme)]
    mean, error = section_mean(null, name)
    assert error < 0.007  # the check is sharp: planted genes of the least strength have 0.1 and more
    assert abs(mean) < 3.5 * error


def test_the_null_check_would_notice_a_plain_negative_binomial():
    """A constant expected share of the same depth is not null: its noise, and so its log, follows depth."""
    rng = np.random.default_rng(0)
    means = []
    for seed in SEEDS:
        for latent, counts in cohort(seed)[1].values():
            depth = counts.sum(axis=1).to_numpy()
            mean = depth[:, None] * np.full(400, 3 / 4000)
            drawn = rng.poisson(mean * rng.gamma(5, 1 / 5, mean.shape))
            target = np.log1p(1e4 * drawn / depth[:, None])
            cells = np.log(latent["cellularity"].to_numpy())
            means.append(np.mean([np.corrcoef(gene, cells)[0, 1] for gene in target.T]))
    assert np.mean(means) > 3.5 * np.std(means, ddof=1) / np.sqrt(len(means))
    assert np.mean(means) > 0.01


def test_null_genes_vary_as_much_as_other_genes():
    truth, sections = cohort(0)
    target = log_normalised(next(iter(sections.values()))[1])
    spread = target.std().groupby(truth["kind"]).median()
    assert 0.5 < spread["null"] / spread["colour"] < 1.5


def test_planted_genes_follow_their_programme_in_order_of_strength():
    r = correlations()
    planted = r[r["kind"] == "colour"]
    own = np.array([row[row["programme"]] for _, row in planted.iterrows()]) * np.sign(planted["strength"])
    by_strength = own.groupby(planted["strength"].abs()).mean()
    assert by_strength.is_monotonic_increasing
    assert by_strength.iloc[0] > 0.05
    assert by_strength.iloc[-1] > 0.5


def test_depth_genes_light_up_under_depth_and_not_given_depth():
    r = correlations()
    depth = r[r["kind"] == "depth"]
    assert depth["depth"].groupby(depth["strength"]).mean().is_monotonic_increasing
    assert section_mean(depth, "depth")[0] > 0.4
    assert section_mean(depth, "cells")[0] > 0.15  # cellularity drives depth, so the image shows some of it
    assert abs(section_mean(depth, "cells_given_depth")[0]) < 0.1
    null = r[r["kind"] == "null"]
    assert abs(section_mean(null, "depth")[0]) < 0.02


def test_depth_is_driven_by_cellularity_and_mostly_technical():
    r = [
        np.corrcoef(np.log(latent["cellularity"]), np.log(counts.sum(axis=1)))[0, 1]
        for seed in SEEDS
        for latent, counts in cohort(seed)[1].values()
    ]
    assert 0.3 < np.mean(r) < 0.7


def test_depth_resembles_spatial_transcriptomics():
    truth, sections = cohort(0)
    medians = [counts.sum(axis=1).median() for _, counts in sections.values()]
    assert 2500 < np.mean(medians) < 12000
    assert abs(truth["mean_count"].sum() - MANY_NULL["mean_depth"]) < 1e-6
    assert all((counts.sum(axis=1) > 0).all() for _, counts in sections.values())


def test_truth_is_complete_and_the_same_for_all_sections():
    settings = SimulationSettings()
    truth = simulate_truth(settings)
    assert list(truth.columns) == ["gene", "kind", "programme", "strength", "mean_count"]
    assert truth["gene"].is_unique
    kinds = truth["kind"].value_counts()
    assert dict(kinds) == {"colour": 60, "null": 60, "patient": 36, "depth": 12}
    assert (truth.loc[truth["kind"] == "null", "strength"] == 0).all()
    assert set(truth.loc[truth["kind"] == "colour", "programme"]) == set(PROGRAMMES)
    # The size of the cohort is not part of the truth: adding a patient changes no gene.
    pd.testing.assert_frame_equal(truth, simulate_truth(SimulationSettings(n_patients=9)))
    assert not truth.equals(simulate_truth(SimulationSettings(seed=1)))


def test_null_shares_are_constant_within_a_section_and_all_shares_add_up():
    settings = SimulationSettings(grid_columns=9, grid_rows=9)
    truth = simulate_truth(settings)
    share = expected_shares(settings, "P1", latent_at_spots(settings, "P1_1"), truth)
    np.testing.assert_allclose(share.sum(axis=1), 1)
    null = share[:, (truth["kind"] == "null").to_numpy()]
    np.testing.assert_allclose(null, np.broadcast_to(null[0], null.shape), rtol=1e-9)


def test_amplified_genes_are_spread_evenly_and_stand_out_in_their_patient():
    settings = SimulationSettings()
    truth = simulate_truth(settings)
    amplified = amplified_in(settings, truth)
    assert (amplified.sum(axis=0) == 6).all()
    assert set(amplified.index[amplified.any(axis=1)]) == set(truth.loc[truth["kind"] == "patient", "gene"])
    counts = {patient: simulate_counts_table(settings, f"{patient}_1").mean() for patient in ("P1", "P2")}
    own = amplified.index[amplified["P1"]]
    assert (counts["P1"][own] > 3 * counts["P2"][own]).mean() > 0.9


@cache
def six_patients(seed: int) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """Return latent fields and counts by section."""
    settings = SimulationSettings(seed=seed, **FOLDS)
    return {
        name: (latent_at_spots(settings, name), simulate_counts_table(settings, name))
        for name in section_names(settings)
    }


def ridge_scores(seed: int, scheme: str) -> pd.DataFrame:
    """Predict every section's target from its latent fields: r, (genes, sections). ``scheme`` names the folds."""
    names = section_names(SimulationSettings(seed=seed, **FOLDS))
    columns = [*PROGRAMMES, "cellularity"]
    x = {section: latent[columns].to_numpy() for section, (latent, _) in six_patients(seed).items()}
    y = {section: log_normalised(counts) for section, (_, counts) in six_patients(seed).items()}
    scores = {}
    for test, patient in names.items():
        train = [s for s in names if (names[s] != patient if scheme == "patient" else s != test)]
        features = np.vstack([x[s] for s in train])
        mean, sd = features.mean(axis=0), features.std(axis=0)
        scaled = (features - mean) / sd
        targets = np.vstack([y[s] for s in train])
        gram = scaled.T @ scaled + np.eye(len(columns))
        weights = np.linalg.solve(gram, scaled.T @ (targets - targets.mean(axis=0)))
        predicted = pd.DataFrame(
            ((x[test] - mean) / sd) @ weights, index=y[test].index, columns=y[test].columns
        )
        scores[test] = predicted.corrwith(y[test])
    return pd.DataFrame(scores)


@pytest.mark.slow
def test_a_sister_section_in_training_inflates_the_score_of_planted_genes_only():
    gain = {"colour": [], "null": []}
    for seed in SEEDS[:2]:
        truth = simulate_truth(SimulationSettings(seed=seed)).set_index("gene")
        difference = ridge_scores(seed, "section") - ridge_scores(seed, "patient")
        for kind, values in gain.items():
            values.extend(difference[truth["kind"] == kind].mean())
    planted = np.array(gain["colour"])
    assert planted.mean() > 0.01
    assert planted.mean() > 3 * planted.std(ddof=1) / np.sqrt(len(planted))
    assert abs(np.mean(gain["null"])) < 0.005


@pytest.mark.slow
def test_a_panel_from_all_patients_inflates_the_score():
    gain = []
    for seed in SEEDS[:2]:
        names = section_names(SimulationSettings(seed=seed, **FOLDS))
        counts = {section: drawn for section, (_, drawn) in six_patients(seed).items()}
        scores = ridge_scores(seed, "patient")
        leaking = pd.concat(counts.values()).mean().nlargest(80).index
        for section, patient in names.items():
            honest = (
                pd.concat([c for s, c in counts.items() if names[s] != patient]).mean().nlargest(80).index
            )
            gain.append(scores.loc[leaking, section].mean() - scores.loc[honest, section].mean())
    assert np.mean(gain) > 0.005
    assert np.mean(gain) > 3 * np.std(gain, ddof=1) / np.sqrt(len(gain))


def test_morphology_genes_follow_nesting_in_order_of_strength_and_nothing_else():
    settings = SimulationSettings(n_patients=10, sections_per_patient=1, n_genes_morphology=24)
    truth = simulate_truth(settings).set_index("gene")
    assert dict(truth["kind"].value_counts()) == {
        "colour": 60, "null": 60, "patient": 36, "morphology": 24, "depth": 12,
    }  # fmt: skip
    causes = ["nesting", *PROGRAMMES, "cellularity", "log_depth"]
    rows = []
    for section in section_names(settings):
        latent, counts = latent_at_spots(settings, section), simulate_counts_table(settings, section)
        target = np.log1p(1e4 * counts.div(counts.sum(axis=1), axis=0))
        rows.append(pd.DataFrame({cause: target.corrwith(latent[cause]) for cause in causes}))
    r = sum(rows) / len(rows)
    sign = np.sign(truth["strength"])
    morphology = truth["kind"] == "morphology"
    own = (r["nesting"] * sign)[morphology].groupby(truth["strength"].abs()).mean()
    print(own.to_dict(), r[morphology].abs().mean().to_dict())
    assert own.is_monotonic_increasing and own.iloc[0] > 0.25 and own.iloc[-1] > 0.6
    for cause in causes[1:]:
        # Their sign tells what they follow by chance from what they follow as a group.
        assert abs((r[cause] * sign)[morphology].mean()) < 0.04
        assert abs(r[cause][morphology].mean()) < 0.04
    for kind in ("null", "colour", "patient"):
        assert abs((r["nesting"] * np.where(sign < 0, -1, 1))[truth["kind"] == kind].mean()) < 0.04


def test_strengths_scale_and_counts_do_not_know_what_the_image_shows():
    plain = SimulationSettings(n_genes_morphology=12)
    strong = simulate_truth(replace(plain, strength_scale=2.0)).set_index("gene")["strength"]
    weak = simulate_truth(plain).set_index("gene")
    planted = weak["kind"].isin(["colour", "morphology"])
    np.testing.assert_allclose(strong[planted], 2 * weak.loc[planted, "strength"])
    np.testing.assert_allclose(strong[~planted], weak.loc[~planted, "strength"])
    hidden = replace(plain, morphology_contrast=0.0)
    pd.testing.assert_frame_equal(simulate_counts_table(plain, "P1_1"), simulate_counts_table(hidden, "P1_1"))
