from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from unit import simulated_study

from histobench.errors import UserError
from histobench.methods.tumour_forest import TumourForest, _ask, _forest
from histobench.methods.tumour_lightgbm import TumourLightGBM
from histobench.methods.tumour_logistic import TumourLogistic
from histobench.methods.tumour_network import TumourNetwork
from histobench.training.conformance import make_study
from histobench.training.contract import Context

CONTEXT = Context(tuple("ABCDE"), tuple("ABCDEFGH"), seed=1, device="cpu", weights="none")
NETWORK = {
    "backbone": "small_cnn",
    "input_px": 32,
    "epochs": 2,
    "batch_size": 8,
    "learning_rate": 0.01,
    "views": 1,
}
METHODS = {
    "logistic": lambda: TumourLogistic(),
    "lightgbm": lambda: TumourLightGBM(min_leaf=3),
    "forest": lambda: TumourForest(trees=10, modalities=["image", "predicted"]),
    "network": lambda: TumourNetwork(**NETWORK),
}


def auroc(method, test):
    shown = method.predict(test.without_truth()).tumour_probability
    known = np.isfinite(test.labels)
    return roc_auc_score(test.labels[known], shown[known])


@pytest.mark.parametrize("name", METHODS)
def test_probabilities_are_repeatable_survive_saving_and_know_no_test_label(name, tmp_path) -> None:
    train, test = make_study()
    first, second, third = (METHODS[name]() for _ in range(3))
    first.fit(train, [], CONTEXT)
    second.fit(train[::-1], [], CONTEXT)
    first.save(tmp_path)
    third.load(tmp_path)
    flipped = replace(test, labels=1 - test.labels)
    found = first.predict(test.without_truth())
    assert found.tumour_probability.shape == (len(test),)
    assert len(set(found.tumour_probability.tolist())) > 1
    mean = np.concatenate([s.targets for s in train])
    if name != "network":  # which takes the mean of the patients it learns from
        np.testing.assert_allclose(found.expression[0], mean.mean(axis=0), rtol=1e-5)
    for other, section in ((second, test), (third, test), (first, flipped)):
        np.testing.assert_array_equal(found.tumour_probability, other.predict(section).tumour_probability)


@pytest.mark.parametrize("name", METHODS)
def test_without_labels_there_is_no_probability(name, tmp_path) -> None:
    train, test = make_study()
    bare = [replace(s, labels=np.full(len(s), np.nan, np.float32)) for s in train]
    method, loaded = METHODS[name](), METHODS[name]()
    assert method.fit(bare, [], CONTEXT).facts["n_labelled"] == 0
    method.save(tmp_path)
    loaded.load(tmp_path)
    for fitted in (method, loaded):
        found = fitted.predict(test)
        assert found.tumour_probability is None
        assert np.isfinite(found.expression).all()


@pytest.mark.parametrize("name", ["logistic", "lightgbm", "forest"])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_single_kind_of_label_is_predicted_everywhere(name, label) -> None:
    train, test = make_study()
    one = [replace(s, labels=np.full(len(s), label, np.float32)) for s in train]
    method = METHODS[name]()
    method.fit(one, [], CONTEXT)
    np.testing.assert_array_equal(method.predict(test).tumour_probability, np.full(len(test), label))


@pytest.mark.parametrize("name", METHODS)
def test_unlabelled_spots_change_nothing_but_the_mean(name) -> None:
    train, test = make_study()
    half = []
    for section in train:
        labels = section.labels.copy()
        labels[::3] = np.nan
        half.append(replace(section, labels=labels))
    scrambled = []
    for section in half:
        features, patches = section.features.copy(), section.patches.copy()
        features[::3], patches[::3] = 9.0, 0
        scrambled.append(replace(section, features=features, patches=patches))
    # predicted expression is learnt from all spots, labelled or not; so the forest looks at the image only
    make = (lambda: TumourForest(trees=10)) if name == "forest" else METHODS[name]
    found = []
    for sections in (half, scrambled):
        method = make()
        method.fit(sections, [], CONTEXT)
        found.append(method.predict(test).tumour_probability)
    np.testing.assert_array_equal(*found)


