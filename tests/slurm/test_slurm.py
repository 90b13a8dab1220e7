"""The cluster profile on a real SLURM, through everything that goes wrong on one.

One run tells the whole story, because starting jobs is what costs: the workflow starts through the profile, its
controller is killed while jobs run, `histobench recover` takes it up again, and on the way to the end one job runs out
of memory, one is cancelled and one exceeds its time.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(7000)]  # a busy machine may be slow

# The demo in small: every stage, controls, a classical method on frozen features, and a method that makes trouble.
CONFIG = """\
run: [small]
title: The demo on a cluster
device: auto
cohorts:
  simulated:
    options: {n_patients: 3, sections_per_patient: 1, grid_columns: 9, grid_rows: 9, um_per_px: 2.0}
experiments:
  small:
    title: Small
    cohort: simulated
    folds: {scheme: k_fold_patients, k: 2}
    panel: {size: 30}
    patches: {um_per_px: 4.8, width_px: 32}
    weights: none
    methods:
      train_mean:
      section_mean:
      ridge_probe: {resources: {runtime: 90}}  # a job for every fold
      trouble: {params: {scene: SCENE}}
      late: {params: {scene: SCENE}}
"""
METHOD = """\
title: Trouble
entry: histobench.methods.trouble:Trouble
family: control
description: Predicts the mean; its first attempt exceeds what it asked for.
needs: {gpu: true}
params: {scene: "", kinds: KINDS}
licence: none
resources: {threads: 1, mem_mb: 900, runtime: MINUTES}
"""
CODE = '''\
"""A method whose first attempt makes trouble, by fold."""
import os
import time
from pathlib import Path

from histobench.methods.train_mean import TrainMean


class Trouble(TrainMean):
    """Tells of each attempt in a file of the folder ``scene``."""

    def __init__(self, scene, kinds):
        self.scene, self.kinds = Path(scene), kinds

    def fit(self, train, valid, context):
        kind = self.kinds[len(train) - 1]  # fold 1 trains on one section, fold 2 on two
        attempts = len(list(self.scene.glob(f"{kind}.*")))
        (self.scene / f"{kind}.{attempts}").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "none"))
        if kind == "hungry":
            ballast = bytearray(os.urandom(1 << 20)) * 700
            time.sleep(5)
            assert attempts, "SLURM should have ended this attempt"
        elif kind in ("cancelled", "late") and not attempts:
            time.sleep(600)
        return super().fit(train, valid, context)
'''


@dataclass
class Story:
    """What happened."""

    folder: Path
    scene: Path
    orphans: list[str] = field(default_factory=list)
    before: str = ""
    after: str = ""
    status: int = -1
    jobs: list[dict[str, str]] = field(default_factory=list)
    left_by_cure: list[str] = field(default_factory=list)
    finished_early: dict[Path, int] = field(default_factory=dict)

    def called(self, *words: str) -> list[dict[str, str]]:
        """Jobs whose rule and wildcards contain some words, in order of submission."""
        return [job for job in self.jobs if all(word in job.get("Comment", "") for word in words)]


def profile_arguments():
    """The run as a user starts it; only the pace is that of a test."""
    return [
        "--workflow-profile", "workflow/profiles/slurm", "--configfile", "small.yaml", "--cores", "2",
        "--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10",
    ]  # fmt: skip


def wait_for(what, seconds, process):
    """Wait until something is true of a run that is alive."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert process.poll() is None, "the run ended too early"
        assert time.monotonic() < deadline, f"nothing happened for {seconds} s"
        time.sleep(0.5)
    return found


