"""A run killed at any moment goes on, and ends like one that was never killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pandas as pd
import pytest

pytestmark = pytest.mark.slow

PREDICTIONS = "results/tiny/predictions/*/*/*.h5ad"


def kill_after(checkout, jobs):
    """Start a run, kill it with everything it started once some jobs have ended."""
    command = [Path(sys.executable).with_name("snakemake"), "--cores", "2", "--configfile", "tiny.yaml"]
    with subprocess.Popen(
        command,
        cwd=checkout.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        ended = 0
        for line in process.stdout:
            ended += line.startswith("Finished jobid")
            if ended >= jobs:
                break
        time.sleep(0.4)  # into the next jobs
        os.killpg(process.pid, signal.SIGKILL)


def test_a_killed_run_resumes_to_the_same_tables(fresh, finished):
    checkout = fresh("killed")
    for jobs in (8, 12):
        kill_after(checkout, jobs)
        checkout.snakemake("--unlock", check=True)
    # what is left runs in processes that import by themselves: where a job begins says nothing about its results
    checkout.snakemake("--rerun-incomplete", check=True, extra={"HISTOBENCH_FORK": "0"})
    assert checkout.jobs() == set()
    for name in ("leaderboard", "genes", "patients"):
        ours = pd.read_csv(checkout.folder / f"results/tiny/tables/{name}.tsv", sep="\t")
        theirs = pd.read_csv(finished.folder / f"results/tiny/tables/{name}.tsv", sep="\t")
        cost = ["train_seconds", "peak_memory_mb"]
        pd.testing.assert_frame_equal(
            ours.drop(columns=cost, errors="ignore"), theirs.drop(columns=cost, errors="ignore")
        )
    predicted = sorted(path.relative_to(checkout.folder) for path in checkout.folder.glob(PREDICTIONS))
    assert len(predicted) == 9
    for path in predicted:
        with h5py.File(checkout.folder / path) as ours, h5py.File(finished.folder / path) as theirs:
            assert ours["X"][()].tobytes() == theirs["X"][()].tobytes(), path


def test_the_tiny_run_holds_the_contract(finished):
    """The paths that other people's scripts read."""
    results = finished.folder / "results"
    for path in (
        "data/simulated/sections.tsv",
        "data/simulated/sections/P1_1.h5ad",
        "data/simulated/stain/P1_1.json",
        "data/simulated/stain/P1_1.png",
        "data/simulated/patches/raw-4.8um-32px/P1_1.npy",
        "data/simulated/patches/raw-4.8um-32px/P1_1.tsv",
        "data/simulated/features/resnet50.none.raw-4.8um-32px/P1_1.npy",
        "tiny/folds.tsv",
        "tiny/panels/P1.tsv",
        "tiny/models/ridge_probe/P1/weights.pt",
        "tiny/models/ridge_probe/P1/history.tsv",
        "tiny/models/ridge_probe/P1/run.json",
        "tiny/predictions/ridge_probe/P1/P1_1.h5ad",
        "tiny/metrics/ridge_probe/P1.parquet",
        "tiny/tables/leaderboard.tsv",
        "tiny/audit/leakage.tsv",
        "tiny/figures/leaderboard.svg",
        "tiny/figures/leaderboard.png",
        "tiny/tables/figures/leaderboard.tsv",
        "report/index.html",
        "report/provenance.json",
    ):
        assert (results / path).is_file(), path
    columns = [
        "method",
        "family",
        "pearson",
        "pearson_low",
        "pearson_high",
        "pearson_pooled",
        "ceiling_fraction",
        "spearman",
        "rmse",
        "mae",
        "n_genes",
        "n_positive",
        "n_consistent_holm",
        "n_consistent_bh",
        "n_undefined",
        "train_seconds",
        "peak_memory_mb",
        "parameters",
        "n_folds",
        "seeds",
    ]
    board = pd.read_csv(results / "tiny/tables/leaderboard.tsv", sep="\t")
    assert list(board.columns)[: len(columns)] == columns
    assert set(board["method"]) == {"train_mean", "colour_ridge", "ridge_probe"}
    # nothing half-written stays; Snakemake marks the folders that are outputs with a file of its own
    assert not [path for path in results.rglob(".*") if path.name != ".snakemake_timestamp"]


def test_snakemakes_own_report_is_made(finished):
    done = finished.snakemake("--report", "report.zip")
    assert done.returncode == 0, done.stdout[-3000:]
    assert (finished.folder / "report.zip").stat().st_size > 500_000


def test_the_notebook_example_of_the_readme_runs(finished):
    readme = (finished.folder / "README.md").read_text()
    blocks = [block.split("```")[0] for block in readme.split("```python\n")[1:]]
    # the block that opens results is that of test_results_run
    (code,) = [block for block in blocks if "histobench.create(" in block]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    for ours, theirs in (("results/demo", "results/tiny"), ("raw-2.4um-64px", "raw-4.8um-32px")):
        code = code.replace(ours, theirs)
    code += "\nprint(predicted.shape, len(p1), len(genes['panel']))\n"
    library = {**os.environ, "PYTHONPATH": str(finished.folder / "workflow/lib")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=finished.folder, capture_output=True, text=True, env=library
    )
    assert done.returncode == 0, done.stderr[-3000:]
    spots, genes, n_spots, n_genes = map(int, "".join(c if c.isdigit() else " " for c in done.stdout).split())
    assert (spots, genes) == (n_spots, n_genes)
