from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth
from unit.target_transforms import NAMES

from histobench.errors import UserError
from histobench.expression.transforms import Transform, transform_counts
from histobench.methods.brstnet import BACKBONES, BrSTNet, patch_statistics, released_epochs
from histobench.networks.backbones import PixelNorm, count_parameters, make_backbone, seeded
from histobench.networks.multihead import MultiHead
from histobench.networks.released import NATIVE_PX, PaddedConv2d, as_released, same_padding
from histobench.training.auxiliary import auxiliary_targets
from histobench.training.conformance import make_study
from histobench.training.contract import Context
from histobench.training.data import PatchSource
from histobench.training.study import gather

ENTRY = "histobench.methods.brstnet:BrSTNet"
TINY = {"backbone": "small_cnn", "input_px": 32, "epochs": 3, "learning_rate": 0.01, "auxiliary_weight": 1.0}
CONTEXT = Context(tuple("ABCDE"), tuple("ABCDEFGH"), seed=1, device="cpu", weights="none")
# width of the features and parameters of the ten networks without their own classifier
PUBLISHED = {
    "resnet101": (2048, 43_012_410, 54_677_367),
    "inception_v3": (2048, 22_297_818, 33_962_775),
    "efficientnet_b0": (1280, 4_327_798, 11_620_531),
    "efficientnet_b1": (1280, 6_833_434, 14_126_167),
    "efficientnet_b2": (1408, 8_053_244, 16_074_681),
    "efficientnet_b3": (1536, 11_080_482, 19_830_623),
    "efficientnet_b4": (1792, 17_996_866, 28_204_415),
    "efficientnet_b5": (2048, 28_853_034, 40_517_991),
    "vit_b_16": (768, 85_990_906, 90_368_823),
    "vit_b_32": (768, 87_647_482, 92_025_399),
}


def built(name, auxiliary=0):
    with torch.device("meta"):  # counts need no memory
        backbone = make_backbone(name, input_px=224)
        as_released(backbone.module, name)
        return backbone, MultiHead(PixelNorm(), backbone, genes=250, auxiliary=auxiliary)


@pytest.mark.parametrize("name", BACKBONES)
def test_all_twenty_arms_have_the_published_number_of_parameters(name) -> None:
    dimension, plain, with_auxnet = PUBLISHED[name]
    backbone, network = built(name)
    assert backbone.dimension == dimension
    assert count_parameters(network) == plain
    assert count_parameters(built(name, auxiliary=5693)[1]) == with_auxnet
    assert with_auxnet - plain == 5693 * (dimension + 1)  # one linear layer


def test_parameter_counts_follow_from_torchvisions_own() -> None:
    """Torchvision's published totals, less its classifiers for 1,000 classes, plus one linear layer of 250 genes."""
    from torchvision import models

    for name, (dimension, plain, _) in PUBLISHED.items():
        classifiers = 1000 * (dimension + 1)
        if name == "inception_v3":
            # the second classifier: 768 -> 128 by 1 x 1, 128 -> 768 by 5 x 5, each with batch normalisation, 768 -> 1,000
            classifiers += (768 * 128 + 2 * 128) + (128 * 768 * 25 + 2 * 768) + 1000 * (768 + 1)
        published = models.get_model_weights(name)["IMAGENET1K_V1"].meta["num_params"]
        assert plain == published - classifiers + 250 * (dimension + 1), name


# resnet101 and the vision transformers have no dropout of their own in front of the heads
HEAD_DROPOUT = {
    "inception_v3": 0.5,
    "efficientnet_b0": 0.2,
    "efficientnet_b1": 0.2,
    "efficientnet_b2": 0.3,
    "efficientnet_b3": 0.3,
    "efficientnet_b4": 0.4,
    "efficientnet_b5": 0.4,
}


@pytest.mark.parametrize("name", HEAD_DROPOUT)
def test_features_pass_dropout_before_the_heads(name) -> None:
    backbone, _ = built(name)
    rates = {module.p for module in backbone.module.modules() if isinstance(module, nn.Dropout)}
    assert rates == {HEAD_DROPOUT[name]}


