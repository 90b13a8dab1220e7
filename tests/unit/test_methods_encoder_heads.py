"""Heads that compare encoders: the probe of HEST-bench and CGL-Linear."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from histobench.methods.cgl_linear import CGLLinear
from histobench.methods.hest_probe import HestProbe, published_penalty
from histobench.methods.ridge_probe import RidgeProbe
from histobench.training.component_guided import RHO
from histobench.training.contract import Context, SectionData

GENES = tuple(f"g{i}" for i in range(5))
CONTEXT = Context(genes=GENES)


def study(n_patients: int = 3, per_patient: int = 2, spots: int = 25, seed: int = 0) -> list[SectionData]:
    """Sections with eleven features, two of which carry the genes, shifted against each other."""
    rng = np.random.default_rng(seed)
    slopes = rng.normal(size=(2, 5))
    made = []
    for patient in range(n_patients):
        for number in range(per_patient):
            x = rng.normal(size=(spots, 11)) * np.linspace(1, 9, 11) + 3 * rng.normal()
            y = x[:, :2] @ slopes + rng.normal(size=(spots, 5)) + 5 * rng.normal() + 6
            frame = pd.DataFrame({"array_x": np.arange(spots, dtype=float)})
            frame["array_y"] = frame["pixel_x"] = frame["pixel_y"] = 0.0
            made.append(
                SectionData("c", f"P{patient}_{number}", f"P{patient}", frame,
                            features=x.astype(np.float32), targets=y.astype(np.float32))
            )  # fmt: skip
    return made


def fitted(method: Any, train: list[SectionData]) -> tuple[Any, Any]:
    log = method.fit(train, [], CONTEXT)
    return method, log


def test_the_published_recipe_is_that_of_hest_bench() -> None:
    """Scale, project, ridge without intercept at 100 / (components x genes), by scikit-learn as the benchmark runs it."""
    *train, tested = study()
    method, log = fitted(HestProbe(components=4, alphas=None, intercept=False), train)
    assert log.facts["alpha"] == published_penalty(4, 5) == pytest.approx(100 / 20)
    x, y = (np.concatenate([getattr(s, key) for s in train]).astype(float) for key in ("features", "targets"))
    ridge = Ridge(solver="lsqr", fit_intercept=False, alpha=100 / 20, max_iter=1000, tol=1e-12)
    pipeline = make_pipeline(StandardScaler(), PCA(4, svd_solver="full", random_state=1), ridge).fit(x, y)
    expected = pipeline.predict(tested.features.astype(float))
    found = method.predict(tested.without_truth()).expression
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert abs(method.predict(train[0]).expression.mean()) < 3 < np.mean(y)  # the mean is never predicted


def test_all_features_with_the_chosen_penalty_are_the_ridge_probe() -> None:
    *train, tested = study()
    alphas = (1.0, 30.0, 1e3)
    ours, _ = fitted(HestProbe(components=None, alphas=alphas), train)
    ridge, _ = fitted(RidgeProbe(alphas), train)
    np.testing.assert_allclose(ours.predict(tested).expression, ridge.predict(tested).expression, atol=1e-6)
    many, _ = fitted(HestProbe(components=256, alphas=alphas), train)  # more than there are features
    np.testing.assert_allclose(many.predict(tested).expression, ridge.predict(tested).expression, atol=1e-4)


def test_the_tested_patient_decides_nothing() -> None:
    """Sections of training in another order, and whatever is tested, leave the coefficients as they are."""
    train = study()
    one, _ = fitted(HestProbe(components=3, alphas=(1.0, 100.0)), train)
    other, _ = fitted(HestProbe(components=3, alphas=(1.0, 100.0)), train[::-1])
    np.testing.assert_array_equal(one.learnt["weight"], other.learnt["weight"])


def test_the_weight_follows_what_is_within_sections() -> None:
    """Where shifts between sections say the contrary of what holds within them, ridge regression is misled."""
    rng = np.random.default_rng(1)
    train = study(n_patients=4)
    for section in train:  # the mean of the first feature goes one way, the gene another
        shift = 10 * rng.normal()
        section.features[:, 0] = rng.normal(size=len(section)) + shift
        section.targets[:, 0] = section.features[:, 0] - 2 * shift + 0.5 * rng.normal(size=len(section))
    *learn, tested = train
    learn = [section for section in learn if section.patient != tested.patient]
    guided, log = fitted(CGLLinear(alphas=(10.0, 100.0)), learn)
    ridge, _ = fitted(RidgeProbe((10.0, 100.0)), learn)
    r = [
        np.corrcoef(method.predict(tested).expression[:, 0], tested.targets[:, 0])[0, 1]
        for method in (guided, ridge)
    ]
    assert log.facts["rho"] < 0.3 and log.facts["rho_is"] == "chosen"
    assert r[0] > 0.7 and r[0] > r[1] + 0.2


def test_what_there_is_too_little_for_is_said() -> None:
    _, log = fitted(CGLLinear(), study(n_patients=1, per_patient=1))
    assert log.facts["rho"] == RHO and str(log.facts["rho_is"]).startswith("fixed")
    _, log = fitted(CGLLinear(group="patient", weights="equal"), study())
    assert log.facts["selection_unit"] == "patient"
