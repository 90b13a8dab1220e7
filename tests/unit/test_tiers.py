"""What tests share is made once, also where several processes share a tier."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = """\
import os
import time
import pytest

@pytest.fixture(scope="module")
def dear():
    with open("made", "a") as stream:
        stream.write(f"{__name__} {os.getpid()}\\n")

@pytest.mark.parametrize("turn", range(6))
def test_it(dear, turn):
    time.sleep(0.05)
"""


def test_a_fixture_of_a_module_is_made_in_one_process(project, tmp_path):
    folder = tmp_path / "tests/unit"
    folder.mkdir(parents=True)
    shutil.copy(project / "tests/conftest.py", folder.parent)
    for name in "ab":
        (folder / f"test_{name}.py").write_text(MODULE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadgroup", "--no-loadscope-reorder"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "12 passed" in done.stdout, done.stdout
    made = [line.split() for line in (tmp_path / "made").read_text().splitlines()]
    assert len(made) == 2 and len({process for _, process in made}) == 2, made


@pytest.fixture
def tiers(project, tmp_path):
    """The script of the tiers between tools that only say that they were called, unless told to fail."""
    tools = tmp_path / ".venv/bin"
    tools.mkdir(parents=True)
    (tmp_path / "tests/slurm").mkdir(parents=True)
    shutil.copy(project / "tests/run.sh", tmp_path / "tests")
    (tmp_path / "tests/test_x.py").write_text("pytest.mark.alone")
    for tool in ("ruff", "mypy", "snakefmt", "snakemake", "pytest"):
        (tools / tool).write_text(f'#!/bin/sh\necho {tool} "$@" >> calls\n')
    (tmp_path / "tests/slurm/run.sh").write_text(
        "#!/bin/sh\nsleep 0.3\necho the cluster was tested >> calls\n"
    )
    for script in (*tools.iterdir(), tmp_path / "tests/slurm/run.sh"):
        script.chmod(0o755)

    def run(tier="all"):
        (tmp_path / "calls").unlink(missing_ok=True)
        done = subprocess.run(["tests/run.sh", tier], cwd=tmp_path, capture_output=True, text=True)
        return done, (tmp_path / "calls").read_text().splitlines()

    return tmp_path, run


def test_what_measures_time_waits_for_what_runs_beside(tiers):
    _, run = tiers
    done, calls = run()
    assert done.returncode == 0, done.stderr
    tested = [call for call in calls if call.startswith(("pytest", "the"))]
    assert ["alone and not gpu" in call and "not alone" not in call for call in tested] == [False, True, False, False, True]  # fmt: skip
    assert tested[3] == "the cluster was tested"
    assert not [call for call in run("fast")[1] if "cluster" in call or call.startswith("pytest -m slow")]


@pytest.mark.parametrize("beside", [".venv/bin/mypy", "tests/slurm/run.sh"])
def test_what_fails_beside_other_steps_fails_the_tier_and_is_told(tiers, beside):
    folder, run = tiers
    (folder / beside).write_text("#!/bin/sh\nsleep 0.3\necho this is why\nexit 3\n")
    done, _ = run()
    assert done.returncode == 3 and "this is why" in done.stdout


def test_a_tier_that_fails_leaves_nothing_running(tiers):
    folder, run = tiers
    (folder / ".venv/bin/pytest").write_text('#!/bin/sh\ncase "$2" in slow*) sleep 0.3; exit 1;; esac\n')
    (folder / "tests/slurm/run.sh").write_text("#!/bin/sh\necho begun > calls\nexec sleep 987\n")
    done, calls = run()
    assert done.returncode == 1 and calls == ["begun"]
    running = [file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline") if file.exists()]
    assert b"sleep\x00987\x00" not in running
