from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from histobench.errors import UserError
from histobench.files import seal
from histobench.methods.histospace import LOSSES, HistoSPACE
from histobench.networks.backbones import count_parameters
from histobench.networks.histospace import Autoencoder, Encoder, Predictor
from histobench.training.conformance import make_study
from histobench.training.contract import Context, Photos
from histobench.training.correlation import mean_gene_pearson, pearson

ENTRY = "histobench.methods.histospace:HistoSPACE"
CONTEXT = Context(tuple("ABCDE"), tuple("ABCDEFGH"), seed=1, device="cpu", weights="none")
TINY = {"input_px": 32, "autoencoder_epochs": 2, "epochs": 2, "batch_size": 8}
TINY |= {"learning_rate": 1e-3, "autoencoder_learning_rate": 1e-3}


def total(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts_are_the_published_ones() -> None:
    three = Autoencoder(3)
    assert total(three.encoder) == 93_696
    assert total(three.decoder) == 165_667
    assert total(three) == 259_363
    # batch normalisation has two numbers per channel: 32 + 64 + 128 in the encoder, 64 + 32 in the decoder
    assert (
        total(Autoencoder(1)) == total(Autoencoder(2)) == 258_723 == 259_363 - 2 * (32 + 64 + 128 + 64 + 32)
    )
    predictor = Predictor(Encoder(3), 250)
    assert total(predictor) == 2_403_194
    assert count_parameters(predictor) == 2_309_498


def test_shapes_halve_from_128_to_8() -> None:
    pixels = torch.rand(2, 3, 128, 128)
    sizes, out = [], pixels
    for layer in Encoder(3):
        out = layer(out)
        if isinstance(layer, torch.nn.MaxPool2d):
            sizes.append(tuple(out.shape[1:]))
    assert sizes == [(32, 64, 64), (64, 32, 32), (128, 16, 16)]
    predictor = Predictor(Encoder(3), 7)
    assert predictor.block(out).shape == (2, 8192)
    assert predictor.hidden.in_features == 128 * 8 * 8 == 32 * 16 * 16
    expression, hidden = predictor(pixels)
    assert expression.shape == (2, 7)
    assert hidden.shape == (2, 256)
    for variant in (1, 2, 3):
        again = Autoencoder(variant)(pixels)
        assert again.shape == pixels.shape
        assert ((again >= 0) & (again <= 1)).all()


def test_there_is_nothing_between_the_two_linear_layers() -> None:
    predictor = Predictor(Encoder(3), 7, 32).eval()
    pixels = torch.rand(3, 3, 32, 32)
    flat = predictor.block(predictor.encoder(pixels))
    weight = predictor.head.weight @ predictor.hidden.weight
    bias = predictor.head.weight @ predictor.hidden.bias + predictor.head.bias
    torch.testing.assert_close(predictor(pixels)[0], flat @ weight.T + bias, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("variant", "homogeneous"), [(1, True), (2, False)])
def test_the_first_encoder_is_linear_but_for_its_pooling(variant, homogeneous) -> None:
    encoder = Encoder(variant).double()
    for layer in encoder:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.zeros_(layer.bias)
    pixels = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    kinds = {type(layer).__name__ for layer in encoder}
    assert ("ReLU" in kinds) != homogeneous
    # without ReLU, negative values pass
    assert bool((encoder(pixels) < 0).any()) == homogeneous


@pytest.mark.parametrize("drift", [False, True])
def test_a_frozen_encoder_stays_as_it_is_unless_it_may_drift(drift) -> None:
    train, _ = make_study()
    seen = {}

    class Watched(HistoSPACE):
        def loop(self, training, *given, **more):
            if "stage" not in more:
                network = more["network"]
                seen["before"] = {k: v.clone() for k, v in network.encoder.state_dict().items()}
                seen["head"] = network.head.weight.detach().clone()
            return super().loop(training, *given, **more)

    method = Watched(**{**TINY, "drift": drift})
    method.fit(train, [], CONTEXT)
    after = method.fitted.encoder.state_dict()
    for name, before in seen["before"].items():
        changed = not torch.equal(before, after[name])
        assert changed == (drift and ("running" in name or "num_batches" in name)), name
    assert not torch.equal(seen["head"], method.fitted.head.weight)
    assert not any(p.requires_grad for p in method.fitted.encoder.parameters())


def test_both_stages_train_and_the_history_tells_both_correlations() -> None:
    train, _ = make_study()
    told = HistoSPACE(**TINY).fit(train, [], CONTEXT)
    stages = [row["stage"] for row in told.history]
    assert stages == ["autoencoder"] * 2 + ["final"] * 2
    assert told.history[1]["valid_reconstruction"] < told.history[0]["valid_reconstruction"]
    last = told.history[-1]
    assert -1 <= last["valid_pearson"] <= 1
    assert -1 <= last["valid_pearson_spot"] <= 1
    # the null: the mean profile of the training patients p2 and p3, on the spots of p1
    held = np.concatenate([s.targets for s in train if s.patient == "p1"])
    learnt = np.concatenate([s.targets for s in train if s.patient != "p1"])
    profile = learnt.mean(axis=0)
    wanted = np.mean([stats.pearsonr(profile, spot)[0] for spot in held])
    assert last["valid_pearson_spot_null"] == pytest.approx(wanted, abs=1e-5)


def test_the_autoencoder_learns_from_photographs_where_there_are_any() -> None:
    train, _ = make_study()
    tiles = np.random.default_rng(0).integers(0, 256, (20, 40, 40, 3), dtype=np.uint8)
    valid = np.arange(20) >= 15
    seen = []

    class Watched(HistoSPACE):
        def _autoencoder_loop(self, training, network, source, learn, held):
            seen.append((len(source), (learn, held)))
            return super()._autoencoder_loop(training, network, source, learn, held)

    told = Watched(**TINY).fit(train, [], replace(CONTEXT, photos=Photos(tiles, valid)))
    ((n, (learn, held)),) = seen
    assert (n, learn.tolist(), held.tolist()) == (20, list(range(15)), list(range(15, 20)))
    assert told.facts["autoencoder_images"] == 15
    # the score of the first epoch is that of the photographs kept for it, not of spots
    plain = HistoSPACE(**TINY).fit(train, [], CONTEXT)
    assert plain.facts["autoencoder_images"] == sum(len(s) for s in train if s.patient != "p1")
    assert told.history[0]["valid_reconstruction"] != plain.history[0]["valid_reconstruction"]


@pytest.mark.parametrize("changed", [{}, {"drift": True}, {"pixel_range": "symmetric"}])
def test_a_stored_autoencoder_reconstructs_as_it_did_when_it_was_chosen(changed, tmp_path) -> None:
    train, test = make_study()
    method = HistoSPACE(**{**TINY, **changed})
    told = method.fit(train, [], CONTEXT)
    given, made = method.reconstruct(np.asarray(test.patches))
    assert given.shape == made.shape == (len(test), 32, 32, 3) and given.dtype == np.float32
    assert given.min() >= 0 and given.max() <= 1 and made.max() <= 1
    assert made.min() >= (0.5 if "pixel_range" in changed else 0)  # a sigmoid reaches no negative pixel
    method.save(tmp_path)
    again = HistoSPACE(**{**TINY, **changed})
    again.load(tmp_path)
    np.testing.assert_array_equal(again.reconstruct(np.asarray(test.patches))[1], made)
    # the error of the held-out patient is the one by which the epoch was chosen
    held = np.concatenate([np.asarray(s.patches) for s in train if s.patient == "p1"])
    before, after = again.reconstruct(held)
    scale = 4.0 if "pixel_range" in changed else 1.0  # squared width of the range of pixels
    error = scale * float(((after - before) ** 2).mean())
    chosen = min(row["valid_reconstruction"] for row in told.history if row["stage"] == "autoencoder")
    assert error == pytest.approx(chosen, rel=1e-4)


def test_weights_of_before_have_no_decoder_and_say_so(tmp_path) -> None:
    train, test = make_study()
    method = HistoSPACE(**TINY)
    method.fit(train, [], CONTEXT)
    method.save(tmp_path)
    stored = torch.load(tmp_path / "weights.pt", weights_only=True)
    del stored["autoencoder"]
    torch.save(stored, tmp_path / "weights.pt")
    seal(tmp_path / "weights.pt")
    old = HistoSPACE(**TINY)
    old.load(tmp_path)
    np.testing.assert_array_equal(old.predict(test).expression, method.predict(test).expression)
    with pytest.raises(UserError, match="no decoder; train the method again"):
        old.reconstruct(np.asarray(test.patches))


def test_correlations_per_gene_and_per_spot() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(9, 4)), rng.normal(size=(9, 4))
    np.testing.assert_allclose(pearson(a, b, 0), [stats.pearsonr(a[:, i], b[:, i])[0] for i in range(4)])
    np.testing.assert_allclose(pearson(a, b, 1), [stats.pearsonr(a[i], b[i])[0] for i in range(9)])
    a[:, 0], b[:, 1] = 2.0, 5.0
    r = pearson(a, b, 0)
    assert r[0] == 0  # a constant prediction says nothing
    assert np.isnan(r[1])  # a constant observation cannot be predicted
    groups = np.array(["x"] * 4 + ["y"] * 5)
    wanted = [pearson(a[g], b[g], 0)[[0, 2, 3]] for g in (slice(0, 4), slice(4, 9))]
    assert mean_gene_pearson(a, b, groups) == pytest.approx(np.mean(wanted))


