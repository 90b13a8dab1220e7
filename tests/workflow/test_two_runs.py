"""Two runs never write the same results, whatever path leads there; and a run clears away what a killed one left."""

from __future__ import annotations

import os
import platform
import re

import pytest

from histobench import runtime

pytestmark = pytest.mark.slow

TARGET = "results/data/simulated/raw/truth.tsv"


@pytest.fixture
def held(fresh, tmp_path):
    """A checkout whose results are a link to a folder where another run, this process, writes."""
    checkout = fresh("held")
    shared = tmp_path / "shared"
    lock = runtime.begin_run(shared)
    assert lock is not None
    (checkout.folder / "results").symlink_to(shared)
    yield checkout
    if not lock.closed:
        lock.close()


def test_the_second_run_is_refused_with_one_sentence(held):
    refused = held.snakemake(TARGET)
    assert refused.returncode == 1 and "Traceback" not in refused.stdout
    assert re.search(r"results: another run is writing here \(process \d+ on ", refused.stdout), (
        refused.stdout
    )
    assert platform.node() in refused.stdout
    assert not (held.folder / TARGET).exists()

    assert held.snakemake(TARGET, "--dry-run").returncode == 0, "to look is no writing"
    assert held.snakemake("--unlock").returncode == 0


def test_jobs_of_a_run_are_not_refused_and_what_was_left_is_gone(held, tmp_path):
    """Each job is a Snakemake of its own, in the same folder, while the run holds it."""
    left = tmp_path / "shared/data/.P1.writing-0123456789ab-1-1.abc.npy"
    left.parent.mkdir()
    left.write_bytes(b"half")
    os.utime(left, (1e9, 1e9))
    (tmp_path / "shared" / runtime.LOCK).unlink()  # as when the other run ends
    held.snakemake(TARGET, check=True)
    assert (held.folder / TARGET).is_file() and not left.exists()
    assert not (tmp_path / "shared" / runtime.LOCK).exists()
