"""Hours, disk and downloads of the commands in the README are what the plan of each says."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

from histobench.config.benchmark import Benchmark
from histobench.config.files import read_configuration
from histobench.plan import size
from histobench.plan.model import make_plan


@functools.cache
def planned(project, files, changes):
    given = [project / "config/config.yaml", *(project / file for file in files)]
    settings = read_configuration(given, project, dict(changes))
    return size.size(make_plan(Benchmark(settings, project, given)))


def gigabytes(n):
    return f"{n / 1e9:.0f}" if n >= 10e9 else f"{n / 1e9:.1f}"


def stated(found):
    """Hours, disk and download as the README writes them."""
    hours = f"{found.h200_hours:,.0f}" if found.gpu_jobs else ""
    beside = gigabytes(found.disk.temporary)
    disk = gigabytes(found.disk.left) + (f" + {beside}" if beside not in ("0.0",) else "") + " GB"
    unknown = f" and {found.n_unknown} unknown" if found.n_unknown else ""
    return hours, disk, f"{gigabytes(found.n_bytes)} GB{unknown}" if found.n_files else "none"


def commands():
    """Rows of the README's table: what is made, the command, its files, what it changes, and the figures beside it."""
    lines = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").splitlines()
    rows = []
    for line in (line for line in lines if line.startswith("| ") and "`.venv/bin/snakemake " in line):
        told, command, *figures = (cell.strip() for cell in line.strip("|").split("|"))
        files = re.search(r"--configfile ([\w/. ]+)", command)
        given = tuple(file for file in (files[1].split() if files else ()) if file != "config/config.yaml")
        changes = tuple(re.findall(r"--config (\w+)=(\w+)", command))
        rows.append((told, command, given, changes, tuple(figures)))
    return rows


@pytest.mark.slow
@pytest.mark.parametrize(
    ("told", "command", "files", "changes", "figures"),
    [
        # rows of one plan are seen by one process, which plans once
        pytest.param(*row, id=row[0], marks=pytest.mark.xdist_group(f"readme {row[2:4]}"))
        for row in commands()
    ],
)
def test_the_readme_states_what_the_plans_say(project, told, command, files, changes, figures):
    hours, disk, download = stated(planned(project, files, changes))
    fetches_only = " data`" in command
    expected = ("", figures[1], download) if fetches_only else (hours, disk, download)
    assert figures == expected, f"{told}: {' | '.join(expected)}"


def test_the_table_has_a_row_for_every_way_to_run():
    assert len(commands()) == 13
