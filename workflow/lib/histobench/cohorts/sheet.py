"""The table of a user's own cohort: one row per section, with the files that make it up.

Read while the workflow graph is built, so this module imports nothing heavy. Everything that is wrong is
collected, because a user who mends a table wants to hear it all at once.
"""

from __future__ import annotations

import csv
import difflib
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from histobench.encoding import decimal, read_utf8
from histobench.errors import UserError
from histobench.files import look_alike, path_trouble

REQUIRED = ("section", "patient", "image", "counts", "positions")
OPTIONAL = ("labels", "library", "scalefactors", "um_per_px")
FILES = ("image", "counts", "positions", "scalefactors", "labels", "barcodes", "features")
"""Kinds of files of a section; the last two lie beside counts in Matrix Market format and are not columns."""

LEGACY_ST, VISIUM, ANNDATA = "legacy_st", "visium", "anndata"

MATRIX_FILE = "filtered_feature_bc_matrix.h5"
MARKET_FILES = ("matrix.mtx.gz", "matrix.mtx")
POSITION_FILES = tuple(
    f"{name}{end}"
    for name in ("tissue_positions", "tissue_positions_list")
    for end in (".csv", ".csv.gz", ".parquet", ".txt")
)
"""Names under which Space Ranger and depositors keep the positions of spots."""
SCALE_FILE = "scalefactors_json.json"

_SECTION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+:-]*")
_PATIENT = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Finding:
    """Something wrong, or worth knowing, in one sentence: which file, where in it, what, and what to do."""

    file: str
    place: str
    text: str
    section: str = ""

    def __str__(self) -> str:
        """Say it as one sentence."""
        return ": ".join(part for part in (self.file, self.place, self.text) if part)


@dataclass
class Sheet:
    """What a table says.

    Attributes
    ----------
    sections
        Section -> patient, paths by kind, and ``um_per_px`` where declared. Only rows without a problem.
    rows
        (line, section, record) of all rows with files that can be looked into, problem or not.
    lines, patients
        Section -> line of the table; patient -> the first line that names it.
    problems
        Everything that is wrong.
    """

    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)
    patients: dict[str, int] = field(default_factory=dict)
    problems: list[Finding] = field(default_factory=list)


def layout_of(counts: str) -> str | None:
    """Tell the layout of a section by the name of its counts; None for a name of no known kind.

    ``.h5ad`` is AnnData, ``.h5``, ``.mtx`` (also gzipped) or a folder Visium, ``.tsv`` and ``.txt`` (also
    gzipped) legacy ST.
    """
    path = Path(counts)
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if suffix.lower() in (".tsv", ".txt"):
        return LEGACY_ST
    if suffix.lower() == ".h5ad":
        return ANNDATA
    return VISIUM if suffix.lower() in (".h5", ".mtx") or path.is_dir() else None