@pytest.mark.parametrize("size", range(6))
def test_efficientnets_drop_whole_blocks_more_often_the_deeper_they_are(size) -> None:
    """Drop-connect of 0.2, scaled linearly with the number of the block."""
    module = built(f"efficientnet_b{size}")[0].module
    rates = [m.p for m in module.modules() if isinstance(m, StochasticDepth)]
    np.testing.assert_allclose(rates, 0.2 * np.arange(len(rates)) / len(rates))


def test_vision_transformers_drop_attention_and_both_halves_of_a_block_and_nothing_else() -> None:
    for name, tokens in (("vit_b_16", 197), ("vit_b_32", 50)):
        network = built(name)[0].module
        rates = {at: m.p for at, m in network.named_modules() if isinstance(m, nn.Dropout) and m.p}
        layers = [f"encoder.layers.encoder_layer_{n}" for n in range(12)]
        assert rates == {f"{layer}.{place}": 0.1 for layer in layers for place in ("dropout", "mlp.4")}
        assert {m.dropout for m in network.modules() if isinstance(m, nn.MultiheadAttention)} == {0.1}
        assert network.encoder.pos_embedding.shape == (1, tokens, 768)
        assert len(network.encoder.layers) == 12


def test_efficientnets_have_the_authors_batch_normalisation() -> None:
    for size in range(6):
        module = built(f"efficientnet_b{size}")[0].module
        layers = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
        assert {(m.eps, m.momentum) for m in layers} == {(1e-3, 0.01)}


