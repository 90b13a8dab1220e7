"""Whether an image that has to be decoded whole fits into memory, told from its size before decoding it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from histobench.errors import UserError

_CGROUPS = Path("/sys/fs/cgroup")


def require_memory(path: str | Path, width: int, height: int, needed: int) -> None:
    """Stop before ``needed`` bytes are asked for that are not there.

    Raises
    ------
    UserError
        They exceed what this machine, or the job that this process belongs to, has left.
    """
    there = available_bytes()
    if there is not None and needed > there:
        raise UserError(
            f"{path}: decoding {width} x {height} pixels takes {needed / 1e6:.0f} MB of memory, but "
            f"{there / 1e6:.0f} MB are left; check that the header is right, save the image as a tiled TIFF, "
            "which is read in parts, or give the job more memory."
        )


def available_bytes() -> int | None:
    """Return the memory that this process can still get: of the machine, its control group or its job.

    None where the system does not tell.
    """
    limits = [*_machine(), *_control_groups(), *_slurm_job()]
    return max(0, min(limits)) if limits else None


def _machine() -> Iterator[int]:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) * 2**10
                return
    except OSError:
        pass
    try:
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return


def _control_groups() -> Iterator[int]:
    """Yield what is left of the limit of each control group (version 2) that this process is in."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    name = next((line[3:] for line in lines if line.startswith("0::")), None)
    if name is None:
        return
    folder = _CGROUPS / name.lstrip("/")
    for group in (folder, *folder.parents):
        try:
            limit = (group / "memory.max").read_text(encoding="utf-8").strip()
            if limit != "max":
                stat = dict(
                    line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines()
                )
                used = int((group / "memory.current").read_text(encoding="utf-8"))
                # pages of files that nobody holds are given up where memory is short
                yield int(limit) - used + int(stat.get("inactive_file", 0))
        except (OSError, ValueError):
            pass
        if group == _CGROUPS:
            return


def _slurm_job() -> Iterator[int]:
    """Yield the memory that SLURM gave the job, which not every cluster enforces by control groups."""
    for name, factor in (
        ("SLURM_MEM_PER_NODE", "1"),
        ("SLURM_MEM_PER_CPU", os.environ.get("SLURM_CPUS_ON_NODE")),
    ):
        value = os.environ.get(name)
        if value and value.isdigit() and int(value) and factor and factor.isdigit():
            yield int(value) * int(factor) * 2**20