def section_options(options: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the reader's options for one section of the table, which may name its own ``library``."""
    return {**options, **({"library": record["library"]} if "library" in record else {})}


def read_sheet(path: str | Path, mirrors: Sequence[str | Path] = ()) -> Sheet:
    """Read the table of a cohort and find its files.

    Parameters
    ----------
    path
        Tab-separated, with the columns ``section``, ``patient``, ``image``, ``counts``, ``positions`` and
        optionally ``labels``, ``library`` (which section of an AnnData file with several), ``scalefactors``
        (Space Ranger's own are found beside the positions) and ``um_per_px``; lines that start with ``#`` are
        comments. Paths are absolute,
        or relative to the table's folder, or to one of the mirrors. ``image`` may be empty (no image), and so
        may ``positions`` where the counts hold or are beside them (AnnData, Visium folders).
    mirrors
        Folders in which files that are not beside the table are looked for.
    """
    path = Path(path)
    sheet = Sheet()
    rows = _rows(path, sheet)
    if not rows:
        return sheet
    columns = [name.strip() for name in rows[0][1]]
    if not _check_header(path, columns, sheet):
        return sheet
    folders = [path.parent, *map(Path, mirrors)]
    first_lines: dict[tuple[str, str, str], int] = {}
    for line, fields in rows[1:]:
        place = f"line {line}"
        if len(fields) != len(columns):
            text = (
                f"{len(fields)} fields, but the header names {len(columns)} columns; separate fields by "
                "single tabs, and leave empty ones empty."
            )
            sheet.problems.append(Finding(str(path), place, text))
            continue
        row = dict(zip(columns, (value.strip() for value in fields), strict=True))
        found = [Finding(str(path), place, text, row["section"]) for text in _names(row, sheet)]
        record, wrong = _record(row, folders)
        found += [Finding(str(path), place, text, row["section"]) for text in wrong]
        for kind in ("counts", "positions", "labels"):
            own = (kind, record.get(kind, ""), record.get("library", ""))
            if own[1] and own in first_lines:
                text = f"{kind} {row[kind]} are those of line {first_lines[own]}; name each section's own."
                found.append(Finding(str(path), place, text, row["section"]))
            first_lines.setdefault(own, line)
        sheet.problems += found
        sheet.lines.setdefault(row["section"], line)
        sheet.patients.setdefault(row["patient"], line)
        if not found:
            sheet.sections[row["section"]] = record
        if _readable(record):
            sheet.rows.append((line, row["section"] or f"line {line}", record))
    if not sheet.lines and not sheet.problems:
        sheet.problems.append(Finding(str(path), "", "names no section; add one line for each."))
    return sheet


def _rows(path: Path, sheet: Sheet) -> list[tuple[int, list[str]]]:
    """Return the lines of the table with their numbers, split at tabs."""
    try:
        text = read_utf8(path)
    except FileNotFoundError:
        sheet.problems.append(Finding(str(path), "", "no such table; correct the key `table`."))
        return []
    except OSError as error:
        sheet.problems.append(Finding(str(path), "", f"cannot be read ({error.strerror}); correct it."))
        return []
    except UserError as error:
        sheet.problems.append(Finding(str(path), "", str(error).removeprefix(f"{path}: ")))
        return []
    rows = csv.reader(text.split("\n"), delimiter="\t", quoting=csv.QUOTE_NONE)
    numbered = [(n, row) for n, row in enumerate(rows, start=1) if any(field.strip() for field in row)]
    numbered = [(n, row) for n, row in numbered if not row[0].startswith("#")]
    if not numbered:
        sheet.problems.append(Finding(str(path), "", "is empty; give a header and one line per section."))
    return numbered


def _check_header(path: Path, columns: Sequence[str], sheet: Sheet) -> bool:
    """Note missing, unknown and repeated columns; False if rows cannot be understood."""
    known = (*REQUIRED, *OPTIONAL)
    missing = [name for name in REQUIRED if name not in columns]
    if len(columns) == 1 and missing:
        separator = next(
            (name for sign, name in ((",", "commas"), (";", "semicolons")) if sign in columns[0]), ""
        )
        hint = f" (they look separated by {separator})" if separator else ""
        text = f"the header names one column, expected {', '.join(known)}, separated by tabs{hint}."
        sheet.problems.append(Finding(str(path), "line 1", text))
        return False
    for name in missing:
        text = f"column `{name}` is missing; add it to the header and to every line"
        text += ", empty where there is no image." if name == "image" else "."
        sheet.problems.append(Finding(str(path), "line 1", text))
    for name in [name for name in columns if name not in known]:
        near = difflib.get_close_matches(name, known, n=1)
        remedy = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}; remove it."
        sheet.problems.append(Finding(str(path), "line 1", f"unknown column `{name}`; {remedy}"))
    for name in sorted({name for name in columns if columns.count(name) > 1}):
        sheet.problems.append(Finding(str(path), "line 1", f"column `{name}` occurs twice; keep one."))
    return "section" in columns and "patient" in columns and len(set(columns)) == len(columns)


def _names(row: dict[str, str], sheet: Sheet) -> Iterable[str]:
    """Say what is wrong with the section's and the patient's name."""
    section, patient = row["section"], row["patient"]
    if not section:
        yield "section is empty; name the section."
    elif not _SECTION.fullmatch(section):
        yield f'section "{section}" becomes a file name; use letters, digits, _, ., :, + and - only.'
    elif section in sheet.lines:
        first = sheet.lines[section]
        yield f"section {section} stands already in line {first}; give every section its own name."
    elif alike := look_alike(section, sheet.lines):
        yield f"section {section} looks like {alike} of line {sheet.lines[alike]}; give it another name."
    if not patient:
        yield "patient is empty; name the patient, as all sections of one patient must stay together."
    elif not _PATIENT.fullmatch(patient):
        yield f'patient "{patient}" becomes a file name; use letters, digits, _ and - only.'
    elif alike := look_alike(patient, sheet.patients, zeros=False):
        line = sheet.patients[alike]
        yield f"patient {patient} looks like {alike} of line {line}; write one patient alike in all lines."