@pytest.fixture(scope="module")
def story(cluster, checkout):
    scene = checkout.folder / "scene"
    scene.mkdir()
    (checkout.folder / "workflow/lib/histobench/methods/trouble.py").write_text(CODE)
    (checkout.folder / "small.yaml").write_text(CONFIG.replace("SCENE", str(scene)))
    for name, kinds, minutes in (("trouble", "[hungry, cancelled]", "30"), ("late", "[late, fine]", "1")):
        text = METHOD.replace("KINDS", kinds).replace("MINUTES", minutes)
        (checkout.folder / f"config/methods/{name}.yaml").write_text(text)
    story = Story(checkout.folder, scene)
    logs = [checkout.folder / "first.log", checkout.folder / "second.log"]
    programs = Path(sys.executable).parent

    def running(*words):
        return [
            job["JobId"]
            for job in cluster.jobs()
            if job["JobState"] == "RUNNING" and all(word in job.get("Comment", "") for word in words)
        ]

    with logs[0].open("w") as out:
        first = subprocess.Popen(
            [programs / "snakemake", *profile_arguments()],
            cwd=checkout.folder, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    wait_for(lambda: running("extract_features"), 1500, first)
    first.send_signal(signal.SIGKILL)
    first.wait()
    story.before = logs[0].read_text()
    time.sleep(2)
    story.orphans = cluster.waiting_or_running()
    story.finished_early = {
        file: file.stat().st_mtime_ns for file in checkout.folder.glob("results/data/*/sections/*.h5ad")
    }

    with logs[1].open("w") as out:
        second = subprocess.Popen(
            [programs / "python", "-m", "histobench", "recover", "--", *profile_arguments()],
            cwd=checkout.folder, stdout=out, stderr=out, start_new_session=True,
            env={"PYTHONPATH": str(checkout.folder / "workflow/lib"), "PATH": f"{programs}:/usr/bin:/bin"},
        )  # fmt: skip
    try:
        wait_for(lambda: "unlocked" in logs[1].read_text(), 900, second)
        story.left_by_cure = [number for number in story.orphans if number in cluster.waiting_or_running()]
        wait_for(lambda: (scene / "cancelled.0").exists(), 1500, second)
        (number,) = running("train_method", "trouble", "fold2")  # the fold that trains on two sections
        cluster.cancel(number)
        story.status = second.wait(timeout=3000)
    finally:
        second.kill()
        story.after = logs[1].read_text()
        story.jobs = cluster.jobs()
        print(story.before[-3000:], story.after[-8000:])
    return story


def test_the_run_ends_with_a_report(story):
    assert story.status == 0, story.after[-4000:]
    assert (story.folder / "results/report/index.html").stat().st_size > 100_000
    board = pd.read_csv(story.folder / "results/small/tables/leaderboard.tsv", sep="\t")
    assert set(board["method"]) == {"train_mean", "section_mean", "ridge_probe", "trouble", "late"}
    assert (board["n_folds"] == 2).all()


def test_jobs_go_where_their_resources_are(story):
    (first, *_) = story.called("train_method", "trouble")
    assert first["Partition"] == "gpu" and "gpu:1" in first.get("TresPerJob", "")
    assert {file.read_text() for file in story.scene.glob("*")} <= {
        "0",
        "1",
    }  # what SLURM gave, one device each
    assert {job["Partition"] for job in story.called("tabulate_results")} == {"cpu"}
    assert {job["Partition"] for job in story.called("train_method", "ridge_probe")} == {"cpu"}


def test_a_job_that_runs_out_of_memory_is_retried_with_more(story):
    attempts = sorted(file.name for file in story.scene.glob("hungry.*"))
    assert attempts == ["hungry.0", "hungry.1"]
    memory = [
        int(job["MinMemoryNode"].removesuffix("M"))
        for job in story.called("train_method", "trouble")
        if job["JobState"] in ("OUT_OF_MEMORY", "FAILED", "COMPLETED")
    ]
    assert 900 in memory and 1800 in memory, memory


def test_a_cancelled_job_is_made_again(story):
    states = [job["JobState"] for job in story.called("train_method", "trouble")]
    assert "CANCELLED" in states
    assert sorted(file.name for file in story.scene.glob("cancelled.*")) == ["cancelled.0", "cancelled.1"]


def test_a_job_over_its_time_is_retried_with_more(story):
    late = story.called("train_method", "late")
    ends = {(job["TimeLimit"], job["JobState"]) for job in late}
    assert ("00:01:00", "TIMEOUT") in ends
    assert any(state == "COMPLETED" and limit > "00:01:00" for limit, state in ends), ends
    assert sorted(file.name for file in story.scene.glob("late.*"))[:2] == ["late.0", "late.1"]


def test_a_killed_controller_leaves_neither_orphans_nor_duplicates(story):
    assert story.orphans, "jobs should have gone on after the controller was killed"
    assert story.left_by_cure == []
    # the same work never ran twice at the same time
    for one, other in combinations(story.jobs, 2):
        # the submissions of one group are called alike, but by one controller they hold different jobs
        parts = one["JobName"] == other["JobName"] and "_wildcards_" not in one.get("Comment", "")
        if one.get("Comment") == other.get("Comment") and not parts:
            begin, end = span(one), span(other)
            assert begin[1] <= end[0] or end[1] <= begin[0], (one, other)


def test_results_from_before_the_kill_are_kept(story):
    assert len(story.finished_early) == 3
    for file, time_ns in story.finished_early.items():
        assert file.stat().st_mtime_ns == time_ns, f"{file} was made twice"


def test_short_jobs_share_submissions(story):
    """Preparing three sections takes twenty jobs of Snakemake and one of SLURM."""
    told = story.before + story.after
    for group in ("sections", "folds", "quick", "scores", "figures"):
        assert f"/group_{group}_" in told, f"no submission of the group {group}"
    assert len(story.jobs) < 0.7 * told.count("Finished jobid")


def test_results_are_those_of_a_run_on_one_machine(story, checkout):
    """Made again without SLURM, from the same patches: the same scores."""
    ours = pd.read_csv(story.folder / "results/small/tables/genes.tsv", sep="\t")
    target = "results/small/tables/genes.tsv"
    for folder in ("models", "predictions", "metrics"):
        shutil.rmtree(story.folder / f"results/small/{folder}")
    done = checkout.snakemake(target, configfile="small.yaml")
    assert done.returncode == 0, done.stdout[-3000:]
    theirs = pd.read_csv(story.folder / target, sep="\t")
    pd.testing.assert_frame_equal(ours, theirs)


def span(job: dict[str, str]) -> tuple[datetime, datetime]:
    """Begin and end of a job; one that never began has neither."""
    never = datetime.max
    begin, end = job.get("StartTime", ""), job.get("EndTime", "")
    if job.get("RunTime") == "00:00:00":
        return never, never
    return datetime.fromisoformat(begin), datetime.fromisoformat(end)
