"""ST-Net against its paper: size, start, loss, augmentation, choice of the epoch, resuming."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from histobench.errors import UserError
from histobench.expression.transforms import transform_counts
from histobench.methods.stnet import STNet, summed_loss
from histobench.networks.backbones import PixelNorm, count_parameters, make_backbone
from histobench.networks.heads import Regressor, mean_head
from histobench.seeds import seed_for
from histobench.training.augment import apply_symmetry
from histobench.training.conformance import GENES, make_section, make_study
from histobench.training.contract import Context

TRAIN, TEST = make_study()
CONTEXT = Context(genes=GENES, seed=3, device="cpu", weights="none")
TINY = {"architecture": "small_cnn", "input_px": 32, "batch_size": 8, "learning_rate": 1e-3}
ALL_SPOTS = np.concatenate([s.targets for s in TRAIN])


def test_densenet_with_250_genes_has_7_210_106_parameters() -> None:
    backbone = make_backbone("densenet121")
    network = Regressor(PixelNorm(), backbone, mean_head(backbone.dimension, np.zeros(250)))
    assert count_parameters(backbone.module) == 6_953_856
    assert count_parameters(network) == 7_210_106
    assert backbone.dimension == 1024


def test_untrained_densenet_predicts_exactly_the_training_mean() -> None:
    method = STNet(epochs=1, selection="fixed", learning_rate=0.0, input_px=32)
    told = method.fit(TRAIN[:2], [], CONTEXT)
    shown = method.predict(TEST)
    expected = np.concatenate([s.targets for s in TRAIN[:2]]).mean(axis=0, dtype=np.float64)
    np.testing.assert_array_equal(shown.expression, np.tile(expected.astype(np.float32), (len(TEST), 1)))
    assert shown.embedding is not None and shown.embedding.shape == (len(TEST), 1024)
    assert told.facts["parameters"] == 6_953_856 + 1025 * len(GENES)


def test_targets_belong_to_the_transform() -> None:
    """A zero in a median spot of the paper's cohort is ln(1 / 30,375), a count of 10 is ln(11 / 30,375)."""
    value = transform_counts("stnet", np.array([[0, 10]]), np.array([3426.0]), np.array([10.0]), 26_949)
    np.testing.assert_allclose(value, [[np.log(1 / 30_375), np.log(11 / 30_375)]], rtol=1e-6)
    np.testing.assert_allclose(value, [[-10.32, -7.92]], atol=0.005)
    # and the method predicts on that scale, without a transform of its own
    low = [replace(s, targets=s.targets - 20) for s in TRAIN]
    method = STNet(**TINY, epochs=1, selection="fixed")
    method.fit(low, [], CONTEXT)
    assert abs(method.predict(TEST).expression.mean() - (ALL_SPOTS.mean() - 20)) < 0.5


def test_the_loss_is_a_sum_over_spots_of_means_over_genes() -> None:
    predicted, wanted = torch.randn(32, 250), torch.randn(32, 250)
    by_hand = sum(float(((predicted[i] - wanted[i]) ** 2).mean()) for i in range(32))
    assert float(summed_loss(predicted, wanted)) == pytest.approx(by_hand, rel=1e-5)
    mean = torch.nn.functional.mse_loss(predicted, wanted)
    assert float(summed_loss(predicted, wanted)) == pytest.approx(32 * float(mean), rel=1e-5)


def test_first_step_moves_the_bias_by_the_summed_gradient() -> None:
    """With zero weight the first gradient of the bias is 2/G times the sum of errors over the batch."""
    rate = 1e-3
    section = make_section("p1", "s1", 6, 0)
    method = STNet(
        **{**TINY, "batch_size": 3, "learning_rate": rate}, epochs=1, selection="fixed", augmentation=False
    )
    method.fit([section], [], CONTEXT)
    order = np.random.default_rng(seed_for(seed_for(CONTEXT.seed, "training"), "order", 1)).permutation(6)
    mean = section.targets.mean(axis=0, dtype=np.float64)
    head = method.fitted.head
    # two batches of three: the first errors are known, and opposite to those that the second begins with
    first = (mean - section.targets[order[:3]]).sum(axis=0) * 2 / len(GENES) * rate
    second = (mean - section.targets[order[3:]]).sum(axis=0) * 2 / len(GENES) * rate + 0.9 * first
    moved = head.bias.detach().numpy() - mean
    # first-order in the rate: the second batch sees a bias and a weight that moved by about one per cent
    np.testing.assert_allclose(moved, -(first + second), atol=0.15 * np.abs(first).max())


