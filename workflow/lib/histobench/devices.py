"""What this machine computes with: its processor and GPUs, a fixed number of processes on each of these.

Snakemake counts GPUs (``--resources gpu=N``) but does not say which of them a job gets, so jobs that run at
the same time would all take the first. A lock file for every device settles that, also between two runs. On a
cluster the scheduler shows a job only its own devices.

A network that learns from 32 patches at a time leaves a large GPU idle between its kernels. There several
jobs, folds or seeds of one method for instance, share a device: ``HISTOBENCH_JOBS_PER_GPU`` says how many.
"""

from __future__ import annotations

import fcntl
import logging
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from histobench.errors import UserError

log = logging.getLogger(__name__)

_DRIVER = Path("/proc/driver/nvidia/gpus")
_WAIT_SECONDS = 0.5
_SHARE = "HISTOBENCH_JOBS_PER_GPU"

# Locks last as long as their file is open: until the process ends, however it ends.
_held: list[int] = []


def visible_devices() -> list[str]:
    """Return the GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES would give them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return [str(number) for number in range(len(list(_DRIVER.glob("*"))))]
    names = [name.strip() for name in named.split(",") if name.strip()]
    return names[: names.index("-1")] if "-1" in names else names  # CUDA ignores all from -1 on


def jobs_per_device() -> int:
    """Return how many processes may share a GPU: the environment variable ``HISTOBENCH_JOBS_PER_GPU``, or 1.

    Raises
    ------
    UserError
        The variable is not a whole number above zero.
    """
    said = os.environ.get(_SHARE, "1")
    if not (said.isascii() and said.isdigit() and int(said)):
        raise UserError(f"the environment variable {_SHARE} is {said!r}; set it to a whole number from 1 on.")
    return int(said)


def claim_device(folder: str | Path | None = None) -> str | None:
    """Take a place on one of several GPUs and hide the others from this process; waits for a free place.

    There are :func:`jobs_per_device` places on each; the emptiest GPUs are filled first. Must run before CUDA
    is used. With one GPU there is nothing to choose, and without any nothing to take.

    Parameters
    ----------
    folder
        Where the lock files lie; the system's folder for temporary files by default, so that all runs on
        this machine see them.

    Returns
    -------
    str or None
        The device, as CUDA_VISIBLE_DEVICES now names it.
    """
    devices = visible_devices()
    if len(devices) < 2:
        return devices[0] if devices else None
    place = Path(folder or tempfile.gettempdir())
    locks = {
        (device, number): _open(place / f"histobench-gpu-{device}-{number}.lock")
        for number in range(jobs_per_device())
        for device in devices
    }
    waited = False
    while True:
        for (device, _), lock in locks.items():
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            for other in locks.values():
                if other != lock:
                    os.close(other)
            _held.append(lock)
            os.environ["CUDA_VISIBLE_DEVICES"] = device
            log.info("this process has GPU %s of %s", device, ", ".join(devices))
            return device
        if not waited:
            log.info("all of the GPUs %s are taken; waiting for one", ", ".join(devices))
            waited = True
        time.sleep(_WAIT_SECONDS)


def _open(path: Path) -> int:
    """Open a lock file, which may belong to another user."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
    except PermissionError:  # in a shared folder even O_CREAT of another user's file may be refused
        return os.open(path, os.O_RDONLY)


def _processor() -> str:
    """Name of the processor, as the kernel tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def hardware(device: str = "cpu") -> str:
    """Return one line such as ``Intel Xeon, 2 cores`` or ``Intel Xeon, 16 cores; NVIDIA H200``."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    line = f"{_processor()}, {cores} core{'' if cores == 1 else 's'}"
    torch = sys.modules.get("torch")
    # torch is asked only where the run used it: importing it here would cost every control seconds.
    if torch is not None and device != "cpu" and torch.cuda.is_available():
        line += f"; {torch.cuda.get_device_name()}"
    return line