def test_pixel_scale_is_the_mean_of_each_patchs_mean_and_sd() -> None:
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    patches[3] = 200  # a patch without contrast lowers the mean of sds, not the pooled sd
    mean, sd = patch_statistics(PatchSource([patches]), np.array([0, 2, 3, 5]), batch_size=3)
    values = patches[[0, 2, 3, 5]] / 255.0
    np.testing.assert_allclose(mean, values.mean(axis=(1, 2)).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(sd, values.std(axis=(1, 2), ddof=1).mean(axis=0), rtol=1e-12)
    assert not np.allclose(sd, values.std(axis=(0, 1, 2), ddof=1), rtol=0.01)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    # (7, 3, 2): 4 outputs reach over 3 * 2 + 3 = 9 numbers, so 2 zeros; (8, 3, 2): 9 - 8 = 1 zero, behind
    [
        (7, 3, 2, (1, 1)),
        (8, 3, 2, (0, 1)),
        (8, 5, 2, (1, 2)),
        (7, 5, 2, (2, 2)),
        (9, 5, 1, (2, 2)),
        (4, 1, 2, (0, 0)),
    ],
)
def test_zeros_around_an_axis_leave_as_many_outputs_as_steps(size, kernel, stride, expected) -> None:
    assert same_padding(size, kernel, stride) == expected
    layer = PaddedConv2d(nn.Conv2d(1, 1, kernel, stride=stride), expected)
    assert layer(torch.zeros(1, 1, size, size)).shape[2] == -(-size // stride)


def test_a_padded_convolution_is_zeros_around_and_a_plain_one() -> None:
    plain = nn.Conv2d(4, 6, 3, stride=2, groups=2)
    x = torch.randn(2, 4, 8, 8)
    expected = plain(nn.functional.pad(x, (0, 1, 0, 1)))
    padded = PaddedConv2d(plain, (0, 1))
    torch.testing.assert_close(padded(x), expected, rtol=0, atol=0)
    assert padded.weight is plain.weight


@pytest.mark.parametrize(("size", "even"), [(0, 5), (1, 4), (2, 2), (3, 3), (4, 4), (5, 3)])
def test_efficientnets_pad_for_the_width_that_each_was_designed_for(size, even) -> None:
    """Strided convolutions see the native width halved, rounded up, five times; even widths pad behind only."""
    name = f"efficientnet_b{size}"
    widths = [NATIVE_PX[name]]
    for _ in range(4):
        widths.append(-(-widths[-1] // 2))
    assert sum(width % 2 == 0 for width in widths) == even
    strided = [m for m in built(name)[0].module.modules() if isinstance(m, nn.Conv2d) and m.stride[0] == 2]
    assert [isinstance(layer, PaddedConv2d) for layer in strided] == [width % 2 == 0 for width in widths]


def test_torchvisions_padding_and_start_are_kept_where_they_are_asked_for() -> None:
    with seeded(3):
        plain = make_backbone("efficientnet_b0", seed=1).module
    kept = as_released(
        make_backbone("efficientnet_b0", seed=1).module, "efficientnet_b0", implementation="torchvision"
    )
    pretrained = as_released(make_backbone("efficientnet_b0", seed=1).module, "efficientnet_b0", start=False)
    x = torch.rand(2, 3, 64, 64)
    for network in (plain, kept, pretrained):
        network.eval()
        assert not any(isinstance(m, PaddedConv2d) for m in network.modules())
    torch.testing.assert_close(
        pretrained(x), plain(x), rtol=0, atol=0
    )  # weights that are there keep their network
    assert all(torch.equal(a, b) for a, b in zip(kept.parameters(), plain.parameters(), strict=True))
    assert {m.eps for m in kept.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}


def test_released_networks_start_as_the_authors_libraries_do() -> None:
    """PyTorch draws uniformly within 1 / sqrt(fan-in); Xavier within sqrt(6 / (fan-in + fan-out))."""
    network = as_released(make_backbone("efficientnet_b0").module, "efficientnet_b0")
    stem, expand = network.features[0][0], network.features[2][0].block[0][0]
    for layer, fan in ((stem, 27), (expand, 16)):
        assert layer.weight.abs().max() <= fan**-0.5
        assert layer.weight.std().item() == pytest.approx((3 * fan) ** -0.5, rel=0.1)
    vit = as_released(make_backbone("vit_b_32").module, "vit_b_32")
    block = vit.encoder.layers[0]
    for weight, fans in (
        *((part, 1536) for part in block.self_attention.in_proj_weight.chunk(3)),
        (block.self_attention.out_proj.weight, 1536),
        (block.mlp[0].weight, 3840),
    ):
        assert weight.std().item() == pytest.approx((2 / fans) ** 0.5, rel=0.01)
    assert vit.class_token.abs().max() == 0
    assert block.self_attention.in_proj_bias.std().item() == pytest.approx(1e-6, rel=0.1)


def epochs(*values):
    """Histories of two inner folds from (mse, mae, rmse, r) of each epoch, the second fold a little worse."""
    names = ("valid_mse", "valid_mae", "valid_rmse", "valid_pearson")
    return [[dict(zip(names, np.add(row, 0.01 * fold), strict=True)) for row in values] for fold in range(2)]


def test_the_epoch_of_retraining_is_the_mean_of_four_counted_from_zero_and_rounded_up() -> None:
    falling = [(9 - n, 9 - n, 9 - n, n) for n in range(10)]
    assert released_epochs(epochs(*falling)) == 9  # the tenth epoch has number nine
    falling[6] = (-1, 2.5, 2.5, 0.5)  # best by one criterion: (6 + 9 + 9 + 9) / 4 = 8.25
    assert released_epochs(epochs(*falling)) == 9
    falling[2] = (1, -1, -1, 0.5)  # (6 + 2 + 2 + 9) / 4 = 4.75
    assert released_epochs(epochs(*falling)) == 5
    assert released_epochs(epochs(*falling[:2])) == 3  # never fewer
    # criteria are averaged over folds before the best epoch is looked for
    first, second = epochs((1, 1, 1, 1), (2, 2, 2, 0), (2, 2, 2, 0), (2, 2, 2, 0), (1.5, 1.5, 1.5, 0.5))
    for name in ("valid_mse", "valid_mae", "valid_rmse"):
        second[0][name] = 9.0
    second[0]["valid_pearson"] = -9.0
    assert released_epochs([first, second]) == 4


def test_retraining_learns_from_all_training_patients_after_the_inner_folds() -> None:
    train, test = make_study()
    params = {**TINY, "epochs": 5, "selection": "retrained", "schedule": "cosine", "valid_folds": 5}
    method = BrSTNet(**params)
    told = method.fit(train, [], CONTEXT)
    stages = [row["stage"] for row in told.history]
    patients = sorted({section.patient for section in train})
    assert list(dict.fromkeys(stages)) == [*(f"inner{n}" for n in range(len(patients))), "final"]
    inner = [[row for row in told.history if row["stage"] == f"inner{n}"] for n in range(len(patients))]
    assert {len(rows) for rows in inner} == {5}  # nothing stops early
    assert stages.count("final") == told.facts["epochs"] == released_epochs(inner)
    assert told.facts["selection_unit"] == "patient"
    everything = np.concatenate([s.targets for s in sorted(train, key=lambda s: s.section)]).astype(
        np.float64
    )
    np.testing.assert_allclose(method.fitted.target_mean, everything.mean(axis=0), rtol=1e-6)
    row = inner[0][0]
    assert row["valid_rmse"] ** 2 <= row["valid_mse"] + 1e-9  # a mean over genes of roots
    assert row["valid_mae"] ** 2 <= row["valid_mse"]
    assert method.predict(test).expression.shape == (len(test), 5)


def test_retraining_ignores_the_validation_patients_of_the_experiment() -> None:
    train, test = make_study()
    params = {**TINY, "epochs": 3, "selection": "retrained", "schedule": "cosine"}
    alone, beside = BrSTNet(**params), BrSTNet(**params)
    alone.fit(train, [], CONTEXT)
    beside.fit(train, [test], CONTEXT)
    assert all(
        torch.equal(a, b) for a, b in zip(alone.fitted.parameters(), beside.fitted.parameters(), strict=True)
    )


def test_targets_are_standardised_by_the_spots_learnt_from_and_restored() -> None:
    train, test = make_study()
    method = BrSTNet(**{**TINY, "epochs": 0})
    method.fit(train, [], CONTEXT)
    study = gather(train, [], folds=5)
    learnt = study.targets[study.learn].astype(np.float64)
    assert len(study.learn) < len(study.targets)  # a patient is held out
    np.testing.assert_allclose(method.fitted.target_mean, learnt.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(method.fitted.target_sd, learnt.std(axis=0, ddof=1), rtol=1e-6)
    # an untrained head that says zero for every gene predicts the training mean
    nn.init.zeros_(method.fitted.primary.weight)
    nn.init.zeros_(method.fitted.primary.bias)
    expected = np.tile(learnt.mean(axis=0), (len(test), 1))
    np.testing.assert_allclose(method.predict(test).expression, expected, rtol=1e-6)


def test_the_loss_of_auxnet_does_not_touch_the_main_head() -> None:
    network = MultiHead(PixelNorm(), make_backbone("small_cnn"), genes=4, auxiliary=6)
    features = network.features(torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8))
    (network.auxiliary(features) ** 2).mean().backward()
    assert network.primary.weight.grad is None
    assert network.primary.bias.grad is None
    assert network.auxiliary.weight.grad.abs().sum() > 0
    assert all(p.grad is not None for p in network.backbone.parameters())


@pytest.mark.parametrize("transform", NAMES)
def test_auxiliary_targets_equal_the_dense_transform(transform) -> None:
    train, _ = make_study()
    genes = ("B", "A", "E")
    everything = ("A", "B", "C", "D", "E", "F", "G", "H")
    context = Context(genes, everything, transform=Transform.of(transform))
    counts = np.concatenate([s.counts.toarray() for s in train])
    counts[counts < 6] = 0  # with zeros
    parts = np.split(counts, np.cumsum([len(s) for s in train])[:-1])
    from scipy import sparse

    sections = [replace(s, counts=sparse.csr_matrix(part)) for s, part in zip(train, parts, strict=True)]
    total = np.concatenate([s.total_counts for s in train])
    found = auxiliary_targets(sections, context, np.arange(len(counts)))
    assert found.genes == ("C", "D", "F", "G", "H")
    dense = transform_counts(transform, counts, total, counts[:, [1, 0, 4]].sum(axis=1), len(everything))
    rows = np.array([5, 0, 20])
    np.testing.assert_allclose(found.batch(rows), dense[rows][:, [2, 3, 5, 6, 7]], rtol=1e-6, atol=1e-6)


def test_auxiliary_genes_are_chosen_on_the_spots_learnt_from() -> None:
    train, _ = make_study()
    counts = np.zeros((len(train[0]), 8), int)
    counts[:, :5] = 1
    counts[:6, 5] = 1  # half of the learnt spots
    counts[8:, 6] = 1  # none of them
    from scipy import sparse

    section = replace(train[0], counts=sparse.csr_matrix(counts))
    context = Context(("A", "B", "C", "D", "E"), tuple("ABCDEFGH"))
    learn = np.arange(2, 8)
    assert auxiliary_targets([section], context, learn, min_share=0.5).genes == ("F",)
    assert auxiliary_targets([section], context, learn, min_share=0.9).genes == ()
    assert auxiliary_targets([section], context, learn, min_spots=5).genes == ()


def test_without_further_genes_auxnet_is_left_out() -> None:
    train, test = make_study()
    genes = tuple("ABCDEFGH")
    targets = [replace(s, targets=np.tile(s.targets[:, :1], (1, 8))) for s in train]
    method = BrSTNet(**TINY)
    told = method.fit(targets, [], Context(genes, genes, device="cpu", weights="none"))
    assert told.facts["n_auxiliary_genes"] == 0
    assert method.fitted.auxiliary is None
    assert method.predict(test).expression.shape == (len(test), 8)


def test_the_learning_rate_falls_on_a_plateau_and_the_best_epoch_is_kept() -> None:
    train, _ = make_study()
    fast = {
        "learning_rate": 0.1,
        "plateau_patience": 2,
        "patience": 8,
    }  # so fast that it soon stops improving
    method = BrSTNet(**{**TINY, "epochs": 30, "auxiliary": False, **fast})
    told = method.fit(train, [], CONTEXT)
    errors = [row["valid_mse"] for row in told.history]
    rates = [row["learning_rate"] for row in told.history]
    assert told.facts["epochs"] == int(np.argmin(errors)) + 1
    assert len(errors) == min(30, told.facts["epochs"] + 8)  # patience
    best, bad, rate = np.inf, 0, 0.1
    for error, seen in zip(errors, rates, strict=True):
        assert seen == pytest.approx(rate)
        better = error < best * (1 - 1e-4)
        best, bad = (error, 0) if better else (best, bad + 1)
        if bad > 2:
            rate, bad = max(rate * 0.1, 1e-6), 0
    assert rates[-1] < 0.1


def test_a_killed_training_continues_to_the_same_weights(tmp_path) -> None:
    train, test = make_study()

    class Stop(Exception):
        pass

    class Killed(BrSTNet):
        def loop(self, *given, **more):
            loop = super().loop(*given, **more)
            inner, loop.steps = loop.step, 0

            def step(batch, rng):
                loop.steps += 1
                if loop.steps == 6:
                    raise Stop
                return inner(batch, rng)

            loop.step = step
            return loop

    params = {**TINY, "epochs": 4, "batch_size": 16, "checkpoint_seconds": 0.0}
    whole = BrSTNet(**params)
    whole.fit(train, [], CONTEXT)
    stopped = replace(CONTEXT, checkpoints=tmp_path)
    with pytest.raises(Stop):
        Killed(**params).fit(train, [], stopped)
    assert list(tmp_path.iterdir())
    again = BrSTNet(**params)
    again.fit(train, [], stopped)
    np.testing.assert_array_equal(whole.predict(test).expression, again.predict(test).expression)


@pytest.mark.parametrize(
    "wrong",
    [
        {"schedule": "steps"},
        {"initialisation": "imagenet"},
        {"backbone": "vgg"},
        {"implementation": "keras"},
        {"selection": "best"},
        {"selection": "retrained"},  # with its plateau, which nobody would be held out for
    ],
)
def test_wrong_settings_are_refused_with_one_sentence(wrong) -> None:
    train, _ = make_study()
    with pytest.raises(UserError, match=next(iter(wrong.values()))):
        BrSTNet(**{**TINY, **wrong}).fit(train, [], CONTEXT)


def test_training_under_bfloat16_autocast_stays_finite() -> None:
    train, test = make_study()
    method = BrSTNet(**{**TINY, "precision": "bf16"})
    method.fit(train, [], CONTEXT)
    assert np.isfinite(method.predict(test).expression).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_published_networks_train_and_predict(name) -> None:
    train, test = make_study()
    # in a few steps on random weights the running statistics of deep networks are far from the true ones
    params = {
        "backbone": name,
        "input_px": 128 if name == "inception_v3" else 64,
        "epochs": 1,
        "batch_size": 8,
        "learning_rate": 1e-4,
    }
    method = BrSTNet(**{**TINY, **params})
    told = method.fit(train, [], CONTEXT)
    assert np.isfinite(told.history[0]["loss"])
    prediction = method.predict(test)
    assert np.isfinite(prediction.expression).all()
    assert prediction.embedding.shape == (len(test), PUBLISHED[name][0])
