"""With --use-conda every rule runs in the environment that it names, and finds everything there.

Where conda is installed the real one is used; otherwise a stand-in that makes the same environments from the lock.
"""

from __future__ import annotations

import os
import shutil

import environments
import pytest
import yaml

pytestmark = pytest.mark.slow

# The tiny run in its smallest form: all stages, one method without and one with a network.
OVERLAY = """\
experiments:
  tiny:
    folds: {scheme: k_fold_patients, k: 2}
    methods:
      stnet: {params: {architecture: small_cnn, input_px: null, selection: fixed, epochs: 1, views: 1}}
"""


def test_every_rule_runs_in_its_own_environment(fresh, tmp_path, monkeypatch):
    checkout = fresh("conda")
    settings = yaml.safe_load((checkout.folder / "tiny.yaml").read_text())
    tiny = settings["experiments"]["tiny"]
    tiny |= yaml.safe_load(OVERLAY)["experiments"]["tiny"]
    tiny["methods"]["train_mean"] = None
    (checkout.folder / "tiny.yaml").write_text(yaml.safe_dump(settings))
    if shutil.which("conda") is None:
        stand_in = environments.stand_in(tmp_path / "conda")
        monkeypatch.setenv("PATH", f"{stand_in}{os.pathsep}{os.environ['PATH']}")
    done = checkout.snakemake("--use-conda")
    assert done.returncode == 0, done.stdout[-6000:]
    made = {file.stem for file in (checkout.folder / ".snakemake/conda").glob("*.yaml")}
    assert len(made) == len(list((checkout.folder / "envs").glob("*.yaml"))), made
    ran = {folder.name.removesuffix(".log") for folder in (checkout.folder / "results/logs").iterdir()}
    assert {
        "train_method",
        "train_quick",
        "predict_folds",
        "cut_patches",
        "images",
        "draw_figures",
        "write_report",
    } <= ran
    assert checkout.snakemake("--use-conda", "--dry-run").stdout.count("Nothing to be done") == 1
