"""GPUs of this machine: which there are, and one process on each.

Snakemake counts GPUs (``--resources gpu=N``) but does not say which of them a job gets, so jobs that run at
the same time would all take the first. A lock file for every device settles that, also between two runs. On a
cluster the scheduler shows a job only its own devices.
"""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
import time
from pathlib import Path

log = logging.getLogger(__name__)

_DRIVER = Path("/proc/driver/nvidia/gpus")
_WAIT_SECONDS = 0.5

# Locks last as long as their file is open: until the process ends, however it ends.
_held: list[int] = []


def visible_devices() -> list[str]:
    """Return the GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES would give them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return [str(number) for number in range(len(list(_DRIVER.glob("*"))))]
    names = [name.strip() for name in named.split(",") if name.strip()]
    return names[: names.index("-1")] if "-1" in names else names  # CUDA ignores all from -1 on


def claim_device(folder: str | Path | None = None) -> str | None:
    """Take one of several GPUs for this process alone and hide the others from it; waits for a free one.

    Must run before CUDA is used. With one GPU there is nothing to choose, and without any nothing to take.

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
    locks = {device: _open(place / f"histobench-gpu-{device}.lock") for device in devices}
    waited = False
    while True:
        for device, lock in locks.items():
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
