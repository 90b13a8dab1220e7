"""Names of stain treatments: by which method sections are normalised, and whose fit of it.

A name is what files and variants of patches bear: `raw`, a method, or a method and who fits it
(`vahadane_staintools`). Imports nothing, because the workflow asks it while its graph is built.
"""

from __future__ import annotations

METHODS = ("vahadane", "macenko")
NORMALISED = (*METHODS, *(f"{method}_staintools" for method in METHODS))
DEFAULT = "vahadane"
"""The treatment whose fits the report shows, and which lie in a cohort's stain folder itself."""


def stain_name(stain: str, fit: str = "own") -> str:
    """Return the name of a stain treatment from ``patches.stain`` and ``patches.fit``."""
    return stain if fit == "own" else f"{stain}_{fit}"


def split_name(name: str) -> tuple[str, str]:
    """Return method and fit of a treatment that normalises."""
    method, _, fit = name.partition("_")
    return method, fit or "own"


def stain_file(name: str, section: str) -> str:
    """Return where a section's fit lies below a cohort's stain folder."""
    return f"{section}.json" if name == DEFAULT else f"{name}/{section}.json"
