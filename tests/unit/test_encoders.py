"""Encoders are declared in one file each, built as declared, and refused before the first job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from histobench.cli.encodercheck import check_encoder
from histobench.config.benchmark import Benchmark
from histobench.config.schemas import check, fill_defaults, schema
from histobench.encoders.build import build_encoder, channel_statistics, pool
from histobench.encoders.features import extract_features
from histobench.encoders.registry import recipe
from histobench.errors import UserError
from histobench.plan.model import make_plan
from histobench.plan.size import sentences as plan_sentences

PACKAGED = ("conch", "conch15")  # built by packages that are installed from repositories only


def declared(project: Path, name: str, **changes: Any) -> dict[str, Any]:
    rules = schema(project, "encoder")
    value = yaml.safe_load((project / f"config/encoders/{name}.yaml").read_text()) | changes
    check(value, rules, name)
    return fill_defaults(value, rules)


def names(project: Path) -> list[str]:
    return sorted(file.stem for file in (project / "config/encoders").glob("*.yaml"))


def configured(tmp_path: Path, **encoders: Any) -> Path:
    file = tmp_path / "changes.yaml"
    file.write_text(yaml.safe_dump({"encoders": encoders}))
    return file


def test_every_encoder_is_declared_in_at_most_fifteen_lines(project):
    assert len(names(project)) >= 16
    for name in names(project):
        declared(project, name)
        assert len((project / f"config/encoders/{name}.yaml").read_text().splitlines()) <= 15, name


@pytest.mark.slow
def test_every_encoder_that_can_be_built_is_what_it_declares(project):
    for name in names(project):
        found = check_encoder(name, project, offline=True)
        if name in PACKAGED:
            assert len(found.problems) == 1 and "not installed" in found.problems[0], name
        else:
            assert found.problems == [], name


# One declaration broken at a time, and what is then said.
BROKEN = {
    "another architecture": (
        "lunit_vits8",
        {"load": {"architecture": "vit_small_patch16_224"}},
        "`parameters` is",
    ),
    "a network that is none": ("lunit_vits8", {"load": {"architecture": "vit_smal"}}, "could not be built"),
    "an unknown argument": ("lunit_vits8", {"kwargs": {"depht": 3}}, "could not be built"),
    "a layer that is none": ("h0mini", {"kwargs": {"mlp_layer": "SwiGLUpacked"}}, "choose one of"),
    "no layer scale": ("uni", {"kwargs": {"init_values": None}}, "`parameters` is"),
    "other registers": ("h0mini", {"kwargs": {"reg_tokens": 3}}, "`parameters` is"),
    "registers in the mean": ("hibou_b", {"prefix_tokens": 1}, "5 tokens before"),
    "another pooling": ("lunit_vits8", {"pooling": "cls_mean"}, "`dimension` is 384"),
    "tokens as a vector": (
        "lunit_vits8",
        {"load": {"call": "forward_features"}, "pooling": "model"},
        "choose cls",
    ),
    "another dimension": ("densenet121", {"dimension": 1000}, "`dimension` is 1000"),
    "a wrong number": ("efficientnet_lite0", {"parameters": 3371009}, "3,371,009"),
    "another normalisation": ("efficientnet_lite0", {"input": {"mean": "imagenet"}}, "timm states"),
    "another spread": ("efficientnet_lite0", {"input": {"sd": [0.5, 0.4, 0.5]}}, "timm states"),
    "a size that it cannot take": ("phikon", {"input": {"px": 200}}, "does not take images of 200 px"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_declaration_is_told_in_one_sentence(project, tmp_path, case):
    name, change, said = BROKEN[case]
    (problem,) = check_encoder(name, project, configured(tmp_path, **{name: change}), offline=True).problems
    assert said in problem and name in problem and "\n" not in problem


def bench(project: Path, **changes: Any) -> Benchmark:
    demo = {"weights": "none", "methods": {"stnet": {"enabled": False}}, "scatter": ["colour_ridge", "knn"]}
    experiment = {**demo, **changes.pop("experiment", {})}
    return Benchmark({"run": ["demo"], "experiments": {"demo": experiment}, **changes}, project)


def test_the_encoder_of_an_experiment_is_that_of_all_its_feature_methods(project):
    made = bench(project, experiment={"encoder": "efficientnet_lite0", "encoder_weights": "pretrained"})
    methods = made.experiments["demo"]["methods"]
    assert {m["needs"]["features"] for m in methods.values()} == {None, "efficientnet_lite0"}
    assert methods["knn"]["needs"]["features"] == "efficientnet_lite0"
    assert made.features_pretrained(made.experiments["demo"])


REFUSED = {
    "misspelt": ({"experiment": {"encoder": "efficientnet_lite"}}, "did you mean `efficientnet_lite0`"),
    "behind a form": (
        {"experiment": {"encoder": "uni", "encoder_weights": "pretrained"}},
        "huggingface.co/MahmoodLab/UNI",
    ),
    "not fetched": (
        {"experiment": {"encoder": "phikon", "encoder_weights": "pretrained"}, "offline": True},
        "HF_HUB_OFFLINE is set; run `snakemake --cores 1 results/data/weights/raw/phikon.safetensors`",
    ),
    "published nowhere": (
        {
            "experiment": {"encoder": "uni", "encoder_weights": "pretrained"},
            "encoders": {"uni": {"weights": {"file": "other.bin"}}},
        },
        "nobody says where they are published",
    ),
    "a file that is none": (
        {
            "experiment": {"encoder": "uni", "encoder_weights": "pretrained"},
            "encoder_files": {"uni": "/nowhere/uni.bin"},
        },
        "/nowhere/uni.bin, which does not exist",
    ),
    "a file of nobody": ({"encoder_files": {"unl": "/nowhere/uni.bin"}}, "did you mean `uni`"),
    "another package": ({"experiment": {"encoder": "conch", "encoder_weights": "none"}}, "package conch"),
    "no weights at all": (
        {"experiment": {"encoder": "small_cnn", "encoder_weights": "pretrained"}},
        "no pretrained weights",
    ),
    "tokens": (
        {
            "experiment": {"encoder": "uni", "encoder_weights": "none"},
            "encoders": {"uni": {"pooling": "tokens"}},
        },
        "takes one vector per spot, but the encoder `uni` gives one per token",
    ),
    "a key that is none": (
        {"experiment": {"encoder": "uni"}, "encoders": {"uni": {"poling": "cls"}}},
        "poling",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_encoder_that_cannot_be_had_is_refused_before_the_first_job(project, case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    changes, said = REFUSED[case]
    changes = dict(changes)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1" if changes.pop("offline", False) else "0")
    with pytest.raises(UserError) as error:
        bench(project, **changes)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_new_encoder_is_one_declaration_and_nothing_else(project, tmp_path):
    torch.manual_seed(3)
    import timm

    network = timm.create_model("resnet18", num_classes=0)
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    mine = {
        "title": "Mine",
        "load": {"kind": "timm", "name": "resnet18"},
        "kwargs": {"num_classes": 0},
        "dimension": 512,
        "terms": {"licence": "MIT", "gated": False, "commercial": True},
    }
    made = bench(
        project,
        experiment={"encoder": "mine", "encoder_weights": "pretrained"},
        encoders={"mine": mine},
        encoder_files={"mine": str(tmp_path / "mine.pth")},
    )
    found = made.recipe(made.experiments["demo"]["methods"]["ridge_probe"]["needs"]["features"], True)
    patches = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    mean, sd = channel_statistics(found["input"])
    pixels = torch.from_numpy(patches).permute(0, 3, 1, 2) / 255.0
    pixels = (pixels - torch.tensor(mean).reshape(1, 3, 1, 1)) / torch.tensor(sd).reshape(1, 3, 1, 1)
    with torch.inference_mode():
        expected = network.eval()(pixels).numpy()
    np.testing.assert_allclose(extract_features(patches, encoder=found), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", ["missing", "left over", "of another shape", "holds no", "no readable"])
def test_weights_of_another_network_are_refused(project, tmp_path, case):
    plain = recipe("efficientnet_lite0", declared(project, "efficientnet_lite0"), False, None)
    state = build_encoder(plain).network.state_dict()
    plain = {**plain, "load": {**plain["load"], "key_map": None}, "weights": {}}
    if case == "missing":
        state.pop("conv_stem.weight")
    elif case == "left over":
        state["classifier.weight"] = torch.zeros(3)
    elif case == "of another shape":
        state["conv_stem.weight"] = torch.zeros(3)
    elif case == "holds no":
        state = {}
    file = tmp_path / "weights.pth"
    torch.save(state, file)
    if case == "no readable":
        file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match=case):
        build_encoder({**plain, "pretrained": True}, weights=file)


def test_a_damaged_file_is_told_by_its_checksum(project, tmp_path):
    file = tmp_path / "lite0.pth"
    file.write_bytes(b"other")
    whole = recipe("efficientnet_lite0", declared(project, "efficientnet_lite0"), True, str(file))
    with pytest.raises(UserError, match=r"lite0\.pth: is damaged, as its sha256 is not the declared one"):
        build_encoder(whole)


def test_no_register_enters_a_mean():
    tokens = torch.arange(7.0).reshape(1, 7, 1).expand(2, 7, 3)  # a first one, two registers, four patches
    assert pool(tokens, "mean", 3)[0, 0] == 4.5
    assert pool(tokens, "cls_mean", 3)[0].tolist() == [0, 0, 0, 4.5, 4.5, 4.5]
    assert pool(tokens, "cls", 3)[0, 0] == 0 and pool(tokens, "tokens", 3).shape == (2, 4, 3)
    assert pool(torch.ones(2, 5, 4, 4), "mean", 0).shape == (2, 5)
    maps = torch.arange(2 * 5 * 3 * 4.0).reshape(2, 5, 3, 4)
    places = pool(maps, "tokens", 0)
    assert places.shape == (2, 12, 5) and places[1, 6].equal(maps[1, :, 1, 2])
    for wrong in ((tokens, "cls", 0), (tokens[:, 0], "cls", 1), (tokens, "model", 1)):
        with pytest.raises(UserError, match="`pooling` is"):
            pool(*wrong)


def test_tokens_are_what_the_vector_is_the_mean_of_and_he2rna_takes_them(project, tmp_path):
    """One declaration more: the places of EfficientNet-Lite0's last map, which its own vector averages."""
    given = yaml.safe_load((project / "config/encoders/efficientnet_lite0.yaml").read_text())
    tokens = {**given, "title": "Tokens", "pooling": "tokens"}
    made = bench(
        project,
        experiment={"methods": {"he2rna": {"encoder": "mine", "encoder_weights": "pretrained"}}},
        encoders={"mine": tokens},
    )
    assert made.experiments["demo"]["methods"]["he2rna"]["needs"]["features"] == "mine"
    patches = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    found = extract_features(patches, encoder=made.recipe("mine", True), precision="float32")
    vectors = extract_features(
        patches, encoder=recipe("v", declared(project, "efficientnet_lite0"), True, None), precision="float32"
    )
    assert found.shape == (3, 49, 1280) and found.std(axis=1).min() >= 0 and found.std(axis=1).max() > 0.1
    np.testing.assert_allclose(found.mean(axis=1), vectors, rtol=1e-3, atol=1e-4)
    report = check_encoder("mine", project, configured(tmp_path, mine=tokens))
    assert report.problems == []


