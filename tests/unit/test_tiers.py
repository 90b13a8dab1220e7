"""What tests share is made once, also where several processes share a tier."""

from __future__ import annotations

import shutil
import subprocess
import sys

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
