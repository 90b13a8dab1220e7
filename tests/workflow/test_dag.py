"""The whole graph is known before the first job, quickly and without network."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from histobench.config import Benchmark, merge, read_yaml


@pytest.mark.parametrize("name", ["config", "demo", "her2st_mini"])
def test_a_dry_run_of_each_configuration_plans_every_training(fresh, project, name):
    checkout = fresh(f"dag_{name}")
    config = merge(read_yaml(project / "config/config.yaml"), read_yaml(project / f"config/{name}.yaml"))
    bench = Benchmark(config, project)
    start = time.perf_counter()
    jobs = checkout.jobs(configfile=f"config/{name}.yaml")
    seconds = time.perf_counter() - start
    numbers = Counter(rule for rule, _ in jobs)
    trainings = sum(
        len(bench.arms(experiment))
        * (len(settings["folds"]["made"]) + (settings["folds"]["full"] is not None))
        for experiment, settings in bench.experiments.items()
    )
    tested = {
        name: len(bench.arms(name)) * len(settings["folds"]["made"])
        for name, settings in (bench.experiments | bench.branches).items()
        if settings["folds"]["made"]
    }
    assert numbers["train_method"] == trainings
    assert numbers["predict_fold"] == sum(tested.values())
    assert numbers["score_method"] == sum(len(bench.arms(name)) for name in tested)
    assert numbers["tabulate_results"] == len(tested)
    papers = [e for e in (bench.experiments | bench.branches).values() if e["mode"] == "paper"]
    assert numbers["compare_published"] == sum(bool(e["folds"]["made"]) for e in papers)
    assert numbers["write_report"] == 1
    assert not (checkout.folder / "results").exists()
    assert seconds < 60


def test_an_image_free_experiment_reads_no_image(fresh):
    jobs = fresh("counts").jobs(
        "results/her2st_counts/tables/leaderboard.tsv", configfile="config/her2st_mini.yaml"
    )
    assert not any(rule in {"cut_patches", "fit_stain", "extract_features"} for rule, _ in jobs)
    assert not any(".jpg" in wildcards for rule, wildcards in jobs if rule == "download_file")
    assert Counter(rule for rule, _ in jobs)["read_section"] == 36


def test_a_fold_never_trains_on_a_tested_patient(fresh):
    """What the training rule is given as input, not only what the table of folds says."""
    checkout = fresh("inputs")
    text = checkout.snakemake("--dry-run", configfile="config/demo.yaml", check=True).stdout
    blocks = re.split(r"\n\s*rule ", text)
    # images are inputs of the training itself; counts come with the panel, which is chosen on the same sections
    for rule, least in (("train_method:", 50), ("select_panel:", 6)):
        found = [block for block in blocks if block.startswith(rule)]
        assert len(found) >= least
        for block in found:
            fold = re.search(r"fold=(\w+)", block).group(1)
            inputs = re.search(r"input: (.*)", block).group(1)
            assert f"/{fold}_" not in inputs, block


def test_the_workflow_passes_snakemakes_own_check(project):
    done = subprocess.run(
        [Path(sys.executable).with_name("snakemake"), "--lint", "--configfile", "config/demo.yaml"],
        cwd=project,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_help_and_readme_agree_with_what_exists(project):
    shown = subprocess.run(["make", "help"], cwd=project, capture_output=True, text=True).stdout
    targets = set(re.findall(r"^  make ([a-z-]+)", shown, re.M))
    makefile = (project / "Makefile").read_text()
    assert targets and all(re.search(rf"^{target}:", makefile, re.M) for target in targets)
    readme = (project / "README.md").read_text()
    assert set(re.findall(r"`?make ([a-z]+(?:-[a-z]+)*)\b`? ", readme)) <= targets
    for path in re.findall(r"\]\(([^)#]+)\)", readme):
        assert path.startswith("http") or (project / path).exists(), path
    for path in re.findall(
        r"(?:config|workflow|resources|tests)/[A-Za-z0-9_./-]+\.(?:yaml|py|tsv|md)", readme
    ):
        if "mine" not in path:
            assert (project / path).exists(), path


def test_the_engine_does_not_plan_by_the_clock(fresh):
    """Its limit of jobs per second starts a timer after every job, and each timer lives to the end of the run."""
    checkout = fresh("timers")
    spy = checkout.folder / "spy"
    spy.mkdir()
    (spy / "sitecustomize.py").write_text(
        "import os, threading\n"
        "before = threading.Timer.__init__\n"
        "def noted(self, *arguments, **named):\n"
        "    with open(os.environ['SPY'], 'a') as stream:\n"
        "        stream.write(f'{arguments[0]}\\n')\n"
        "    before(self, *arguments, **named)\n"
        "threading.Timer.__init__ = noted\n"
    )
    seen = checkout.folder / "timers.txt"
    extra = {"PYTHONPATH": str(spy), "SPY": str(seen)}
    checkout.snakemake("results/tiny/folds.tsv", check=True, extra=extra)
    assert (checkout.folder / "results/tiny/folds.tsv").exists()
    assert not seen.exists()
