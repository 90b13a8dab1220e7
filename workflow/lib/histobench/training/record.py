"""What a run leaves behind about itself: versions, hardware, memory."""

from __future__ import annotations

import contextlib
import json
import platform
import resource
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from histobench.files import atomic_path, read_json

_PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "torchvision", "anndata")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide numbers."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _host_peak_mb() -> float:
    """Largest memory in MB that this process has held since it began to run its program.

    On Linux ``ru_maxrss`` does not measure that: a new program inherits the peak of the process that started
    it, so that a small job of a large parent would report the parent.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def forget_peak() -> None:
    """Measure peak memory from here on, for the next method of a process; only Linux can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def peak_memory() -> dict[str, float]:
    """Return peak memory of this process in MB: host, and device where torch used one."""
    peak = {"peak_memory_mb": _host_peak_mb()}
    torch = sys.modules.get("torch")
    used = torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized()
    peak["device_peak_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20 if torch and used else 0.0
    return {name: round(value, 1) for name, value in peak.items()}


def json_ready(value: Any) -> Any:
    """Return ``value`` with NumPy scalars as plain numbers and NaN as None, so that JSON can hold it."""
    if isinstance(value, dict):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def collect_records(runs: Iterable[str | Path], output: str | Path) -> None:
    """Write what trainings say of themselves into one file, a line each.

    Whoever wants to know how an experiment was trained reads one file instead of thousands.

    Parameters
    ----------
    runs
        ``run.json`` of each training.
    output
        JSON: a list of their contents, in the order given.
    """
    lines = [json.dumps(read_json(run), sort_keys=True) for run in runs]
    with atomic_path(output) as temporary:
        temporary.write_text("[" + ",\n".join(lines) + "]\n", encoding="utf-8")


def read_records(files: Sequence[str | Path]) -> list[dict[str, Any]]:
    """Return the records of trainings from files of :func:`collect_records`, each training once.

    Branches to other cohorts tell of the trainings of their experiment, too.
    """
    found = {
        (record.get("experiment"), record.get("method"), record.get("fold")): record
        for file in files
        for record in read_json(file)
    }
    return list(found.values())