def test_the_five_losses_equal_their_formulas() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 2, (6, 5)), rng.normal(0, 2, (6, 5))
    error = a - b
    huber = np.where(np.abs(error) < 1, error**2 / 2, np.abs(error) - 0.5)
    wanted = {
        "mse": (error**2).mean(),
        "rmse": np.sqrt((error**2).mean()),
        "huber": huber.mean(),
        "log_cosh": np.log(np.cosh(error)).mean(),
        "pairwise_distance": (np.abs(error) ** 3).sum(axis=1).__pow__(1 / 3).mean(),
    }
    assert set(wanted) == set(LOSSES)
    for name, value in wanted.items():
        assert float(LOSSES[name](torch.from_numpy(a), torch.from_numpy(b))) == pytest.approx(
            value, rel=1e-5
        ), name
        big = torch.full((2, 3), 1e4, requires_grad=True)
        LOSSES[name](big, torch.zeros(2, 3)).backward()
        assert torch.isfinite(big.grad).all()
        same = torch.ones(2, 3, requires_grad=True)
        LOSSES[name](same, torch.ones(2, 3)).backward()
        assert torch.isfinite(same.grad).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains(loss) -> None:
    train, test = make_study()
    method = HistoSPACE(**{**TINY, "loss": loss, "autoencoder_epochs": 0, "epochs": 4})
    rows = [row["loss"] for row in method.fit(train, [], CONTEXT).history]
    assert rows[-1] < rows[0]
    assert np.isfinite(method.predict(test).expression).all()