# Labels of ImageNet and their probabilities, by the file of a package that everybody has.
PHOTOGRAPHS = {
    "grace_hopper.jpg": (652, 0.395),  # military uniform
    "flower.jpg": (985, 0.228),  # daisy
    "china.jpg": (698, 0.301),  # palace
}


def photograph(name: str) -> np.ndarray:
    """The central square of a photograph, resized to 224 px as the weights expect."""
    import matplotlib
    import sklearn
    from PIL import Image

    folders = (
        Path(matplotlib.get_data_path()) / "sample_data",
        Path(sklearn.__file__).parent / "datasets/images",
    )
    (file,) = [folder / name for folder in folders if (folder / name).is_file()]
    image = Image.open(file).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((224, 224), Image.Resampling.BICUBIC))


def test_three_photographs_are_named_by_the_packaged_weights(project):
    value = declared(project, "efficientnet_lite0", kwargs={}, dimension=1000)
    value["weights"]["unused"] = []
    pixels = np.stack([photograph(name) for name in PHOTOGRAPHS])
    logits = extract_features(
        pixels, encoder=recipe("efficientnet_lite0", value, True, None), precision="float32"
    )
    share = torch.softmax(torch.from_numpy(logits), dim=1).numpy()
    for row, (label, probability) in zip(share, PHOTOGRAPHS.values(), strict=True):
        assert row.argmax() == label
        assert row[label] == pytest.approx(probability, abs=0.01)
    # the same weights with another normalisation see other things
    value["input"] |= {"mean": "imagenet", "sd": "imagenet"}
    other = extract_features(
        pixels, encoder=recipe("efficientnet_lite0", value, True, None), precision="float32"
    )
    assert np.abs(other - logits).max() > 0.5


