"""Seeds that depend on what is run, not on when or where."""

from __future__ import annotations

import hashlib


def seed_for(*parts: object) -> int:
    """Return a 31-bit seed that is a stable function of ``parts``.

    ``seed_for(experiment, method, fold, seed)`` gives the same number on every machine and in every
    process, and unrelated numbers for neighbouring seeds.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
