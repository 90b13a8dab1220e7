"""The page docs/adding-a-method.md, followed to the letter in a copy of the checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import yaml
from project_copy import copy_project

from histobench import codehash
from histobench.config.benchmark import Benchmark
from histobench.config.files import merge
from histobench.yamlfiles import read_yaml


@pytest.fixture(scope="module")
def page(project):
    """The text, and each file that it shows, by the path that stands above it."""
    text = (project / "docs/adding-a-method.md").read_text(encoding="utf-8")
    return text, dict(re.findall(r"^`([^`\n]+)`:\n\n```(?:python|yaml)\n(.*?)^```", text, re.M | re.S))


@pytest.fixture(scope="module")
def checkout(project, page, tmp_path_factory):
    """A copy in which the page's files lie where it says."""
    folder = tmp_path_factory.mktemp("adding") / "checkout"
    copy_project(project, folder)
    for name, code in page[1].items():
        assert not (folder / name).exists()
        (folder / name).write_text(code)
    return folder


def run(checkout, *command, **environment):
    paths = [str(checkout / "workflow/lib"), environment.pop("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=checkout,
        env={
            **os.environ,
            **environment,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_module_and_yaml_are_under_a_hundred_lines(page) -> None:
    names = [name for name in page[1] if name.startswith(("workflow/", "config/"))]
    assert len(names) == 2
    assert sum(page[1][name].count("\n") for name in names) < 100


def test_the_experiments_of_the_page_are_valid(checkout, page, monkeypatch) -> None:
    lab = checkout.parent / "methods" / "my_lab"
    lab.mkdir(parents=True)
    (lab / "probe.py").write_text("")
    monkeypatch.syspath_prepend(str(lab.parent))
    monkeypatch.setattr(codehash, "_ROOT", checkout / "workflow/lib")
    for name, methods in {
        "mine.yaml": {"convnext_probe": 256, "convnext_probe_wide": 1024},
        "outside.yaml": {"my_probe": 64},
    }.items():
        files = [checkout / "config/config.yaml", checkout / "config/demo.yaml", checkout / name]
        config = {}
        for file in files:
            config = merge(config, read_yaml(file))
        demo = Benchmark(config, checkout, files).experiments["demo"]["methods"]
        assert {method: demo[method]["params"]["hidden"] for method in methods} == methods
        assert demo["stnet"]


@pytest.mark.slow
def test_the_method_of_the_page_keeps_the_contract(checkout, page) -> None:
    assert "\nhistobench check-method convnext_probe\n" in page[0]
    done = run(checkout, "histobench", "check-method", "convnext_probe")
    assert done.stdout == "convnext_probe: no problems.\n", done.stdout + done.stderr
    assert "pytest tests/conformance -k convnext_probe" in page[0]
    done = run(
        checkout, "pytest", "tests/conformance", "tests/unit/test_methods_arms.py", "-k", "convnext_probe"
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert not re.search("failed|error", done.stdout)
    # the page of the methods shows it, with the size that it states
    assert run(checkout, "histobench", "document-config").returncode == 0
    assert "| `convnext_probe_wide` |" in (checkout / "docs/methods.md").read_text()
    stated = yaml.safe_load(page[1]["config/methods/convnext_probe.yaml"])["parameters"]
    hidden, genes, width = 256, stated["genes"], 768
    assert stated["count"] == 2 * width + hidden * (width + 1) + genes * (hidden + 1)


@pytest.mark.slow
def test_the_lines_of_the_page_run_and_do_what_their_comments_say(checkout, page) -> None:
    blocks = re.findall(r"(?<!`:\n\n)```python\n(.*?)^```", page[0], re.M | re.S)
    assert len(blocks) == 1 and "histobench.create(" in blocks[0]
    told = (
        "\nassert histobench.methods('*probe*') == ['convnext_probe', 'hest_probe', 'linear_probe', 'ridge_probe']"
        "\nassert (method.hidden, method.epochs, method.patience) == (1024, 2, 10)"
        "\nassert [row['epoch'] for row in told.history] == [1, 2] and 'valid_mse' in told.history[0]"
        "\nassert method.predict(test.without_truth()).expression.shape == (len(test), len(GENES))"
    )
    (checkout / "first_look.py").write_text(blocks[0] + told)
    done = run(checkout, "first_look")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_method_may_live_outside_the_checkout(checkout, page) -> None:
    lab = checkout.parent / "elsewhere" / "my_lab"
    lab.mkdir(parents=True)
    code = page[1]["workflow/lib/histobench/methods/convnext_probe.py"].replace("ConvNextProbe", "MyProbe")
    (lab / "probe.py").write_text(code)
    command = ["histobench", "check-method", "my_probe", "--configfile", "outside.yaml"]
    done = run(checkout, *command, PYTHONPATH=str(lab.parent))
    assert done.stdout == "my_probe: no problems.\n", done.stdout + done.stderr
    assert "neither in workflow/lib nor on PYTHONPATH" in run(checkout, *command).stderr
    # and what is wrong with it is said
    (lab / "probe.py").write_text(code.replace(".numpy())", ".numpy()[::-1].copy())"))
    done = run(checkout, *command, PYTHONPATH=str(lab.parent))
    assert done.returncode == 1
    assert "rows are mixed up" in done.stdout