def test_methods_are_crossed_with_encoders_and_fields(project):
    encoders = ["efficientnet_lite0", {"encoder": "efficientnet_lite0", "weights": "none"}, "uni"]
    made = bench(project, experiment={"encoders": encoders, "fields": [112, 140]})
    experiment = made.experiments["demo"]
    arms = {arm: value for arm, value in experiment["methods"].items() if value["head"] == "knn"}
    assert set(arms) == {
        f"knn__efficientnet_lite0{start}__{field}um" for start in ("", "_random") for field in (112, 140)
    }
    arm = arms["knn__efficientnet_lite0_random__140um"]
    assert (arm["needs"]["features"], arm["pretrained"], arm["field_um"]) == (
        "efficientnet_lite0",
        False,
        140,
    )
    assert arm["short"] == "k-NN, EfficientNet-Lite0, random weights, 140 µm"
    assert arms["knn__efficientnet_lite0__112um"]["pretrained"]
    # what uses no features takes part once, and what cannot be had is told with what brings it
    assert experiment["methods"]["colour_ridge"]["head"] is None
    assert list(experiment["missing_encoders"]) == ["uni"]
    assert "huggingface.co/MahmoodLab/UNI" in experiment["missing_encoders"]["uni"]
    assert made.left_out == [
        "demo leaves out 1 of its 3 encoders, which are not available here: uni; `histobench check-encoder uni` says "
        "what brings the first, and so on."
    ]
    told = plan_sentences(make_plan(made))
    assert told[-2] == f"Left out:    {made.left_out[0]}"


