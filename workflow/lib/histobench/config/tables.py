"""Sections that a table or a manifest lists, beside the YAML file of their cohort."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from histobench.encoding import decimal, read_utf8
from histobench.errors import UserError

# Approved gene symbols, which every cohort of a user's own is checked against.
SYMBOLS = "resources/hgnc_ensembl_symbol.tsv.gz"
# The one reader of cohorts whose table names files of this machine.
TABLE_READER = "histobench.cohorts.readers.table_cohort:read_section"


def slide_manifest(path: Path) -> dict[str, dict[str, Any]]:
    """Read a manifest of the Genomic Data Commons: slide -> patient, file names and sample type."""
    from histobench.cohorts.fetch.gdc import read_manifest as read_gdc
    from histobench.cohorts.fetch.gdc import slide_sections

    return {name: dict(record) for name, record in slide_sections(read_gdc(path)).items()}


def read_sections(path: Path) -> dict[str, dict[str, Any]]:
    """Read a table of sections: name -> the other columns, empty fields left out.

    Parameters
    ----------
    path
        Tab-separated, with the columns ``section``, ``patient`` and any others; lines that start with ``#``
        are comments. ``um_per_px`` is a number, everything else text.

    Raises
    ------
    UserError
        The file or a column is missing, or a line is malformed or repeats a section; names the line.
    """
    try:
        text = read_utf8(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such table; correct the path under `table`.") from None
    lines = [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line and line[0] != "#"]
    header = lines[0][1].split("\t") if lines else []
    for column in ("section", "patient"):
        if column not in header:
            raise UserError(f"{path}: column `{column}` is missing in the header; add it (tab-separated).")
    if twice := sorted({column for column in header if header.count(column) > 1}):
        raise UserError(f"{path}: the header names the column `{twice[0]}` twice; keep one.")
    sections: dict[str, dict[str, Any]] = {}
    for number, line in lines[1:]:
        fields = line.split("\t")
        if len(fields) != len(header):
            raise UserError(
                f"{path}: line {number} has {len(fields)} fields, but the header names {len(header)} columns."
            )
        record: dict[str, Any] = {key: value for key, value in zip(header, fields, strict=True) if value}
        section = record.pop("section", "")
        if not section or "patient" not in record:
            raise UserError(f"{path}: line {number}: section and patient must be given; fill them in.")
        if section in sections:
            raise UserError(f"{path}: line {number}: section {section} occurs twice; keep one line.")
        if (scale := decimal(record.get("um_per_px"))) is not None:
            record["um_per_px"] = scale
        sections[section] = record
    return sections


def check_local(cohort: Mapping[str, Any], where: str) -> list[str]:
    """Say which keys of a cohort with ``origin: local`` mean nothing together, one sentence each."""
    if cohort["origin"] != "local":
        return [f"{where}: a cohort of your own needs `origin: local`; add it."]
    if not cohort["table"]:
        return [f"{where}: `origin: local` needs `table`; name the table of your sections."]
    taken = [key for key in ("files", "sections") if cohort[key]]
    return [
        f"{where}: `{key}` is not used with `table`, which names files and sections; remove it."
        for key in taken
    ]


def complete_local(
    cohort: dict[str, Any], folder: Path, where: str, mirrors: Mapping[str, Iterable[str]]
) -> None:
    """Fill in sections and files of a cohort whose table names files of this machine.

    Parameters
    ----------
    cohort
        Its settings, with defaults; changed.
    folder
        Where a relative path of the table starts.
    where
        The cohort's file, for messages.
    mirrors
        Folders by source; files that do not lie beside the table are looked for in those of this source.

    Raises
    ------
    UserError
        Keys contradict each other, or the table is wrong.
    """
    from histobench.cohorts.sheet import FILES, local_sections

    wrong = check_local(cohort, where)
    if wrong:
        raise UserError(wrong[0])
    cohort["sections"] = local_sections(
        folder / cohort["table"], list(mirrors.get(cohort["source"], ())), cohort=cohort, where=where
    )
    cohort["files"] = {kind: f"{{{kind}}}" for kind in FILES}
    cohort["resources"].setdefault("symbols", SYMBOLS)
