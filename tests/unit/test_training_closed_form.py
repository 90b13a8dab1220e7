"""Inner splits by patient, and ridge regression from sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from histobench.training.groups import inner_folds, inner_groups
from histobench.training.ridge import fit_ridge


class Section:
    def __init__(self, patient: str, name: str, spots: pd.DataFrame) -> None:
        self.patient, self.section, self.spots = patient, name, spots

    def __len__(self) -> int:
        return len(self.spots)


def section(patient: str, name: str, n: int) -> Any:
    return Section(patient, name, pd.DataFrame({"array_x": np.arange(n, dtype=float)}))


def test_the_unit_is_the_patient_then_the_section_then_a_strip() -> None:
    unit, groups = inner_groups([section("b", "s1", 2), section("a", "s2", 1), section("b", "s3", 1)])
    assert unit == "patient" and groups.tolist() == ["b", "b", "a", "b"]
    unit, groups = inner_groups([section("a", "s1", 2), section("a", "s2", 1)])
    assert unit == "section" and groups.tolist() == ["s1", "s1", "s2"]
    unit, groups = inner_groups([section("a", "s1", 8)])
    assert unit == "strip" and groups.tolist() == ["0", "0", "1", "1", "2", "2", "3", "3"]


def test_inner_folds_take_every_nth_patient_of_the_sorted_list() -> None:
    groups = np.array(["p3", "p1", "p5", "p2", "p4", "p1"])
    folds = inner_folds(groups, 4)
    assert [sorted(set(groups[held])) for _, held in folds] == [["p1", "p5"], ["p2"], ["p3"], ["p4"]]
    for learn, held in folds:
        assert not set(groups[learn]) & set(groups[held])
        assert sorted([*learn, *held]) == list(range(6))


def test_few_patients_shrink_the_number_of_inner_folds() -> None:
    assert len(inner_folds(np.array(["a", "b", "a"]), 4)) == 2
    assert inner_folds(np.array(["a", "a"]), 4) == []
    assert inner_folds(np.array(["a", "b"]), 1) == []


@pytest.fixture
def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 7)) * [1, 10, 0.1, 1, 1, 5, 1] + [0, 300, 0, -2, 0, 0, 0]
    y = x @ rng.normal(size=(7, 4)) * 0.1 + rng.normal(size=(120, 4)) * 3 - 10
    groups = np.repeat(list("abcd"), 30)
    return x.astype(np.float32), y.astype(np.float32), groups


def refit(x: np.ndarray, y: np.ndarray, alpha: float) -> tuple[StandardScaler, Ridge]:
    scaler = StandardScaler().fit(x.astype(np.float64))
    return scaler, Ridge(alpha=alpha).fit(scaler.transform(x.astype(np.float64)), y.astype(np.float64))


def test_ridge_from_sums_is_ridge(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    x, y, groups = problem
    fit, scores = fit_ridge(x, y, groups, [30.0])
    scaler, model = refit(x, y, 30.0)
    np.testing.assert_allclose(fit.predict(x), model.predict(scaler.transform(x)), atol=2e-5)
    assert scores == {}


def test_the_penalty_is_that_of_refitting_without_each_patient(
    problem: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    x, y, groups = problem
    alphas = [0.1, 3.0, 100.0, 3000.0]
    fit, scores = fit_ridge(x, y, groups, alphas)
    expected = {}
    for alpha in alphas:
        error = 0.0
        for name in "abcd":
            out = groups == name
            scaler, model = refit(x[~out], y[~out], alpha)
            error += ((model.predict(scaler.transform(x[out])) - y[out]) ** 2).sum()
        expected[alpha] = error / y.size
    assert scores == pytest.approx(expected, rel=1e-6)
    assert fit.alpha == min(expected, key=expected.__getitem__)


def test_a_constant_feature_and_a_constant_gene_do_no_harm(
    problem: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    x, y, groups = problem
    x, y = np.column_stack([x, np.full(120, 7.1, np.float32)]), y.copy()
    y[:, 2] = 1.5
    fit, _ = fit_ridge(x, y, groups, [1.0, 10.0])
    moved = x.copy()
    moved[:, -1] = 50.0  # a feature that never changed in training must not matter later
    np.testing.assert_allclose(fit.predict(moved), fit.predict(x))
    np.testing.assert_allclose(fit.predict(x)[:, 2], 1.5, atol=1e-5)


def test_without_a_choice_the_most_cautious_penalty_is_taken(
    problem: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    x, y, _ = problem
    assert fit_ridge(x, y, np.full(120, "a"), [1.0, 100.0])[0].alpha == 100.0
    with pytest.raises(ValueError, match="positive"):
        fit_ridge(x, y, np.full(120, "a"), [0.0, 1.0])
