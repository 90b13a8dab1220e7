"""What the report shows of an experiment, written down between its results and the page.

The manifest names every file with its checksum: a result that changes changes the manifest, and with it the
report, which depends on a file per experiment instead of on thousands.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from histobench.files import atomic_path, read_json, sha256


def write_manifest(files: Iterable[str], shown: Mapping[str, Any], output: str | Path) -> None:
    """Write the manifest of an experiment or branch.

    Parameters
    ----------
    files
        Every file that the report shows of it.
    shown
        Its entry among the ``experiments`` of :func:`histobench.report.page.write_report`.
    output
        JSON: ``files`` (path -> SHA-256) and ``shown``, whose order is that of the page.
    """
    listed = {file: sha256(file) for file in sorted(set(files))}
    text = json.dumps({"files": listed, "shown": dict(shown)}, indent=1)
    with atomic_path(output) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_manifests(paths: Mapping[str, str | Path]) -> dict[str, Any]:
    """Return what the report shows of each experiment, from its manifest."""
    return {name: read_json(path)["shown"] for name, path in paths.items()}
