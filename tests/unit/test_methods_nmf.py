from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from unit.target_transforms import NAMES

from histobench.expression.transforms import Transform, transform_counts
from histobench.methods.nmf_composition import NMFComposition
from histobench.training.conformance import make_study
from histobench.training.contract import Context

ENTRY = "histobench.methods.nmf_composition:NMFComposition"
NETWORK = {"architecture": "small_cnn", "input_px": 32, "epochs": 1, "inner_folds": 0, "views": 1}


def study_under(transform):
    train, test = make_study()
    moved = []
    for section in train:
        counts = section.counts.toarray()
        panel = counts[:, :5]
        targets = transform_counts(transform, panel, section.total_counts, panel.sum(axis=1), 8)
        moved.append(replace(section, targets=targets))
    return (
        moved,
        test,
        Context(
            tuple("ABCDE"), tuple("ABCDEFGH"), Transform.of(transform), seed=1, device="cpu", weights="none"
        ),
    )


@pytest.mark.parametrize("transform", NAMES)
def test_linear_scale_undoes_and_redoes_every_transform(transform) -> None:
    (section, *_), _, _ = study_under(transform)
    linear = Transform.of(transform).linear(section.targets)
    assert linear.min() >= 0
    np.testing.assert_allclose(Transform.of(transform).curved(linear), section.targets, rtol=1e-5, atol=1e-5)
    counts = section.counts.toarray()[:, :5].astype(float)
    total = section.total_counts[:, None]
    wanted = {
        "stnet": (1 + counts) / (8 + total),
        "log1p": counts,
        "log1p_cp10k": 1e4 * counts / total,
        "log10_cp10k": 1e4 * counts / total,
        "log10_cp10k_panel": 1e4 * counts / counts.sum(axis=1, keepdims=True),
    }[transform]
    np.testing.assert_allclose(linear, wanted, rtol=1e-4, atol=1e-4 * wanted.mean())


@pytest.mark.parametrize("transform", ["stnet", "log1p_cp10k"])
def test_untrained_it_predicts_the_mean_composition_times_the_profiles(transform) -> None:
    train, test, context = study_under(transform)
    method = NMFComposition(factors=4, network={**NETWORK, "learning_rate": 0.0, "epochs": 1})
    method.fit(train, [], context)
    linear = Transform.of(transform).linear(np.concatenate([s.targets for s in train]))
    model, composition = method._factorise(linear / method.learnt["unit"], context)
    # factors that weigh alike in the loss, whose profiles make up for it
    np.testing.assert_allclose(
        method.learnt["profiles"], model.components_ * composition.std(axis=0)[:, None]
    )
    expected = Transform.of(transform).curved(
        np.maximum(composition.mean(axis=0) @ model.components_ * method.learnt["unit"], linear.min(axis=0)),
    )
    found = method.predict(test).expression
    np.testing.assert_allclose(found, np.tile(expected, (len(test), 1)), rtol=1e-4)
    # and the product of the means lies at the mean expression, as far as four factors reach
    np.testing.assert_allclose(expected, Transform.of(transform).curved(linear.mean(axis=0)), atol=0.15)


def test_the_published_number_of_factors_is_cut_to_the_panel() -> None:
    train, _, context = study_under("stnet")
    told = NMFComposition(network=NETWORK).fit(train, [], context)
    assert told.facts["n_factors"] == 5
    assert told.facts["nmf_relative_error"] < 0.02  # as many factors as genes leave nothing over
    # features to five compositions in the network, five profiles of five genes
    assert told.facts["parameters"] == 97_680 + 5 * 129 + 25


def test_validation_patients_are_composed_not_factorised() -> None:
    train, test, context = study_under("log1p_cp10k")
    params = {"factors": 3, "network": {**NETWORK, "selection": "valid", "epochs": 2}}
    alone, with_valid = NMFComposition(**params), NMFComposition(**params)
    loud = replace(test, targets=np.asarray(test.targets) + 3)
    alone.fit(train, [test], context)
    told = with_valid.fit(train, [loud], context)
    np.testing.assert_array_equal(alone.learnt["profiles"], with_valid.learnt["profiles"])
    assert all(row["valid_mse"] > 0 for row in told.history)


def test_it_is_repeatable_and_survives_saving(tmp_path) -> None:
    train, test, context = study_under("stnet")
    params = {"factors": 3, "network": NETWORK}
    first, second, third = (NMFComposition(**params) for _ in range(3))
    first.fit(train, [], context)
    second.fit(train[::-1], [], context)
    first.save(tmp_path)
    third.load(tmp_path)
    for other in (second, third):
        np.testing.assert_array_equal(first.predict(test).expression, other.predict(test).expression)
