"""Ridge on principal components, and the regression that weighs what varies within sections."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from histobench.training.component_guided import (
    RHO,
    Parts,
    fit_component_guided,
    within_correlation,
)
from histobench.training.ridge import Moments, fit_ridge, solve, solve_components


@pytest.fixture
def spots() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features and targets of 3 patients with 2 sections of 30 spots each, sections shifted against each other."""
    rng = np.random.default_rng(3)
    sections = np.repeat([f"s{i}" for i in range(6)], 30)
    patients = np.repeat(["p0", "p1", "p2"], 60)
    shift = np.repeat(rng.normal(size=(6, 1)), 30, axis=0)
    x = rng.normal(size=(180, 12)) @ rng.normal(size=(12, 12)) + 3 * shift + 5
    y = x[:, :3] @ rng.normal(size=(3, 4)) + rng.normal(size=(180, 4)) + 4 * shift + 7
    return x, y, sections, patients


def sums_by(names: np.ndarray, x: np.ndarray, y: np.ndarray) -> list[Moments]:
    return [Moments.of(x[names == name], y[names == name]) for name in sorted(set(names))]


@pytest.mark.parametrize("intercept", [True, False])
def test_components_from_sums_are_the_pipeline_of_hest_bench(spots, intercept) -> None:
    x, y, *_ = spots
    alpha = 100 / (5 * 4)
    pipeline = make_pipeline(
        StandardScaler(),
        PCA(5, random_state=1, svd_solver="full"),
        Ridge(solver="lsqr", fit_intercept=intercept, alpha=alpha, max_iter=1000, tol=1e-12),
    )
    expected = pipeline.fit(x[:120], y[:120]).predict(x[120:])
    (fit,) = solve_components(Moments.of(x[:120], y[:120]), [alpha], components=5, intercept=intercept)
    np.testing.assert_allclose(fit.predict(x[120:]), expected, rtol=1e-5, atol=1e-5)
    for gene in range(4):
        ours = np.corrcoef(fit.predict(x[120:])[:, gene], y[120:, gene])[0, 1]
        assert ours == pytest.approx(np.corrcoef(expected[:, gene], y[120:, gene])[0, 1], abs=1e-6)


def test_all_components_are_ridge_on_the_features(spots) -> None:
    x, y, _, patients = spots
    sums = Moments.of(x, y)
    for ours, ridge in zip(
        solve_components(sums, [1.0, 50.0], components=256), solve(sums, [1.0, 50.0]), strict=True
    ):
        np.testing.assert_allclose(ours.weight, ridge.weight, atol=1e-8)
        np.testing.assert_allclose(ours.bias, ridge.bias, atol=1e-7)
    chosen = functools.partial(solve_components, components=12)
    assert fit_ridge(x, y, patients, [0.1, 10.0, 1000.0], chosen)[1] == pytest.approx(
        fit_ridge(x, y, patients, [0.1, 10.0, 1000.0])[1]
    )


def test_left_out_patients_decide_no_component(spots) -> None:
    """What is left out is scored by components of the others: refitted by scikit-learn, the errors are the same."""
    x, y, _, patients = spots
    _, scores = fit_ridge(x, y, patients, [1.0, 30.0], functools.partial(solve_components, components=3))
    for alpha in (1.0, 30.0):
        error = 0.0
        for name in set(patients):
            out = patients == name
            model = make_pipeline(StandardScaler(), PCA(3, svd_solver="full"), Ridge(alpha=alpha))
            error += ((model.fit(x[~out], y[~out]).predict(x[out]) - y[out]) ** 2).sum()
        assert scores[alpha] == pytest.approx(error / y.size, rel=1e-6)


def test_more_components_than_spots_and_constant_features_do_no_harm(spots) -> None:
    x, y, *_ = spots
    x = np.column_stack([x[:8], np.full(8, 7.1), x[:8, 0]])
    (fit,) = solve_components(Moments.of(x, y[:8]), [1e-3], components=256)
    moved = x.copy()
    moved[:, 12] = 99.0
    assert np.isfinite(fit.weight).all()
    np.testing.assert_allclose(fit.predict(moved), fit.predict(x))


def test_the_error_splits_into_the_two_parts(spots) -> None:
    x, y, sections, _ = spots
    residual = y - x @ np.ones((12, 4)) * 0.1
    names = sorted(set(sections))
    within = sum(((r := residual[sections == s]) - r.mean(axis=0)).var(axis=0).sum() * len(r) for s in names)
    means = sum((sections == s).sum() * (residual[sections == s].mean(axis=0) ** 2).sum() for s in names)
    assert (residual**2).sum() == pytest.approx(within + means, rel=1e-12)


