"""Where results come from: code, configuration, data, environment and hardware."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from histobench.devices import hardware
from histobench.files import noted_checksum, read_table, sha256, write_json
from histobench.software import installed_version, installed_versions
from histobench.training.record import read_records


def code_version(project: str | Path) -> dict[str, str]:
    """Return the package version and, in a git checkout, commit and whether files differ from it."""
    record = {"histobench": _own_version(Path(project))}
    described = _git(project, "describe", "--always", "--tags", "--dirty", "--abbrev=12")
    record["git"] = described or "not a git checkout"
    if commit := _git(project, "rev-parse", "HEAD"):
        record["commit"] = commit
    return record


def _own_version(project: Path) -> str:
    """Return the version that pyproject.toml declares: the code that ran, installed or not."""
    declared = project / "pyproject.toml"
    if declared.is_file():
        return str(
            tomllib.loads(declared.read_text(encoding="utf-8")).get("project", {}).get("version", "unknown")
        )
    return installed_version("histobench")


def _git(project: str | Path, *arguments: str) -> str:
    try:
        answer = subprocess.run(
            ["git", "-C", str(project), *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def hash_of(value: Any) -> str:
    """Return the SHA-256 of a configuration; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def data_hashes(sections: Mapping[str, str | Path], lock: str | Path | None) -> dict[str, Any]:
    """Return one hash per cohort over its raw files' hashes, with the files behind it, and that of the lock.

    Parameters
    ----------
    sections
        Table of sections by cohort; its columns ``sha256_*`` are the hashes of the raw files.
    lock
        The file of expected checksums.
    """
    cohorts: dict[str, Any] = {}
    for cohort, path in sorted(sections.items()):
        if not Path(path).is_file():
            cohorts[cohort] = {"missing": f"{path} does not exist"}
            continue
        table = read_table(path, dtype=str).sort_values("section")
        keys = [str(column) for column in table.columns if str(column).startswith("sha256_")]
        files = {
            row["section"]: {key: row[key] for key in keys if row[key] == row[key]}
            for row in table.to_dict("records")
        }
        cohorts[cohort] = {"sha256": hash_of(files), "sections": files}
    record: dict[str, Any] = {"cohorts": cohorts}
    if lock:
        record["lock_sha256"] = sha256(lock) if Path(lock).is_file() else f"{lock} does not exist"
    return record


def machine() -> dict[str, Any]:
    """Return what the machine is that this runs on: system, processor, cores, accelerator, memory."""
    record: dict[str, Any] = {
        "hardware": hardware("auto"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        record["memory_gb"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    return record


def write_provenance(
    output: str | Path,
    *,
    project: str | Path,
    configuration: Mapping[str, Any],
    sections: Mapping[str, str | Path],
    runs: Sequence[str | Path] = (),
    weights: Mapping[str, Mapping[str, Any]] | None = None,
    data_lock: str | Path | None = None,
    environment_lock: str | Path | None = None,
    date: str | None = None,
) -> None:
    """Write the provenance record of a run; equal circumstances give equal bytes.

    Parameters
    ----------
    output
        The JSON file.
    project
        Root of the checkout.
    configuration
        The merged configuration; stored whole beside its hash.
    sections
        Table of sections by cohort.
    runs
        Files of :func:`histobench.training.record.collect_records`; the hardware strings in them are
        collected, because models may have been trained elsewhere than where the report is made.
    weights
        Published weights that the run read, by file or PACKAGE:FILE, with their ``licence`` and who uses
        them; the checksum of each file is added.
    data_lock, environment_lock
        Checksums of raw files; the pinned packages.
    date
        Stored as it is, where given.
    """
    lock = Path(environment_lock) if environment_lock else None
    record: dict[str, Any] = {
        "code": code_version(project),
        "configuration": {
            "sha256": hash_of(configuration),
            "content": json.loads(json.dumps(configuration, default=str)),
        },
        "data": data_hashes(sections, data_lock),
        "weights": {
            place: {"sha256": noted_checksum(place) if Path(place).is_file() else "not here", **facts}
            for place, facts in (weights or {}).items()
        },
        "environment": {
            "python": platform.python_version(),
            "packages": {**installed_versions(), "snakemake": installed_version("snakemake")},
            "lock_sha256": sha256(lock) if lock and lock.is_file() else "no lock file",
        },
        "hardware": {"report": machine(), "training": training_hardware(runs)},
    }
    if date:
        record["date"] = date
    write_json(record, output)


def training_hardware(runs: Sequence[str | Path]) -> dict[str, int]:
    """Return how many trainings ran on which hardware, from files of their records."""
    counts: dict[str, int] = {}
    for record in read_records([path for path in runs if Path(path).is_file()]):
        stored = record.get("hardware", "not recorded")
        text = stored if isinstance(stored, str) else json.dumps(stored, sort_keys=True)
        counts[text] = counts.get(text, 0) + 1
    return dict(sorted(counts.items()))
