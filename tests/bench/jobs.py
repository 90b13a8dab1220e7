"""What it costs that a script is a job of the workflow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.harness import Comparison

EXPERIMENT = """\
  e{number}:
    title: One of many
    cohort: simulated
    patches: {{um_per_px: 4.8, width_px: 32}}
    weights: none
    methods: {{train_mean: {{}}}}
"""


def local_jobs(folder: Path, quick: bool) -> Comparison:
    """Jobs of less than a second, one after another: planning and Snakemake's own start are part of the time."""
    n = 4 if quick else 40
    project = Path(__file__).resolve().parents[2]
    experiments = "".join(EXPERIMENT.format(number=number) for number in range(n))
    names = ", ".join(f"e{number}" for number in range(n))
    (folder / "many.yaml").write_text(f"run: [{names}]\ndevice: cpu\nexperiments:\n{experiments}")
    runs = 0

    def ours() -> int:
        nonlocal runs
        runs += 1
        targets = [f"results/e{number}/folds.tsv" for number in range(n)]
        place = folder / f"run{runs}"
        given = ["--cores", "1", "--directory", str(place), "--configfile", str(folder / "many.yaml")]
        command = [sys.executable, "-m", "snakemake", *targets, *given]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        return len(list(place.glob("results/*/folds.tsv")))

    def theirs() -> int:
        code = f"import sys; sys.path.insert(0, {str(project / 'workflow/lib')!r}); import histobench.splits.folds"
        for _ in range(n):
            subprocess.run([sys.executable, "-c", code], check=True)
        return n

    def same(a: object, b: object) -> str:
        assert a == b == n
        return "the same number of scripts"

    return Comparison(
        f"{n} local jobs", "Python starting for the same scripts", ours, theirs, same, units=n, unit="job",
        repeats=3, note="below 1 by what Snakemake needs to start, plan and record them",
    )  # fmt: skip