@pytest.mark.parametrize("rho", [0.0, 0.03, 0.5, 1.0])
def test_the_closed_form_is_the_least_of_its_objective(spots, rho) -> None:
    """Against demeaned least squares solved by scikit-learn, and by the gradient of the objective."""
    x, y, sections, _ = spots
    parts = Parts.of(sums_by(sections, x, y))
    ((_, fit),) = parts.solve(rho, [20.0], scale=np.ones(12))
    theta = 1 - np.sqrt(rho)
    x_mean = np.stack([x[sections == s].mean(axis=0) for s in sections])
    y_mean = np.stack([y[sections == s].mean(axis=0) for s in sections])
    moved_x = x - x.mean(axis=0) - theta * (x_mean - x.mean(axis=0))
    moved_y = y - y.mean(axis=0) - theta * (y_mean - y.mean(axis=0))
    other = Ridge(alpha=20.0, fit_intercept=False).fit(moved_x, moved_y)
    np.testing.assert_allclose(fit.weight, other.coef_.T, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(fit.bias, y.mean(axis=0) - x.mean(axis=0) @ fit.weight, atol=1e-9)


def test_a_weight_of_one_is_ridge_regression(spots) -> None:
    x, y, sections, _ = spots
    total = Moments.of(x, y)
    ((_, fit),) = Parts.of(sums_by(sections, x, y)).solve(1.0, [7.0], scale=x.std(axis=0))
    np.testing.assert_allclose(fit.weight, solve(total, [7.0])[0].weight, rtol=1e-7)


def test_what_is_added_to_a_section_is_nothing_to_the_part_within(spots) -> None:
    x, y, sections, _ = spots
    moved_x, moved_y = x.copy(), y.copy()
    moved_x[sections == "s2"] += 11.0
    moved_y[sections == "s4"] -= 5.0
    (_, fit), (_, twice) = (
        Parts.of(sums_by(sections, *values)).solve(0.0, [4.0])[0] for values in ((x, y), (moved_x, moved_y))
    )
    np.testing.assert_allclose(twice.weight, fit.weight, rtol=1e-8, atol=1e-10)


def test_a_section_given_twice_is_one_whose_penalty_is_doubled(spots) -> None:
    x, y, *_ = spots
    one = Moments.of(x[:30], y[:30])
    ((_, single),) = Parts.of([one]).solve(0.0, [4.0], scale=np.ones(12))
    ((_, double),) = Parts.of([one, one]).solve(0.0, [8.0], scale=np.ones(12))
    np.testing.assert_allclose(double.weight, single.weight, rtol=1e-10)


def test_a_section_of_one_spot_adds_nothing_within(spots) -> None:
    x, y, sections, _ = spots
    plain = Parts.of(sums_by(sections, x, y))
    more = Parts.of([*sums_by(sections, x, y), Moments.of(x[:1] * 3, y[:1] * 3)])
    np.testing.assert_allclose(more.within_x, plain.within_x)
    assert np.isfinite(Parts.of([Moments.of(x[:1], y[:1])]).solve(0.1, [1.0])[0][1].weight).all()


def test_sections_count_once_each_where_asked(spots) -> None:
    x, y, sections, _ = spots
    kept = np.r_[0:30, 30:40]  # the second section is a third as long
    sums = sums_by(sections[kept], x[kept], y[kept])
    even = Parts.of(sums, equal=True)
    np.testing.assert_allclose(even.mean_x, (x[:30].mean(axis=0) + x[30:40].mean(axis=0)) / 2)
    assert not np.allclose(even.mean_x, Parts.of(sums).mean_x)


def test_weight_and_penalty_come_from_patients_that_are_left_out(spots) -> None:
    x, y, sections, patients = spots
    fit, chosen = fit_component_guided(x, y, sections, patients, [1.0, 100.0, 1e4], [0.0, 0.3, 1.0])
    assert chosen.free and len(chosen.scores) == 9
    for (rho, alpha), score in chosen.scores.items():
        expected = []
        for name in sorted(set(patients)):
            out = patients == name
            learnt = Parts.of(sums_by(sections[~out], x[~out], y[~out]))
            ((_, other),) = learnt.solve(rho, [alpha])
            r = [
                np.mean([np.corrcoef(other.predict(x[rows])[:, g], y[rows, g])[0, 1] for g in range(4)])
                for rows in (sections == s for s in sorted(set(sections[out])))
            ]
            expected.append(np.mean(r))
        assert score == pytest.approx(np.mean(expected), abs=1e-5)
    assert (chosen.rho, fit.alpha) == max(chosen.scores, key=chosen.scores.__getitem__)


def test_without_sections_to_choose_on_the_weight_is_the_declared_one(spots) -> None:
    x, y, sections, _ = spots
    two = slice(0, 60)  # leaving one of two sections out leaves one: nothing between sections is seen
    _, chosen = fit_component_guided(x[two], y[two], sections[two], sections[two], [1.0, 10.0], [0.0, 1.0])
    assert not chosen.free and chosen.rho == RHO and {rho for rho, _ in chosen.scores} == {RHO}
    fit, chosen = fit_component_guided(x[:30], y[:30], sections[:30], sections[:30], [1.0, 10.0], [0.0, 1.0])
    assert not chosen.free and fit.alpha == 10.0 and not chosen.scores


def test_correlation_within_a_section() -> None:
    truth = np.array([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0]])
    assert within_correlation(truth, truth * 3 + 1) == pytest.approx(
        1.0
    )  # a gene that never changes has none
    assert (
        within_correlation(truth, np.ones_like(truth)) == 0.0
    )  # a prediction that never changes knows nothing
    assert np.isnan(within_correlation(truth[:2], truth[:2]))