def _record(row: dict[str, str], folders: Sequence[Path]) -> tuple[dict[str, Any], list[str]]:
    """Turn a row into the section's settings; the second value says what is wrong."""
    record: dict[str, Any] = {"patient": row["patient"]}
    wrong = []
    if value := row.get("um_per_px", ""):
        scale = decimal(value)
        if scale is None or not 0 < scale < math.inf:
            wrong.append(f'um_per_px is "{value}", expected a positive number; correct it or leave it empty.')
        else:
            record["um_per_px"] = scale
    if value := row.get("library", ""):
        record["library"] = value
    for kind in FILES:
        value = row.get(kind, "")
        if not value:
            continue
        path = _find(value, folders)
        if path is None:
            where = " or ".join(str(folder) for folder in folders)
            hint = "" if Path(value).is_absolute() else f" in {where}"
            wrong.append(f"{kind} names {value}, which does not exist{hint}; correct the path.")
        elif trouble := path_trouble(str(path)):
            wrong.append(f"{kind} names {path}, which {trouble}.")
        else:
            record[kind] = str(path)
    if not row.get("counts", ""):
        if "counts" in row:
            wrong.append("counts is empty; name the file with the section's counts.")
        return record, wrong
    if "counts" in record:
        wrong += _fit_layout(row, record)
    return record, wrong


def _fit_layout(row: dict[str, str], record: dict[str, Any]) -> list[str]:
    """Turn folders into the files in them, and see that the layout has what it needs."""
    wrong = _find_matrix(row, record)
    if wrong:
        return wrong
    layout = layout_of(record["counts"])
    if layout is None:
        return [
            f"counts names {row['counts']}, whose layout cannot be told; expected a table (.tsv, .tsv.gz), a "
            "Space Ranger folder or its .h5, or an AnnData file (.h5ad)."
        ]
    if layout == VISIUM:
        counts = Path(record["counts"])
        market = counts.name.startswith("matrix.mtx") and not (counts.parent / "spatial").is_dir()
        folder = counts.parent.parent if market else counts.parent
        given = Path(record["positions"]) if "positions" in record else folder / "spatial"
        if not given.is_file() and (not row.get("positions") or "positions" in record):
            places = [base / name for base in (given, given / "spatial") for name in POSITION_FILES]
            place = next((place for place in places if place.is_file()), None)
            if place is None:
                wrong.append(
                    f"{given} holds none of {', '.join(POSITION_FILES)}; name the file under positions."
                )
            else:
                record["positions"] = str(place)
        beside = Path(record.get("positions", folder)).parent / SCALE_FILE
        if beside.is_file():
            record.setdefault("scalefactors", str(beside))
    elif layout == LEGACY_ST and "positions" in row and not row["positions"]:
        wrong.append("positions is empty, but a table of counts has none; name the spot file.")
    elif layout == ANNDATA and record.pop("positions", None):
        wrong.append("positions is given, but an AnnData file holds its own; leave it empty.")
    if layout != ANNDATA and "library" in record:
        wrong.append("library is given, but only AnnData files hold several sections; leave it empty.")
    for kind in ("counts", "image", "labels", "positions", "scalefactors"):
        if kind in record and Path(record[kind]).is_dir():
            wrong.append(f"{kind} names the folder {row[kind]}, expected a file; name the file in it.")
    return wrong


