"""The wheel, in an environment that holds only what it declares to need: a library and commands without a checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import environments
import pytest
from project_copy import copy_project
from unit.own_cohort import OwnCohort

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(project, tmp_path_factory):
    source = tmp_path_factory.mktemp("source") / "histobench"
    copy_project(project, source)
    folder = tmp_path_factory.mktemp("wheel")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        ".",
    ]
    done = subprocess.run(pip, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def python(project, wheel, tmp_path_factory):
    """Python of an environment in which the wheel and its dependencies are, without any extra."""
    with (project / "pyproject.toml").open("rb") as stream:
        needs = tomllib.load(stream)["project"]["dependencies"]
    names = [re.match(r"[A-Za-z0-9_.-]+", need).group() for need in needs]
    prefix = tmp_path_factory.mktemp("empty") / "environment"
    python = environments.link(environments.closure(names), prefix)
    pip = [
        sys.executable,
        "-m",
        "pip",
        f"--python={python}",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    done = subprocess.run(pip, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return python


@pytest.fixture
def run(python, tmp_path):
    """Run a command of the environment in an empty folder; returns exit status and what it says."""

    def command(*arguments: str) -> tuple[int, str]:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "MPLBACKEND": "Agg",
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            [python.parent / arguments[0], *arguments[1:]],
            cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        return done.returncode, done.stdout

    return command


def test_the_wheel_holds_the_declarations_and_nothing_of_a_run(project, wheel):
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    for folder in ("config", "resources", "workflow/schemas"):
        files = [file for file in (project / folder).rglob("*") if file.is_file()]
        assert files
        for file in files:
            assert f"histobench/declared/{file.relative_to(project)}" in inside
    assert "histobench/report/templates/report.js" in inside
    assert not [name for name in inside if re.search(r"\.pyc$|^tests/|/scripts/|^config", name)]


def test_the_library_works_without_extras_and_checkout(run):
    status, said = run("histobench", "--version")
    assert status == 0 and said == "histobench 0.1.0\n"
    code = (
        "import importlib.util as found, histobench, pathlib\n"
        "from histobench.project import project_folder\n"
        "assert project_folder().is_relative_to(pathlib.Path(histobench.__file__).parent)\n"
        "assert not any(map(found.find_spec, ('snakemake', 'captum', 'pytest', 'staintools')))\n"
        "assert {'stnet', 'histogene', 'train_mean'} <= set(histobench.methods())\n"
        "print(type(histobench.create('stnet')).__name__)\n"
    )
    status, said = run("python", "-c", code)
    assert (status, said) == (0, "STNet\n")
    status, said = run("histobench", "plan")
    assert status == 0 and "jobs" in said


def test_every_module_of_the_library_imports(run):
    code = (
        "import importlib, pkgutil, histobench\n"
        "names = [found.name for found in pkgutil.walk_packages(histobench.__path__, 'histobench.')]\n"
        "for name in names:\n"
        "    if not name.endswith('__main__'): importlib.import_module(name)\n"
        "print(len(names))\n"
    )
    status, said = run("python", "-c", code)
    assert status == 0 and int(said) > 200, said[-2000:]


def test_cohorts_methods_and_encoders_are_checked(run, tmp_path):
    own = OwnCohort(tmp_path / "own")
    status, said = run("histobench", "check-cohort", str(own.folder / "mine.yaml"))
    assert status == 0 and "2 sections checked, no problems." in said, said
    (own.folder / "S1.jpg").unlink()
    status, said = run("histobench", "check-cohort", str(own.folder / "mine.yaml"))
    assert status == 1 and "S1.jpg" in said and "Traceback" not in said
    status, said = run("histobench", "check-method", "colour_ridge")
    assert (status, said) == (0, "colour_ridge: no problems.\n")
    status, said = run("histobench", "check-encoder", "resnet50", "--offline")
    assert status == 0 and "resnet50: no problems." in said


@pytest.mark.parametrize(
    "command", [["document-config"], ["debug", "make_folds"], ["lock", "--refresh", "her2st"]]
)
def test_what_needs_a_checkout_says_so(run, command):
    status, said = run("histobench", *command)
    assert status == 1 and said.startswith(f"Error: `histobench {command[0]}` needs a checkout"), said


def test_in_a_checkout_the_files_of_the_checkout_count(project):
    done = subprocess.run(
        [sys.executable, "-c", "from histobench.project import project_folder; print(project_folder())"],
        env={**os.environ, "PYTHONPATH": str(project / "workflow/lib")}, capture_output=True, text=True,
    )  # fmt: skip
    assert Path(done.stdout.strip()) == project
