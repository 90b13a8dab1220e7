"""The page docs/adding-an-encoder.md, followed to the letter in a copy of the checkout."""

from __future__ import annotations

import re
import shlex

import pytest
import yaml
from project_copy import copy_project

from histobench.cli.encodercheck import check_encoder
from histobench.config.benchmark import Benchmark

FILE = "config/encoders/kaiko_vits8.yaml"


@pytest.fixture(scope="module")
def page(project):
    return (project / "docs/adding-an-encoder.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def checkout(project, page, tmp_path_factory):
    """A copy with the page's one file, and nothing else."""
    folder = tmp_path_factory.mktemp("adding") / "checkout"
    copy_project(project, folder)
    ((name, text),) = re.findall(r"^`([^`\n]+)`:\n\n```yaml\n(.*?)^```", page, re.M | re.S)
    assert name == FILE and not (folder / name).exists()
    assert text.count("\n") <= 15
    (folder / name).write_text(text)
    return folder


def command(page: str, option: str) -> list[str]:
    """The arguments of the page's command with this option."""
    (line,) = [line for line in page.splitlines() if line.startswith("histobench ") and option in line]
    return shlex.split(line, comments=True)[1:]


def test_the_check_of_the_page_finds_nothing_and_one_wrong_number(checkout, page):
    assert command(page, "--offline") == ["check-encoder", "kaiko_vits8", "--offline"]
    found = check_encoder("kaiko_vits8", checkout, offline=True)
    assert found.problems == []
    assert "Kaiko non-commercial; no commercial use" in found.notes[0]
    good = (checkout / FILE).read_text()
    (checkout / FILE).write_text(good.replace("21670272", "21670273"))
    try:
        (problem,) = check_encoder("kaiko_vits8", checkout, offline=True).problems
    finally:
        (checkout / FILE).write_text(good)
    assert "`parameters` is 21,670,273, but the network has 21,670,272" in problem


def test_the_experiments_of_the_page_use_it(checkout, page, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    snippets = [
        yaml.safe_load(text) for text in re.findall(r"^```yaml\n(experiments:.*?)^```", page, re.M | re.S)
    ]
    one, several = (each["experiments"]["mine"] for each in snippets)
    plain = {
        "weights": "none",
        "encoder_weights": "pretrained",
        "methods": {"stnet": {"enabled": False}},
        "scatter": ["colour_ridge", "knn"],
    }
    made = Benchmark({"run": ["demo"], "experiments": {"demo": {**plain, **one}}}, checkout)
    assert made.experiments["demo"]["methods"]["knn"]["needs"]["features"] == "kaiko_vits8"
    assert made.encoder_file("kaiko_vits8") == "results/data/weights/raw/kaiko_vits8.safetensors"
    del plain["encoder_weights"]
    made = Benchmark({"run": ["demo"], "experiments": {"demo": {**plain, **several}}}, checkout)
    arms = made.experiments["demo"]["methods"]
    starts = ("kaiko_vits8", "efficientnet_lite0", "kaiko_vits8_random")
    assert {f"knn__{start}__{field}um" for start in starts for field in (112, 224)} <= set(arms)
    assert made.experiments["demo"]["missing_encoders"] == {}


def test_every_key_that_the_page_names_is_one(project, page):
    keys = yaml.safe_load((project / "workflow/schemas/encoder.schema.yaml").read_text())["properties"]
    for name in re.findall(r"`([a-z_]+)\.([a-z_0-9]+)`", page):
        if name[0] in keys and "properties" in keys[name[0]]:
            assert name[1] in keys[name[0]]["properties"], name
    shown = yaml.safe_load(re.search(r"^```yaml\n(title:.*?)^```", page, re.M | re.S)[1])
    assert set(shown) <= set(keys)
