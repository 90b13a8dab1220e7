"""Telling a data file from an error page by its first bytes."""

from __future__ import annotations

import re
from pathlib import Path, PurePath

HEAD_BYTES = 512

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SIGNATURES: dict[str, tuple[bytes, ...]] = {
    ".gz": (b"\x1f\x8b",),
    ".tgz": (b"\x1f\x8b",),
    ".zip": (b"PK",),
    ".xlsx": (b"PK",),
    ".jpg": (b"\xff\xd8\xff",),
    ".jpeg": (b"\xff\xd8\xff",),
    ".png": (b"\x89PNG\r\n\x1a\n",),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".svs": _TIFF,
    ".h5": (b"\x89HDF\r\n\x1a\n",),
    ".h5ad": (b"\x89HDF\r\n\x1a\n",),
    ".ndpi": _TIFF,
    ".xz": (b"\xfd7zXZ\0",),
    ".txz": (b"\xfd7zXZ\0",),
    ".bz2": (b"BZh",),
    ".parquet": (b"PAR1",),
    ".npy": (b"\x93NUMPY",),
    ".npz": (b"PK",),
}
_MARKUP = re.compile(rb"<[!?/a-z]", re.IGNORECASE)  # no table begins with a tag
_MARKUP_FILES = {".html", ".htm", ".xml", ".svg"}


def unexpected_content(head: bytes, name: str) -> str:
    """Say what is wrong if a file called ``name`` cannot begin with ``head``; "" if it can.

    Servers and log-in portals send pages and JSON messages with status 200, and git hosts send a pointer
    instead of a large file; the name tells what was wanted.
    """
    suffix = PurePath(name).suffix.lower()
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:HEAD_BYTES]
    start = text[:60].decode("utf-8", "replace").split("\n")[0].strip()
    if not head:
        return "it is empty"
    if text.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file itself"
    if suffix not in _MARKUP_FILES and _MARKUP.match(text):
        return f'it is a web page, not the file (it starts with "{start}")'
    signatures = _SIGNATURES.get(suffix)
    if text[:1] in (b"{", b"[") and suffix not in (".json", ".geojson"):
        return f'it is a JSON message, not the file (it starts with "{start}")'
    if signatures and not head.startswith(signatures):
        return f"its content is not that of a {suffix} file"
    return ""


def strange_file(path: str | Path) -> str:
    """Say that a file is empty, or what it is where that cannot be what its name says."""
    try:
        with Path(path).open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError:  # whoever wants to read the file says so
        return ""
    return unexpected_content(head, PurePath(path).name) if head else "the file is empty"