def test_available_encoders_are_all_that_are_declared(project):
    experiment = bench(project, experiment={"encoders": "available"}).experiments["demo"]
    shown = {arm.partition("__")[2] for arm, value in experiment["methods"].items() if value["head"]}
    declared_names = {file.stem for file in (project / "config/encoders").glob("*.yaml")}
    assert shown | set(experiment["missing_encoders"]) == declared_names
    assert not shown & set(experiment["missing_encoders"]) and "efficientnet_lite0" in shown


@pytest.mark.parametrize(
    ("experiment", "said"),
    [
        ({"encoders": ["uni", "virchow2"]}, "none of its `encoders` can be had"),
        ({"encoders": ["unl"]}, "did you mean `uni`"),
        ({"fields": [112]}, "`fields` is said of `encoders`"),
        (
            {"encoders": ["efficientnet_lite0"], "fields": [112], "patches": {"um_per_px": "native"}},
            "of one scale",
        ),
        ({"methods": {"colour_ridge": {"encoder": "uni"}}}, "uses no frozen features"),
    ],
)
def test_encoders_that_mean_nothing_are_refused(project, experiment, said):
    with pytest.raises(UserError) as error:
        bench(project, experiment=experiment)
    assert said in str(error.value) and "\n" not in str(error.value)
