from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from histobench.errors import UserError
from histobench.methods.he2rna import HE2RNA
from histobench.networks.backbones import count_parameters
from histobench.networks.he2rna import he2rna_head
from histobench.training.conformance import make_section, make_study
from histobench.training.contract import Context

ENTRY = "histobench.methods.he2rna:HE2RNA"
CONTEXT = Context(tuple("ABCDE"), tuple("ABCDEFGH"), seed=1, device="cpu", weights="none")
TINY = {"hidden": 16, "epochs": 3, "learning_rate": 0.01}


def test_both_heads_have_the_published_number_of_parameters() -> None:
    assert count_parameters(he2rna_head("adapted", 2048, np.zeros(250))) == 2_354_426
    assert count_parameters(he2rna_head("original", 2048, np.zeros(250))) == 3_404_026


def test_the_adapted_head_is_a_linear_map() -> None:
    head = he2rna_head("adapted", 6, np.zeros(4), 3)
    x, y = torch.randn(5, 6), torch.randn(5, 6)
    torch.testing.assert_close(head(x) + head(y), head(x + y) + head(torch.zeros(1, 6)))
    jacobian = torch.autograd.functional.jacobian(head, x[0])
    assert torch.linalg.matrix_rank(jacobian) <= 3


def test_the_original_head_has_two_hidden_layers_with_dropout_and_starts_at_the_means() -> None:
    means = np.array([1.0, -2.0, 3.0])
    head = he2rna_head("original", 6, means, 8)
    assert [type(layer).__name__ for layer in head] == ["Linear", "ReLU", "Dropout"] * 2 + ["Linear"]
    assert {layer.p for layer in head if isinstance(layer, torch.nn.Dropout)} == {0.25}
    np.testing.assert_allclose(head[-1].bias.detach(), means)


@pytest.mark.parametrize("head", ["adapted", "original"])
def test_it_is_repeatable_and_keeps_the_epoch_with_the_best_correlation(head) -> None:
    train, test = make_study()
    fitted = []
    for order in (1, -1):
        method = HE2RNA(**{**TINY, "head": head, "epochs": 6})
        told = method.fit(train[::order], [], CONTEXT)
        fitted.append(method.predict(test).expression)
    np.testing.assert_array_equal(*fitted)
    found = [row["valid_pearson"] for row in told.history]
    assert told.facts["epochs"] == int(np.argmax(found)) + 1
    assert len(set(found)) > 1


def test_negative_predictions_are_cut_only_where_targets_cannot_be_negative() -> None:
    train, test = make_study()
    low = [replace(s, targets=s.targets - s.targets.min() - 0.0) for s in train]
    shifted = [replace(s, targets=s.targets - 50) for s in train]
    for sections, cut in ((low, True), (shifted, False)):
        method = HE2RNA(**{**TINY, "rectify": True, "epochs": 1})
        assert method.fit(sections, [], CONTEXT).facts["rectified"] == int(cut)
        with torch.no_grad():
            method.fitted[-1].bias.fill_(-100.0)
        found = method.predict(test).expression
        assert (found == 0).all() if cut else (found < -10).all()
    plain = HE2RNA(**TINY)
    assert plain.fit(low, [], CONTEXT).facts["rectified"] == 0


def test_an_unknown_head_is_refused() -> None:
    train, _ = make_study()
    with pytest.raises(UserError, match="deep"):
        HE2RNA(head="deep").fit(train, [], CONTEXT)


TRAINED = {**TINY, "encoder": "small_cnn", "input_px": 32, "batch_size": 8}


def test_a_trained_encoder_learns_with_the_head_and_a_frozen_one_has_none() -> None:
    train, test = make_study()
    untrained, trained = HE2RNA(**{**TRAINED, "epochs": 0}), HE2RNA(**TRAINED)
    untrained.fit(train, [], CONTEXT)
    told = trained.fit(train, [], CONTEXT)
    moved = [
        not torch.equal(a, b)
        for a, b in zip(untrained.fitted.parameters(), trained.fitted.parameters(), strict=True)
    ]
    assert all(moved)
    head = count_parameters(he2rna_head("adapted", 128, np.zeros(5), 16))
    assert told.facts["parameters"] == 97_680 + head
    assert trained.predict(test).embedding.shape == (len(test), 128)
    frozen = HE2RNA(**TINY)
    assert frozen.fit(train, [], CONTEXT).facts["parameters"] == count_parameters(frozen.fitted)