def test_pixels_reach_the_whole_range_of_the_decoder_by_default() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    torch.testing.assert_close(HistoSPACE()._scaled(pixels), torch.tensor([0.0, 0.2, 1.0]))
    released = HistoSPACE(pixel_range="symmetric")._scaled(pixels)
    torch.testing.assert_close(released, torch.tensor([-1.0, -0.6, 1.0]))


@pytest.mark.parametrize(
    "wrong", [{"loss": "l1"}, {"pixel_range": "wide"}, {"variant": 4}, {"input_px": 120}]
)
def test_wrong_settings_are_refused_with_one_sentence(wrong) -> None:
    train, _ = make_study()
    with pytest.raises(UserError, match=str(next(iter(wrong.values())))):
        HistoSPACE(**{**TINY, **wrong}).fit(train, [], CONTEXT)


def test_a_finished_autoencoder_is_not_trained_again(tmp_path) -> None:
    train, test = make_study()
    whole = HistoSPACE(**TINY)
    whole.fit(train, [], CONTEXT)

    class Stop(Exception):
        pass

    class Killed(HistoSPACE):
        def loop(self, *given, **more):
            if "stage" not in more:
                raise Stop
            return super().loop(*given, **more)

    given = replace(CONTEXT, checkpoints=tmp_path)
    with pytest.raises(Stop):
        Killed(**TINY).fit(train, [], given)
    again = HistoSPACE(**TINY)
    steps = []
    plain = Autoencoder.forward

    def counted(self, pixels):
        steps.append(len(pixels))
        return plain(self, pixels)

    Autoencoder.forward = counted
    try:
        again.fit(train, [], given)
    finally:
        Autoencoder.forward = plain
    assert steps == []
    np.testing.assert_array_equal(whole.predict(test).expression, again.predict(test).expression)
