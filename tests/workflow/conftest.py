"""A checkout of its own for tests that run the workflow, and the means to ask what would run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from project_copy import copy_project

# A run of seconds: every stage, the cheapest methods, one deep one.
TINY = """\
run: [tiny]
device: cpu
cohorts:
  simulated:
    options: {n_patients: 3, sections_per_patient: 2, grid_columns: 9, grid_rows: 9, um_per_px: 2.0}
experiments:
  tiny:
    title: Tiny
    cohort: simulated
    sections: [P1_1, P2_1, P3_1]
    panel: {size: 30}
    patches: {um_per_px: 4.8, width_px: 32}
    weights: none
    methods:
      train_mean:
      colour_ridge:
      ridge_probe: {resources: {runtime: 90}}  # a job for every fold
"""


# What one job makes for many sections, of which the rule names the cohort.
TOGETHER = re.compile(r"(?:check_spots|images|fit_stains|cut_patches|extract_features)_of_(\w+?)(?:_\d+)?")


def _family(rule: str) -> str:
    """A rule without the experiment that it is written for: train_quick of train_quick_of_demo."""
    return rule.partition("_of_")[0]


class Checkout:
    """A copy of the project in which Snakemake runs."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.folder = folder
        copy_project(source, folder, compiled=True)
        (folder / "tiny.yaml").write_text(TINY)

    def snakemake(
        self,
        *arguments: str,
        configfile: str | None = "tiny.yaml",
        cores: int = 2,
        check: bool = False,
        timeout: int = 600,
        extra: dict[str, str] | None = None,
        messages: bool = False,
    ):
        """Run Snakemake; returns the finished process with stdout and stderr together.

        A dry run tells rules, wildcards and files, unless `messages` asks for what a person sees.
        """
        program = [str(Path(sys.executable).with_name("snakemake"))]
        if "--dry-run" in arguments and not messages:
            program = [sys.executable, str(Path(__file__).with_name("full_dry_run.py"))]
        command = [*program, "--cores", str(cores), *arguments]
        if configfile:
            command += ["--configfile", configfile]
        done = subprocess.run(
            command,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(extra or {})},
        )
        if check and done.returncode:
            raise AssertionError(done.stdout[-6000:])
        return done

    def jobs(
        self, *arguments: str, configfile: str | None = "tiny.yaml", extra: dict[str, str] | None = None
    ) -> set[tuple[str, str]]:
        """Return what a run would do now: (rule, its wildcards as printed)."""
        text = self.snakemake("--dry-run", *arguments, configfile=configfile, check=True, extra=extra).stdout
        return self.planned(text)

    @staticmethod
    def planned(text: str) -> set[tuple[str, str]]:
        """Return the jobs that a dry run has printed."""
        found = set()
        for block in re.split(r"\n(?=\s*(?:local)?rule \w+:)", text)[1:]:
            rule = re.match(r"\s*(?:local)?rule (\w+):", block).group(1)
            wildcards = re.search(r"^\s+wildcards: (.*)$", block, re.M)
            told = wildcards.group(1) if wildcards else ""
            if together := TOGETHER.fullmatch(rule):
                told = f"cohort={together.group(1)}, {told}".removesuffix(", ")
            found.add((_family(rule), told))
        return found - {("all", "")}

    def edit(self, path: str, old: str, new: str) -> Edit:
        """Change a file for the length of a `with` block."""
        return Edit(self.folder / path, old, new)


class Edit:
    """A change of one file that is taken back at the end."""

    def __init__(self, path: Path, old: str, new: str) -> None:
        self.path, self.old, self.new = path, old, new

    def __enter__(self) -> None:
        self.before = self.path.read_text()
        self.times = self.path.stat()
        assert self.old in self.before, f"{self.path} has no {self.old!r}"
        self.path.write_text(self.before.replace(self.old, self.new, 1))

    def __exit__(self, *_: object) -> None:
        self.path.write_text(self.before)
        os.utime(self.path, ns=(self.times.st_atime_ns, self.times.st_mtime_ns))


@pytest.fixture(scope="session")
def fresh(project, tmp_path_factory):
    """Make checkouts without results."""

    def make(name: str) -> Checkout:
        return Checkout(project, tmp_path_factory.mktemp(name) / "checkout")

    return make


@pytest.fixture(scope="session")
def finished(fresh):
    """A checkout in which the tiny run has ended."""
    checkout = fresh("finished")
    checkout.snakemake(check=True)
    return checkout
