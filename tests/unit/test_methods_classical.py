"""Methods on frozen features, against scikit-learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.neighbors import KNeighborsRegressor

from histobench.errors import UserError
from histobench.methods.knn import KNN
from histobench.methods.linear_probe import LinearProbe
from histobench.methods.random_forest import RandomForest
from histobench.methods.ridge_probe import RidgeProbe
from histobench.seeds import seed_for
from histobench.training.conformance import GENES, make_section
from histobench.training.contract import Context

CONTEXT = Context(genes=GENES, seed=3, device="cpu", weights="none")
TRAIN = [make_section(f"p{i}", f"s{i}", 30, i) for i in range(4)]
TEST = make_section("p9", "s9", 25, 9)
X = np.concatenate([s.features for s in TRAIN])
Y = np.concatenate([s.targets for s in TRAIN])
PATIENTS = np.repeat([s.patient for s in TRAIN], 30)


def test_knn_is_scikit_learns() -> None:
    method = KNN(k=5)
    method.fit(TRAIN, [], CONTEXT)
    reference = KNeighborsRegressor(5).fit(X, Y)
    np.testing.assert_allclose(method.predict(TEST).expression, reference.predict(TEST.features), rtol=1e-5)


def test_k_is_chosen_by_leaving_out_patients() -> None:
    choices = [1, 3, 9, 27]
    method = KNN(k_choices=choices, inner_folds=4)
    told = method.fit(TRAIN, [], CONTEXT)
    expected = {}
    for k in choices:
        error = 0.0
        for patient in set(PATIENTS):
            out = patient == PATIENTS
            error += ((KNeighborsRegressor(k).fit(X[~out], Y[~out]).predict(X[out]) - Y[out]) ** 2).sum()
        expected[k] = error / Y.size
    assert {row["k"]: row["valid_mse"] for row in told.history} == pytest.approx(expected, rel=1e-5)
    assert told.facts["k"] == min(expected, key=expected.__getitem__)


def test_more_neighbours_than_spots_means_all_spots() -> None:
    method = KNN(k=1000)
    method.fit(TRAIN, [], CONTEXT)
    np.testing.assert_allclose(method.predict(TEST).expression[0], Y.mean(axis=0), rtol=1e-5)
    with pytest.raises(UserError, match="at least 1"):
        KNN(k=0).fit(TRAIN, [], CONTEXT)


def test_forest_of_leaf_members_is_scikit_learns_forest() -> None:
    method = RandomForest(trees=6, max_features=0.5, min_samples_leaf=2)
    method.fit(TRAIN, [], CONTEXT)
    expected = np.mean(
        [
            RandomForestRegressor(
                n_estimators=1,
                max_features=0.5,
                min_samples_leaf=2,
                random_state=seed_for(CONTEXT.seed, "tree", number),
            )
            .fit(X, Y)
            .predict(TEST.features)
            for number in range(6)
        ],
        axis=0,
    )
    np.testing.assert_allclose(method.predict(TEST).expression, expected, rtol=1e-5)


def test_a_stored_forest_is_small(tmp_path: Path) -> None:
    """It must not hold a vector of genes per node."""
    wide = [replace(s, targets=np.tile(s.targets, (1, 50))) for s in TRAIN]
    method = RandomForest(trees=10)
    method.fit(wide, [], CONTEXT)
    method.save(tmp_path)
    nodes = sum(len(tree["left"]) for tree in method.grown())
    vectors = nodes * 250 * 8
    targets = 120 * 250 * 4
    assert (tmp_path / "weights.pt").stat().st_size < targets + vectors / 10


def test_ridge_probe_follows_a_linear_truth() -> None:
    method = RidgeProbe(alphas=[0.01, 1e5])
    linear = [replace(s, targets=(s.features[:, :5] * 2 + 1).astype(np.float32)) for s in TRAIN]
    told = method.fit(linear, [], CONTEXT)
    assert told.facts["alpha"] == 0.01
    np.testing.assert_allclose(method.predict(TEST).expression, TEST.features[:, :5] * 2 + 1, atol=0.02)


def test_linear_probe_approaches_least_squares() -> None:
    method = LinearProbe(epochs=400, batch_size=16, learning_rate=0.02, weight_decay=0.0, decay_every=100)
    method.fit(TRAIN, [make_section("p8", "s8", 40, 8)], CONTEXT)
    design = np.column_stack([X, np.ones(len(X))])
    exact = np.column_stack([TEST.features, np.ones(25)]) @ np.linalg.lstsq(design, Y, rcond=None)[0]
    near, far = np.abs(method.predict(TEST).expression - exact).mean(), np.abs(Y.mean(axis=0) - exact).mean()
    assert near < 0.35 * far


def test_linear_probe_starts_as_the_training_mean() -> None:
    method = LinearProbe(epochs=1, learning_rate=0.0)
    held = make_section("p8", "s8", 10, 8)
    told = method.fit(TRAIN, [held], CONTEXT)
    np.testing.assert_allclose(method.predict(TEST).expression, np.tile(Y.mean(axis=0), (25, 1)), rtol=1e-6)
    expected = ((held.targets - Y.mean(axis=0)) ** 2).mean()
    assert told.history[0]["valid_mse"] == pytest.approx(expected, rel=1e-5)


def test_linear_probe_holds_out_patients_never_single_spots() -> None:
    told = LinearProbe(epochs=2).fit(TRAIN, [], CONTEXT)
    assert told.facts["selection_unit"] == "patient"
    # trained without patient p0: at zero steps the bias would be the mean of the other three
    method = LinearProbe(epochs=1, learning_rate=0.0)
    method.fit(TRAIN, [], CONTEXT)
    expected = np.concatenate([s.targets for s in TRAIN[1:]]).mean(axis=0)
    np.testing.assert_allclose(method.predict(TEST).expression[0], expected, rtol=1e-5)
