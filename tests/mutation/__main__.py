"""Which mistakes the fast tests would notice: each mutant of the list is made in a copy and must make a test fail.

    PYTHONPATH=tests python -m mutation              all mutants, some twenty minutes
    PYTHONPATH=tests python -m mutation seed gpu     those with one of these words in their name

Not part of any tier: it is for those who change the tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from project_copy import copy_project

from mutation.mutants import MUTANTS, Mutant

PROJECT = Path(__file__).resolve().parents[2]


def survives(mutant: Mutant, checkout: Path) -> bool:
    """Whether the tests named for a mutant pass although it is in the code."""
    file = checkout / mutant.file
    before = file.read_text()
    if before.count(mutant.old) != 1:
        raise SystemExit(
            f"{mutant.name}: {mutant.file} has its text {before.count(mutant.old)} times, not once"
        )
    file.write_text(before.replace(mutant.old, mutant.new))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m",
             "not slow and not gpu and not slurm", *mutant.tests],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout / "workflow/lib"), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )  # fmt: skip
    finally:
        file.write_text(before)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{mutant.name}: the tests did not run\n{done.stdout[-3000:]}")
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    print(
        f"{'SURVIVED' if done.returncode == 0 else 'killed  '} {mutant.name}  {' '.join(failed)[:150]}",
        flush=True,
    )
    return done.returncode == 0


def main(words: list[str]) -> int:
    """Try the mutants; the exit status is 1 if one survives."""
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    with tempfile.TemporaryDirectory() as name:
        checkout = Path(name) / "checkout"
        copy_project(PROJECT, checkout)
        alive = [mutant.name for mutant in chosen if survives(mutant, checkout)]
    print(f"{len(chosen) - len(alive)} of {len(chosen)} killed")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
