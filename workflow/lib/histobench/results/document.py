"""The reference page of results and the README's table, made from the catalogue."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from histobench.errors import UserError
from histobench.results.catalogue import (
    ACROSS,
    BRANCH,
    ENCODERS,
    EXPERIMENT,
    FILES,
    PAPER,
    SLIDES,
    Entry,
    catalogue,
)
from histobench.results.columns import TYPES

_INTRODUCTION = """\
<!-- Made by `make docs` from workflow/lib/histobench/results; edit the declarations there. -->

# Results

Every file of a run, and what its columns mean. Paths are below the folder of results; `{experiment}` is an
experiment or a branch (`EXPERIMENT/external/COHORT`), `{method}` a method (`METHOD.seed3`: another seed).
Tables are tab-separated with a header, a missing value is an empty field; large ones are Parquet. From
Python, `histobench.open("results")` finds and reads them ([notebook.md](notebook.md)); what writes or reads a
table checks it against this page.
"""
_GROUPS: tuple[tuple[str, Sequence[Entry]], ...] = (
    ("Tables of an experiment", EXPERIMENT),
    ("Of an experiment that repeats a paper's protocol", PAPER),
    ("Of an experiment that compares encoders", ENCODERS),
    ("Of a branch on another cohort", BRANCH),
    ("Of a cohort of slides", SLIDES),
    ("Across experiments", ACROSS),
    ("Other files", FILES),
)
BEGIN, END = "<!-- results: made by `make docs` -->", "<!-- results end -->"
"""What encloses the table in the README."""


def document(project: Path) -> str:
    """Return the page."""
    lines = [_INTRODUCTION]
    for heading, entries in _GROUPS:
        lines += [f"## {heading}", ""]
        for entry in entries:
            lines += [f"### {entry.title}", "", f"`{entry.path}`", "", entry.caption, ""]
            if entry.columns:
                lines += ["| column | type | unit | meaning |", "|---|---|---|---|"]
                lines += [
                    f"| `{column.name}` | {TYPES[column.type]} | {column.unit} | {_cell(column.meaning)} |"
                    for column in entry.columns
                ]
                lines.append("")
            if entry.more:
                lines += [f"Further columns: {entry.more}.", ""]
    return "\n".join(lines).rstrip() + "\n"


def readme(project: Path) -> str:
    """Return the README with its table of results made anew.

    Raises
    ------
    UserError
        The README has no place for the table.
    """
    path = project / "README.md"
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{path}: the lines {BEGIN} and {END} are missing; put them where the table belongs.")
    rows = [
        f"| `{_plain(entry.path)}` | {_cell(entry.brief)} |" for entry in catalogue().values() if entry.brief
    ]
    table = "\n".join(["| path below `results/` | what |", "|---|---|", *rows])
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def _plain(path: str) -> str:
    """Write placeholders in capitals."""
    return re.sub(r"\{(\w+)\}", lambda found: found[1].upper(), path)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