def test_a_trained_encoder_is_stored_and_restored(tmp_path) -> None:
    train, test = make_study()
    method = HE2RNA(**TRAINED)
    method.fit(train, [], CONTEXT)
    method.save(tmp_path)
    again = HE2RNA(**TRAINED)
    again.load(tmp_path)
    np.testing.assert_array_equal(again.predict(test).expression, method.predict(test).expression)


def test_its_steps_shrink_as_those_of_he2gene() -> None:
    train, _ = make_study()
    method = HE2RNA(**{**TRAINED, "epochs": 5, "decay_every": 2, "decay_factor": 0.5})
    rates = [row["learning_rate"] for row in method.fit(train, [], CONTEXT).history]
    np.testing.assert_allclose(rates, [0.01, 0.01, 0.005, 0.005, 0.0025])
    plain = HE2RNA(**{**TINY, "epochs": 3})
    assert {row["learning_rate"] for row in plain.fit(train, [], CONTEXT).history} == {0.01}


def test_an_unknown_encoder_is_refused() -> None:
    train, _ = make_study()
    with pytest.raises(UserError, match="resnet51"):
        HE2RNA(**{**TRAINED, "encoder": "resnet51"}).fit(train, [], CONTEXT)


def bags(section, tokens: int):
    """The section with several vectors per spot, around its own."""
    rng = np.random.default_rng([tokens, len(section)])
    noise = rng.normal(0, 0.5, (len(section), tokens, section.features.shape[1]))
    return replace(section, features=(section.features[:, None] + noise).astype(np.float32))


def test_a_spot_of_several_tokens_is_the_mean_of_the_highest_scores_as_a_slide_of_tiles() -> None:
    train, _ = make_study()
    method = HE2RNA(**TINY)
    method.fit([bags(section, 12) for section in train], [], CONTEXT)
    test = bags(make_section("p4", "s5", 300, 99), 12)  # more than is scored at a time
    found = method.predict(test).expression
    first, second = method.fitted
    x = test.features.astype(np.float64)
    for layer in (first, second):
        x = x @ layer.weight.detach().numpy().T.astype(np.float64) + layer.bias.detach().numpy()
    ordered = np.sort(x, axis=1)[:, ::-1]
    expected = np.mean([ordered[:, :k].mean(axis=1) for k in (1, 2, 5, 10)], axis=0)  # 20 and more it has not
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    turned = replace(test, features=test.features[:, ::-1].copy())
    np.testing.assert_allclose(method.predict(turned).expression, found, rtol=1e-5, atol=1e-6)


def test_a_bag_of_one_token_is_its_vector() -> None:
    train, test = make_study()
    plain, bag = HE2RNA(**TINY), HE2RNA(**TINY)
    plain.fit(train, [], CONTEXT)
    bag.fit([replace(s, features=s.features[:, None]) for s in train], [], CONTEXT)
    one = replace(test, features=test.features[:, None])
    np.testing.assert_allclose(
        bag.predict(one).expression, plain.predict(test).expression, rtol=1e-4, atol=1e-5
    )


def test_the_number_of_tokens_that_count_is_drawn_in_training() -> None:
    train, _ = make_study()
    several = [bags(section, 12) for section in train]
    found = []
    for top in ((1,), (12,), (1, 12)):
        method = HE2RNA(**{**TINY, "top": top, "batch_size": 4})
        method.fit(several, [], CONTEXT)
        found.append(method.fitted[0].weight.detach().numpy())
    for one in found[:2]:
        assert np.abs(found[2] - one).max() > 1e-3