def _find_matrix(row: dict[str, str], record: dict[str, Any]) -> list[str]:
    """Put the file with the counts in the place of a folder that the table names."""
    folder = Path(record["counts"])
    if not folder.is_dir():
        if folder.name.startswith("matrix.mtx"):
            record |= _beside(folder)
        return []
    named = f"counts names the folder {row['counts']}"
    if folder.suffix == ".zarr":
        table = (
            "spatialdata.read_zarr(...).tables['table']"
            if (folder / "tables").is_dir()
            else "anndata.read_zarr(...)"
        )
        return [f"{named}, a Zarr store; write it as one file by {table}.write_h5ad('{folder.stem}.h5ad')."]
    # Space Ranger's own folder may be given, or the one above it
    for place in (folder, folder / "outs"):
        tables = [place / MATRIX_FILE, *sorted(place.glob(f"*{MATRIX_FILE}"))] if place.is_dir() else []
        tables = [table for table in dict.fromkeys(tables) if table.is_file() and table.name[0] != "."]
        if len(tables) > 1 and tables[0].name != MATRIX_FILE:
            return [f"{named}, which holds {tables[0].name} and {tables[1].name}; name one of them."]
        market = [
            inner / name for inner in (place, place / "filtered_feature_bc_matrix") for name in MARKET_FILES
        ]
        found = [table for table in [*tables, *market, place / "raw_feature_bc_matrix.h5"] if table.is_file()]
        if found:
            record["counts"] = str(found[0])
            if found[0] in market:
                record |= _beside(found[0])
            return []
    binned = sorted(folder.glob("**/binned_outputs/square_*")) or sorted(folder.glob("square_*"))
    if binned:
        return [f"{named}, which holds bins of several sizes; name one of them, such as {binned[-1]}."]
    return [
        f"{named}, which holds no {MATRIX_FILE}; add it, or name the file or folder with the counts "
        "(matrix.mtx.gz with barcodes and features beside it is read too)."
    ]


def _beside(matrix: Path) -> dict[str, str]:
    """Files that belong to counts in Matrix Market format."""
    kinds = {"barcodes": ("barcodes.tsv",), "features": ("features.tsv", "genes.tsv")}
    found = {}
    for kind, names in kinds.items():
        places = [matrix.parent / f"{name}{end}" for name in names for end in (".gz", "")]
        if place := next((place for place in places if place.is_file()), None):
            found[kind] = str(place)
    return found


def _readable(record: dict[str, Any]) -> bool:
    """Whether counts and positions are there, so that a section can be looked into."""
    counts = record.get("counts", "")
    layout = layout_of(counts) if counts and Path(counts).is_file() else None
    return layout is not None and (layout == ANNDATA or Path(record.get("positions", "")).is_file())


def _find(value: str, folders: Sequence[Path]) -> Path | None:
    """Return the absolute path of a file or folder that the table names."""
    places = [Path(value)] if Path(value).is_absolute() else [folder / value for folder in folders]
    place = next((place for place in places if place.exists()), None)
    return Path(os.path.normpath(place.absolute())) if place is not None else None


def pitch_missing(sheet: Sheet, cohort: Mapping[str, Any], where: str) -> list[str]:
    """Say that ``pitch_um`` is missing where a section's layout needs it; Visium's is a constant."""
    legacy = [section for _, section, record in sheet.rows if layout_of(record["counts"]) == LEGACY_ST]
    if "pitch_um" in cohort or not legacy:
        return []
    return [
        f"{where}: the key `pitch_um` is missing, the distance of neighbouring spots in micrometres, which "
        f"section {legacy[0]} needs; add it (200 for legacy Spatial Transcriptomics arrays)."
    ]


def local_sections(
    path: str | Path,
    mirrors: Sequence[str | Path] = (),
    *,
    cohort: Mapping[str, Any] | None = None,
    where: str = "",
) -> dict[str, dict[str, Any]]:
    """Read a table whose sections a run uses.

    Parameters
    ----------
    path, mirrors
        See :func:`read_sheet`.
    cohort, where
        The cohort's settings, which must hold what the sections need, and their file, for messages.

    Raises
    ------
    UserError
        Something is wrong; names the first problem and how many more there are.
    """
    sheet = read_sheet(path, mirrors)
    if cohort is not None and (missing := pitch_missing(sheet, cohort, where)):
        raise UserError(missing[0])
    if sheet.problems:
        more = len(sheet.problems) - 1
        hint = (
            f" ({more} more problems: run `histobench check-cohort` on the cohort's YAML file)"
            if more
            else ""
        )
        raise UserError(f"{sheet.problems[0]}{hint}")
    return sheet.sections
