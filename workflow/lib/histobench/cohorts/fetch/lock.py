"""The data lock: for every raw file where it comes from and how to know that it is the right one.

Read while the workflow graph is built, so this module imports nothing heavy.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from histobench.encoding import read_utf8
from histobench.errors import UserError

COLUMNS = ("source", "file", "urls", "size", "sha256", "licence", "citation")
STATED = "stated"
"""Last column, which may be left out: who states size and checksum, and when that was asked."""
UNKNOWN = "unknown"
WEIGHTS = "weights"
"""The source of published weights of networks: no archive, but files of many publishers."""
_CHUNK = 1 << 20
PREFIX = "sha256-prefix"
"""Kind of a checksum of which the first digits alone are stated, until a first download completes it."""
_KINDS = {"sha256": "{64}", "md5": "{32}", "git": "{40}", PREFIX: "{8,63}"}


def weights_path(file: str) -> str:
    """Return where a run keeps a file of published weights."""
    return f"results/data/{WEIGHTS}/raw/{file}"


@dataclass(frozen=True)
class LockedFile:
    """One row of the data lock.

    Attributes
    ----------
    source, file
        The archive, and the path of the file in its published layout.
    urls
        Where to get it, in order of preference.
    size
        Bytes; None where not known.
    checksum
        64 hexadecimal digits (sha256), ``md5:...``, ``git:...`` (the object name in a git repository, which
        identifies the content like a checksum), ``sha256-prefix:`` with its first digits, or ``unknown``.
    licence, citation
        Of the data.
    stated
        Who states size and checksum, and when that was asked; or who would be asked.
    """

    source: str
    file: str
    urls: tuple[str, ...]
    size: int | None
    checksum: str
    licence: str
    citation: str
    stated: str = ""


def load_lock(path: str | Path) -> dict[tuple[str, str], LockedFile]:
    """Read ``data_lock.tsv``: (source, file) -> row, in the order of the file.

    Raises
    ------
    UserError
        The file is missing, or a row is malformed or repeated; names the line.
    """
    path = Path(path)
    try:
        lines = read_utf8(path).splitlines()
    except FileNotFoundError:
        raise UserError(f"{path}: the data lock is missing; restore it from the repository.") from None
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read as the data lock ({error.strerror}); name the file itself."
        ) from error
    rows = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows or tuple(rows[0]) not in (COLUMNS, (*COLUMNS, STATED)):
        raise UserError(f"{path}: line 1 must hold the columns {', '.join(COLUMNS)}, separated by tabs.")
    lock: dict[tuple[str, str], LockedFile] = {}
    for line, fields in enumerate(rows[1:], start=2):
        if not any(fields):
            continue
        entry = _entry(fields, f"{path}: line {line}")
        key = (entry.source, entry.file)
        if key in lock:
            raise UserError(
                f"{path}: line {line}: file {entry.file} of {entry.source} occurs twice; keep one."
            )
        lock[key] = entry
    return lock


def _entry(fields: list[str], place: str) -> LockedFile:
    if len(fields) not in (len(COLUMNS), len(COLUMNS) + 1):
        raise UserError(
            f"{place} has {len(fields)} fields, expected {len(COLUMNS)} separated by tabs "
            f"({', '.join(COLUMNS)})."
        )
    row = dict(zip((*COLUMNS, STATED), (field.strip() for field in [*fields, ""]), strict=False))
    relative = Path(row["file"])
    if not row["source"] or not row["file"] or relative.is_absolute() or ".." in relative.parts:
        raise UserError(f"{place}: source and file must be given, and file be a path inside the source.")
    size = None if row["size"] == UNKNOWN else told_number(row["size"])
    if row["size"] != UNKNOWN and size is None:
        raise UserError(f'{place}: size is "{row["size"]}", expected a number of bytes or "{UNKNOWN}".')
    urls = tuple(row["urls"].split())
    for url in urls:
        if not url.startswith(("https://", "http://")):
            raise UserError(f'{place}: "{url}" is no http(s) address.')
    checksum = row["sha256"].lower()
    try:
        split_checksum(checksum)
    except ValueError:
        raise UserError(
            f'{place}: checksum "{row["sha256"]}" is malformed, expected 64 hexadecimal digits (sha256), '
            f'md5: and 32, git: and 40, {PREFIX}: and at least 8, or "{UNKNOWN}".'
        ) from None
    return LockedFile(
        row["source"], row["file"], urls, size, checksum, row["licence"], row["citation"], row[STATED]
    )


def split_checksum(checksum: str) -> tuple[str, str]:
    """Split a checksum into its kind and its digits ("" if unknown)."""
    if checksum == UNKNOWN:
        return UNKNOWN, ""
    kind, _, digits = checksum.rpartition(":")
    kind = kind or "sha256"
    if kind not in _KINDS or not re.fullmatch(f"[0-9a-f]{_KINDS[kind]}", digits):
        raise ValueError(f"malformed checksum {checksum!r}")
    return kind, digits


def checksum_of(path: str | Path, kind: str = "sha256") -> str:
    """Compute a file's checksum, written as in the data lock (``sha256``, ``md5`` or ``git``)."""
    if kind in ("sha256", PREFIX):
        digest = hashlib.sha256()
    elif kind == "md5":
        digest = hashlib.md5(usedforsecurity=False)
    elif kind == "git":  # git names a file by the SHA-1 of its type, size and content
        digest = hashlib.sha1(b"blob %d\0" % Path(path).stat().st_size, usedforsecurity=False)
    else:
        raise ValueError(f"unknown kind of checksum {kind!r}")
    for chunk in _chunks(path):
        digest.update(chunk)
    return digest.hexdigest() if kind in ("sha256", PREFIX) else f"{kind}:{digest.hexdigest()}"


def agrees(found: str, wanted: str) -> bool:
    """Whether a file's checksum is the wanted one, or begins with the digits that are known of it.

    Checksums of two kinds do not contradict each other.
    """
    (kind, digits), (other, expected) = split_checksum(found), split_checksum(wanted)
    if {kind, other} == {"sha256", PREFIX}:
        shorter, longer = sorted((digits, expected), key=len)
        return longer.startswith(shorter)
    return kind != other or digits == expected


def _chunks(path: str | Path) -> Iterator[bytes]:
    with Path(path).open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


@dataclass(frozen=True)
class Missing:
    """What a download would have to fetch: files, bytes, and files of which the size is not known."""

    files: int
    bytes: int
    unknown_size: int

    def __str__(self) -> str:
        """Say it in words."""
        if not self.files:
            return "nothing is missing"
        unknown = f", and {self.unknown_size} of them of unknown size" if self.unknown_size else ""
        return f"{self.files} files are missing: {self.bytes / 1e6:.1f} MB{unknown}"


def missing(entries: Iterable[LockedFile], folder: str | Path) -> Missing:
    """Say what of ``entries`` is not yet in ``folder/{source}/raw``; looks at sizes, not at contents."""
    files = size = unknown = 0
    for entry in entries:
        path = Path(folder) / entry.source / "raw" / entry.file
        if path.is_file() and entry.size in (None, path.stat().st_size):
            continue
        files += 1
        size += entry.size or 0
        unknown += entry.size is None
    return Missing(files, size, unknown)


def told_number(text: str) -> int | None:
    """Return a number that a server states, or None where it is none that could be true."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None