def test_pixel_statistics_come_from_the_training_patches() -> None:
    method = STNet(**TINY, epochs=1, selection="fixed")
    method.fit(TRAIN, [], CONTEXT)
    pixels = np.concatenate([s.patches for s in TRAIN]).reshape(-1, 3) / 255.0  # all 42 fit into 12 batches
    norm = method.fitted.norm
    np.testing.assert_allclose(norm.mean.ravel(), pixels.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(norm.sd.ravel(), pixels.std(axis=0), rtol=1e-5)
    few = STNet(**{**TINY, "statistics_batches": 2}, epochs=1, selection="fixed")
    few.fit(TRAIN, [], CONTEXT)
    order = np.random.default_rng(seed_for(CONTEXT.seed, "statistics")).permutation(42)[:16]
    chosen = np.concatenate([s.patches for s in TRAIN])[order].reshape(-1, 3) / 255.0
    np.testing.assert_allclose(few.fitted.norm.mean.ravel(), chosen.mean(axis=0), rtol=1e-5)


def test_prediction_is_the_mean_over_eight_symmetries() -> None:
    method = STNet(**TINY, epochs=2, selection="fixed")
    method.fit(TRAIN, [], CONTEXT)
    shown = method.predict(TEST).expression
    pixels = torch.from_numpy(TEST.patches).permute(0, 3, 1, 2)
    with torch.inference_mode():
        views = [method.fitted(apply_symmetry(pixels, code))[0].numpy() for code in range(8)]
    np.testing.assert_allclose(shown, np.mean(views, axis=0), rtol=1e-4, atol=1e-5)
    assert np.ptp(views, axis=0).max() > 1e-4  # the views do differ
    turned = replace(TEST, patches=np.rot90(TEST.patches, 1, (1, 2)).copy())
    np.testing.assert_allclose(method.predict(turned).expression, shown, rtol=1e-4, atol=1e-5)


def test_the_epoch_is_that_of_least_pooled_error_of_the_inner_folds() -> None:
    method = STNet(**TINY, epochs=4, inner_folds=4)
    told = method.fit(TRAIN, [], CONTEXT)
    assert told.facts["inner_folds"] == 3  # three patients
    assert told.facts["selection_unit"] == "patient"
    held = {"inner0": 21, "inner1": 10, "inner2": 11}  # spots of p1, p2 and p3
    pooled = np.zeros(4)
    for row in told.history:
        if row["stage"] != "final":
            pooled[row["epoch"] - 1] += row["valid_mse"] * held[row["stage"]]
    assert told.facts["epochs"] == int(np.argmin(pooled)) + 1
    inner = [row["valid_pearson"] for row in told.history if row["stage"] != "final"]
    assert len(inner) == 12 and len(set(inner)) > 3 and all(-1 <= r <= 1 for r in inner)
    final = [row for row in told.history if row["stage"] == "final"]
    assert len(final) == told.facts["epochs"]
    # retrained on everybody: the same as a training of that fixed length
    fixed = STNet(**TINY, epochs=told.facts["epochs"], selection="fixed")
    fixed.fit(TRAIN, [], CONTEXT)
    np.testing.assert_array_equal(method.predict(TEST).expression, fixed.predict(TEST).expression)


def test_a_held_out_patient_is_not_learnt_from() -> None:
    """Inner fold 0 holds out p1: its targets must not matter to what that fold learns."""
    strange = [replace(s, targets=s.targets + 100) if s.patient == "p1" else s for s in TRAIN]
    losses = []
    for sections in (TRAIN, strange):
        told = STNet(**TINY, epochs=2, inner_folds=4).fit(sections, [], CONTEXT)
        losses.append([row["loss"] for row in told.history if row["stage"] == "inner0"])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("folds", [0, 1])
def test_without_inner_folds_the_epochs_are_as_given(folds: int) -> None:
    told = STNet(**TINY, epochs=3, inner_folds=folds).fit(TRAIN, [], CONTEXT)
    assert told.facts["selection"] == "fixed"
    assert told.facts["epochs"] == 3
    assert {row["stage"] for row in told.history} == {"final"}


def test_validation_patients_choose_the_epoch_but_teach_nothing() -> None:
    valid = [make_section("p7", "s7", 10, 7)]
    method = STNet(**TINY, epochs=4, selection="valid")
    told = method.fit(TRAIN, valid, CONTEXT)
    errors = [row["valid_mse"] for row in told.history]
    assert told.facts["epochs"] == int(np.argmin(errors)) + 1
    fixed = STNet(**TINY, epochs=told.facts["epochs"], selection="fixed")
    fixed.fit(TRAIN, [], CONTEXT)
    np.testing.assert_array_equal(method.predict(TEST).expression, fixed.predict(TEST).expression)
    with pytest.raises(UserError, match="valid_patients"):
        STNet(**TINY, selection="valid").fit(TRAIN, [], CONTEXT)
    with pytest.raises(UserError, match="inner_folds"):
        STNet(**TINY, selection="best").fit(TRAIN, [], CONTEXT)


def test_patches_of_other_width_are_resized() -> None:
    large = [replace(s, patches=np.kron(s.patches, np.ones((1, 2, 2, 1), np.uint8))) for s in TRAIN]
    method = STNet(**TINY, epochs=1, selection="fixed")
    method.fit(large, [], CONTEXT)
    assert method.predict(replace(TEST, patches=TEST.patches[:, 4:28, 4:28])).expression.shape == (8, 5)
    mixed = [large[0], *TRAIN[1:]]
    with pytest.raises(UserError, match="32, 64 px"):
        STNet(**{**TINY, "input_px": None}, epochs=1, selection="fixed").fit(mixed, [], CONTEXT)


class Killed(BaseException):
    """Not an Exception, so that nothing on the way can catch it."""


@pytest.mark.parametrize("die_after", [3, 9, 14])
def test_a_killed_training_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, die_after: int
) -> None:
    params = {**TINY, "epochs": 2, "inner_folds": 2, "checkpoint_seconds": 0.0}
    whole = STNet(**params)
    told = whole.fit(TRAIN, [], CONTEXT)
    context = replace(CONTEXT, checkpoints=tmp_path)

    steps = 0
    take = torch.optim.SGD.step

    def mortal(self: torch.optim.SGD, *args: object) -> object:
        nonlocal steps
        steps += 1
        if steps > die_after:
            raise Killed
        return take(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", mortal)
        with pytest.raises(Killed):
            STNet(**params).fit(TRAIN, [], context)
    resumed = STNet(**params)
    counted = 0

    def counting(self: torch.optim.SGD, *args: object) -> object:
        nonlocal counted
        counted += 1
        return take(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", counting)
        resumed.fit(TRAIN, [], context)
    for name, value in whole.fitted.state_dict().items():
        assert torch.equal(value, resumed.fitted.state_dict()[name]), name
    every_step = sum(row_steps(told.facts["epochs"]))
    assert counted == every_step - die_after  # nothing was trained twice


def row_steps(epochs: int) -> list[int]:
    """Steps of each training: p1 and p3 against p2, and the reverse, two epochs each, then all spots."""
    inner = [2 * -(-n // 8) for n in (10, 32)]
    return [*inner, epochs * -(-42 // 8)]


def test_a_checkpoint_of_other_data_is_not_continued(tmp_path: Path) -> None:
    context = replace(CONTEXT, checkpoints=tmp_path)
    params = {**TINY, "epochs": 1, "selection": "fixed"}
    STNet(**params).fit([replace(s, targets=s.targets * 2) for s in TRAIN], [], context)
    after = STNet(**params)
    after.fit(TRAIN, [], context)
    fresh = STNet(**params)
    fresh.fit(TRAIN, [], CONTEXT)
    np.testing.assert_array_equal(after.predict(TEST).expression, fresh.predict(TEST).expression)


def test_missing_imagenet_weights_are_one_sentence_and_never_a_random_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError) as problem:
        STNet(epochs=1, selection="fixed").fit(TRAIN, [], replace(CONTEXT, weights="imagenet"))
    text = str(problem.value)
    assert "weights: none" in text and "\n" not in text and text.endswith(".")
    assert str(tmp_path / "hub" / "checkpoints" / "densenet121-a639ec97.pth") in text


def test_a_damaged_imagenet_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / "densenet121-a639ec97.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"half a download")
    with pytest.raises(UserError, match="densenet121"):
        make_backbone("densenet121", weights="imagenet")
    # readable, of the right shapes, but not what was published
    torch.save(make_backbone("densenet121").module.state_dict(), file)
    with pytest.raises(UserError, match=r"is damaged, as its sha256 is not the one of its name \(a639ec97\)"):
        make_backbone("densenet121", weights="imagenet")


def weights_before_and_after(**changes):
    """Weights of the convolutions at the start (learning rate 0) and after a training."""
    fitted = []
    for rate in (0.0, 1e-2):
        method = STNet(**{**TINY, "learning_rate": rate}, epochs=1, selection="fixed", **changes)
        method.fit(TRAIN, [], CONTEXT)
        fitted.append(method.fitted)
    return [{name: value.clone() for name, value in network.named_parameters()} for network in fitted]


def test_with_the_head_alone_trained_every_other_weight_stays_as_it_started() -> None:
    before, after = weights_before_and_after(trained_layers="head")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"head.weight", "head.bias"}
    before, after = weights_before_and_after()
    assert sum(not torch.equal(before[name], after[name]) for name in before) > 8


def test_a_random_start_asks_for_no_weights_whatever_the_experiment_says(monkeypatch) -> None:
    asked = []

    def noted(architecture, *, weights, **others):
        asked.append(weights)
        return make_backbone(architecture, weights="none", **others)

    monkeypatch.setattr("histobench.training.network_method.make_backbone", noted)
    for pretrained in (True, False):
        method = STNet(**TINY, epochs=1, selection="fixed", pretrained=pretrained)
        method.fit(TRAIN, [], replace(CONTEXT, weights="imagenet"))
    assert asked == ["imagenet", "none"]


def test_an_unknown_choice_of_layers_is_one_sentence() -> None:
    with pytest.raises(UserError, match="trained_layers must be one of all, head"):
        STNet(**TINY, trained_layers="tail").fit(TRAIN, [], CONTEXT)
