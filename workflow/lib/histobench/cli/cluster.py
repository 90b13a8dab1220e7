"""After a run on a SLURM cluster was killed: end what it left behind, so that it can be started again.

A controller (the ``snakemake`` that submits) that is killed or loses its login node leaves its jobs running.
A new one knows nothing of them: it would submit them a second time, and the old ones would later overwrite
the new one's results. So the old ones are cancelled first; what they had finished is kept.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from histobench.errors import UserError

_POLL_SECONDS = 1.0


def recover(
    folder: str | Path, arguments: Sequence[str] = (), *, wait_seconds: float = 300.0, rerun: bool = True
) -> int:
    """Cancel the user's jobs that were submitted from a folder, wait until they are gone, unlock, run again.

    Parameters
    ----------
    folder
        Where Snakemake ran.
    arguments
        Of the run that was killed.
    wait_seconds
        How long jobs may take to end.
    rerun
        Start the run again; False leaves that to the user.

    Returns
    -------
    int
        Exit status of the new run.

    Raises
    ------
    UserError
        There is no SLURM here, the run is still alive, or a job does not end.
    """
    folder = Path(folder).resolve()
    if shutil.which("squeue") is None or shutil.which("scancel") is None:
        raise UserError(
            "squeue and scancel are not found; run this where jobs are submitted, on a login node."
        )
    alive = _controllers(folder)
    if alive:
        raise UserError(
            f"{folder}: Snakemake still runs here as process {alive[0]}; let it end, or stop it with Ctrl-C, "
            "which cancels its jobs as well."
        )
    jobs = submitted_jobs(folder)
    if jobs:
        print(f"cancelling {len(jobs)} jobs submitted from {folder}", flush=True)
        _slurm("scancel", *jobs)
    deadline = time.monotonic() + wait_seconds
    while jobs := submitted_jobs(folder):
        if time.monotonic() > deadline:
            raise UserError(
                f"{folder}: job {jobs[0]} has not ended {wait_seconds:.0f} s after it was cancelled; "
                "ask the administrator of the cluster, or wait and try again."
            )
        time.sleep(_POLL_SECONDS)
    snakemake = [sys.executable, "-m", "snakemake", *arguments]
    unlocked = subprocess.run([*snakemake, "--unlock"], cwd=folder, capture_output=True, text=True)
    if unlocked.returncode:
        raise UserError(f"{folder}: Snakemake could not unlock it: {unlocked.stderr.strip()[-500:]}")
    print(f"no job of {folder} is left and it is unlocked", flush=True)
    if not rerun:
        return 0
    return subprocess.run([*snakemake, "--rerun-incomplete"], cwd=folder).returncode


def submitted_jobs(folder: Path) -> list[str]:
    """Return the numbers of this user's jobs, waiting, running or ending, whose working directory this is."""
    user = pwd.getpwuid(os.getuid()).pw_name
    listed = _slurm("squeue", "--noheader", f"--user={user}", "--format=%i|%Z")
    found = []
    for line in listed.splitlines():
        number, _, where = line.strip().partition("|")
        if where and Path(where).resolve() == folder:
            found.append(number)
    return found


def _slurm(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(
            f"{command[0]} failed ({done.stderr.strip()}); try again when the cluster's controller answers."
        )
    return done.stdout


def _controllers(folder: Path) -> list[int]:
    """Return processes of Snakemake that run in the folder on this machine and are no jobs of the cluster."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            here = (process / "cwd").resolve() == folder
            job = b"\0SLURM_JOB_ID=" in b"\0" + (process / "environ").read_bytes()
        except OSError:  # it ended, or belongs to somebody else
            continue
        if here and not job and any(_is_snakemake(word) for word in words[:3]):
            found.append(int(process.name))
    return [number for number in found if number != os.getpid()]


def _is_snakemake(word: bytes) -> bool:
    return word.rpartition(b"/")[2] == b"snakemake"
