"""The bootstrap over spots is the one that a loop over resamples gives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from histobench.evaluation.spotbootstrap import spot_bootstrap


def study(n_spots=40, n_genes=7, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.gamma(2.0, 1.0, (n_spots, n_genes)) + 100  # a mean far from zero
    return truth, 0.3 * truth + rng.normal(0, 1, truth.shape)


def test_every_resample_equals_scipys_correlation_of_its_spots():
    truth, prediction = study()
    found = spot_bootstrap(truth, prediction, n=30, seed=5)
    for resample, spots in enumerate(np.random.default_rng(5).integers(0, 40, (30, 40))):
        for gene in range(7):
            r = stats.pearsonr(truth[spots, gene], prediction[spots, gene]).statistic
            assert found[resample, gene] == pytest.approx(r, abs=2e-6)


def test_resamples_do_not_depend_on_how_many_are_held_at_a_time(monkeypatch):
    truth, prediction = study()
    whole = spot_bootstrap(truth, prediction, n=30, seed=5)
    monkeypatch.setattr("histobench.evaluation.spotbootstrap._SUMS", 5 * 7 * 8)  # eight at a time
    np.testing.assert_allclose(spot_bootstrap(truth, prediction, n=30, seed=5), whole, atol=1e-6)


def test_the_spread_is_that_of_theory():
    truth, prediction = study(n_spots=600, n_genes=20)
    found = spot_bootstrap(truth, prediction, n=400)
    r = found.mean(axis=0)
    expected = (1 - r**2) / np.sqrt(600)  # of a normal sample; gamma tails widen it a little
    assert np.median(found.std(axis=0) / expected) == pytest.approx(1, abs=0.25)


def test_constants_and_wrong_shapes():
    truth, prediction = study()
    truth[:, 0] = 3.0
    prediction[:, 1] = 7.5
    found = spot_bootstrap(truth, prediction, n=5)
    assert np.isnan(found[:, 0]).all() and (found[:, 1] == 0).all() and np.isfinite(found[:, 2:]).all()
    with pytest.raises(ValueError, match="spots x genes"):
        spot_bootstrap(truth, prediction[:-1])