def test_logistic_regression_takes_the_strength_that_does_best_on_other_patients() -> None:
    train, _ = make_study()
    rng = np.random.default_rng(0)
    # features without any meaning: the strongest penalty must win
    noise = [replace(s, features=rng.normal(size=(len(s), 30)).astype(np.float32)) for s in train]
    told = TumourLogistic(strengths=[1e-5, 1.0, 100.0]).fit(noise, [], CONTEXT)
    assert told.facts["strength"] == 1e-5
    losses = {row["strength"]: row["valid_log_loss"] for row in told.history}
    assert min(losses, key=losses.get) == 1e-5
    # features that are the label: a weak penalty wins
    clear = [replace(s, features=s.labels[:, None] + rng.normal(0, 0.01, (len(s), 1))) for s in train]
    assert TumourLogistic(strengths=[1e-5, 100.0]).fit(clear, [], CONTEXT).facts["strength"] == 100.0


def test_a_regression_forest_on_labels_is_a_classification_forest() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 16)).astype(np.float32)
    labels = (x[:, 0] + 0.5 * x[:, 1] + rng.normal(0, 0.7, 300) > 0).astype(np.float32)
    fresh = rng.normal(size=(200, 16)).astype(np.float32)
    ours = _ask(_forest(x, labels, 200, 3)[0], fresh)
    theirs = RandomForestClassifier(200, random_state=0).fit(x, labels).predict_proba(fresh)[:, 1]
    assert np.abs(ours - theirs).mean() < 0.04  # two forests differ by chance only
    assert np.corrcoef(ours, theirs)[0, 1] > 0.97
    assert ours.min() >= 0
    assert ours.max() <= 1


def test_predicted_expression_of_training_spots_does_not_come_from_their_own_patient() -> None:
    train, _ = make_study()
    ordered = sorted(train, key=lambda s: (s.patient, s.section))
    moved = [replace(s, targets=s.targets + 40) if s.patient == "p2" else s for s in ordered]
    before, after = TumourForest(modalities=["predicted"]), TumourForest(modalities=["predicted"])
    plain = before.prepare(ordered, CONTEXT)
    shifted = after.prepare(moved, CONTEXT)
    for section, a, b in zip(ordered, plain, shifted, strict=True):
        assert a.shape == (len(section), 5)
        if section.patient == "p2":
            np.testing.assert_array_equal(a, b)
        else:
            assert (b - a).mean() > 1


def test_observed_expression_needs_the_truth() -> None:
    train, test = make_study()
    method = TumourForest(modalities=["observed"], trees=5)
    told = method.fit(train, [], CONTEXT)
    assert told.facts["n_numbers"] == 5
    assert method.predict(test).tumour_probability is not None
    with pytest.raises(ValueError, match="targets"):
        method.predict(test.without_truth())


@pytest.mark.parametrize("modalities", [["image", "sound"], []])
def test_unknown_modalities_are_refused(modalities) -> None:
    train, _ = make_study()
    with pytest.raises(UserError, match="modalities"):
        TumourForest(modalities=modalities).fit(train, [], CONTEXT)


def test_the_network_has_one_output_on_the_encoder() -> None:
    import torch

    from histobench.networks.backbones import PixelNorm, count_parameters, make_backbone
    from histobench.networks.multihead import MultiHead

    with torch.device("meta"):
        network = MultiHead(PixelNorm(), make_backbone("resnet50"), genes=0, tumour=True)
    # torchvision's ResNet-50 without its 1000-way layer, and 2,048 weights with a bias
    assert count_parameters(network) == 25_557_032 - 2_049_000 + 2_049


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_it_tells_tumour_in_an_unseen_patient(name) -> None:
    train, (test,), context, _ = simulated_study.study()
    params = {
        **NETWORK,
        "input_px": 64,
        "window_share": 1.0,
        "epochs": 8,
        "batch_size": 16,
        "learning_rate": 3e-3,
    }
    method = TumourNetwork(**params) if name == "network" else METHODS[name]()
    method.fit(list(train), [], context)
    assert auroc(method, test) > 0.7
