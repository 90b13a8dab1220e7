"""Manifests of the NCI Genomic Data Commons (GDC): which slides and expression files, of which patients.

A manifest fixes the files, so that a run does not depend on what the GDC lists that day. Read while the
workflow graph is built, so this module imports nothing heavy.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from histobench.cohorts.fetch.lock import LockedFile
from histobench.encoding import read_utf8
from histobench.errors import UserError

COLUMNS = ("id", "filename", "md5", "size", "state", "patient", "sample_type")
FILES_URL = "https://api.gdc.cancer.gov/files"
DATA_URL = "https://api.gdc.cancer.gov/data/"
PRIMARY = "Primary Tumor"

_FIELDS = (
    "file_id",
    "file_name",
    "md5sum",
    "file_size",
    "state",
    "cases.submitter_id",
    "cases.samples.sample_type",
)
_FILTERS: Mapping[str, Mapping[str, str]] = {
    # "Tissue Slide" is a frozen section beside the piece that was sequenced; "Diagnostic Slide" is not.
    "slides": {
        "data_type": "Slide Image",
        "experimental_strategy": "Tissue Slide",
        "data_format": "SVS",
    },
    "counts": {
        "data_category": "Transcriptome Profiling",
        "data_type": "Gene Expression Quantification",
        "experimental_strategy": "RNA-Seq",
        "analysis.workflow_type": "STAR - Counts",
    },
}
PORTAL_COLUMNS = COLUMNS[:5]
"""Of the manifest that the GDC's portal gives out, and that its own client reads."""

# The two digits after the patient in a barcode, in the GDC's words; other codes are no solid tissue.
_SAMPLE_TYPES = {
    "01": PRIMARY,
    "02": "Recurrent Tumor",
    "06": "Metastatic",
    "11": "Solid Tissue Normal",
}
_PATIENT = re.compile(r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}")
_FROZEN = re.compile(r"(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}-\d{2}[A-Z]-\d{2}-(?:TS|BS|MS)[A-Z0-9]*)\..*\.svs", re.I)


@dataclass(frozen=True)
class GdcFile:
    """One file of a manifest; ``size`` in bytes, ``sample_type`` in the GDC's words ("Primary Tumor")."""

    id: str
    filename: str
    md5: str
    size: int
    state: str
    patient: str
    sample_type: str

    @property
    def is_slide(self) -> bool:
        """Whether it is a slide; the others are expression files."""
        return self.filename.lower().endswith(".svs")


def query(kind: str, project: str = "TCGA-BRCA", size: int = 10_000) -> dict[str, Any]:
    """Return the request to :data:`FILES_URL` for the open "slides" or "counts" of a project."""
    wanted = {"cases.project.project_id": project, "access": "open", **_FILTERS[kind]}
    content = [{"op": "in", "content": {"field": field, "value": [value]}} for field, value in wanted.items()]
    return {
        "filters": {"op": "and", "content": content},
        "fields": ",".join(_FIELDS),
        "format": "JSON",
        "size": size,
    }


def files_of_response(
    response: Mapping[str, Any], sample_types: Sequence[str] = (PRIMARY,)
) -> tuple[list[GdcFile], Counter[str]]:
    """Turn the answer to :func:`query` into rows of a manifest, ordered by patient and name.

    Parameters
    ----------
    response
        The JSON document that the GDC answers.
    sample_types
        Types of samples to keep: a patient's slides also show normal tissue and metastases.

    Returns
    -------
    files, left_out
        The rows; and how many were left out by reason: the sample type, "no single patient" (pooled or
        without a TCGA barcode), "not frozen" (a slide whose name is not that of a frozen section).

    Raises
    ------
    UserError
        The document is no such answer, or the GDC held files back.
    """
    try:
        hits = response["data"]["hits"]
        total = response["data"]["pagination"]["total"]
    except (KeyError, TypeError):
        raise UserError(
            f"The GDC's answer lists no files (it starts with {str(response)[:80]}); ask again."
        ) from None
    if total > len(hits):
        raise UserError(f"The GDC's answer holds {len(hits)} of {total} files; ask again with a larger size.")
    files: list[GdcFile] = []
    left_out: Counter[str] = Counter()
    for hit in hits:
        cases = hit.get("cases", [])
        samples = {sample.get("sample_type", "") for case in cases for sample in case.get("samples", [])}
        patients = {case.get("submitter_id", "") for case in cases}
        if len(patients) != 1 or not _PATIENT.fullmatch(min(patients)):
            left_out["no single patient"] += 1
        elif len(samples) != 1 or min(samples) not in sample_types:
            left_out["+".join(sorted(samples)) or "no sample type"] += 1
        elif hit["file_name"].lower().endswith(".svs") and not _FROZEN.fullmatch(hit["file_name"]):
            left_out["not frozen"] += 1
        else:
            files.append(
                GdcFile(
                    hit["file_id"],
                    hit["file_name"],
                    hit["md5sum"],
                    int(hit["file_size"]),
                    hit.get("state", ""),
                    min(patients),
                    min(samples),
                )
            )
    return sorted(files, key=lambda file: (file.patient, file.filename)), left_out


def write_manifest(files: Iterable[GdcFile], path: str | Path) -> None:
    """Write a manifest: the columns of a manifest of the GDC's own client, then patient and sample type."""
    from histobench.files import atomic_path

    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(astuple(file) for file in files)


def read_manifest(path: str | Path) -> list[GdcFile]:
    """Read a manifest; lines that start with ``#`` are comments.

    Either with the columns of :data:`COLUMNS`, or the five of the GDC's portal, if all files are slides:
    their names tell patient and sample type.

    Raises
    ------
    UserError
        The file is missing, has other columns, or a line is malformed or repeats a file; names the line.
    """
    path = Path(path)
    try:
        lines = _lines(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such manifest; correct the path under `table`.") from None
    header = lines[0][1] if lines else []
    if tuple(header) not in (COLUMNS, PORTAL_COLUMNS):
        raise UserError(
            f"{path}: the header must be {', '.join(COLUMNS)}, or the first five of them as the portal of "
            "the GDC writes them, separated by tabs."
        )
    files: list[GdcFile] = []
    seen: set[str] = set()
    for number, fields in lines[1:]:
        if (
            len(fields) != len(header)
            or not fields[3].isdigit()
            or not re.fullmatch("[0-9a-f]{32}", fields[2].lower())
        ):
            raise UserError(
                f"{path}: line {number}: expected {', '.join(header)} with an md5 and a size in bytes; "
                "build the manifest again with `histobench gdc-manifest`."
            )
        identifier, filename, md5, size, state = fields[:5]
        patient, sample_type = fields[5:] or _of_name(filename, f"{path}: line {number}")
        file = GdcFile(identifier, filename, md5.lower(), int(size), state, patient, sample_type)
        if file.filename in seen:
            raise UserError(f"{path}: line {number}: file {file.filename} occurs twice; keep one line.")
        seen.add(file.filename)
        files.append(file)
    return files


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Return the fields of each line of a table with tabs, with its number; without comments."""
    numbered = enumerate((line.rstrip("\r") for line in read_utf8(path).split("\n")), start=1)
    return [
        (number, [text.strip() for text in line.split("\t")])
        for number, line in numbered
        if line.strip() and line[0] != "#"
    ]


def _of_name(filename: str, place: str) -> tuple[str, str]:
    """Return patient and sample type of a slide from its name; other files do not tell theirs."""
    if not filename.lower().endswith(".svs"):
        raise UserError(
            f"{place}: {filename} is no slide, and the portal's manifest does not say whose it is; take the "
            "portal's sample sheet of the same files and join them: `histobench gdc-manifest "
            "--portal-manifest MANIFEST --sample-sheet SHEET --output TABLE`."
        )
    if not _FROZEN.fullmatch(filename):
        raise UserError(
            f"{place}: {filename} is not named like a frozen section of TCGA (TCGA-XX-XXXX-01A-01-TS1.*.svs; "
            "TS, BS or MS, as DX is a diagnostic slide, of another piece of tissue); leave it out."
        )
    return filename[:12].upper(), _sample_type(filename[13:15])


def _sample_type(code: str) -> str:
    return _SAMPLE_TYPES.get(code, f"sample type {code}")


def join_portal_tables(
    manifest: str | Path, sheet: str | Path, sample_types: Sequence[str] = (PRIMARY,)
) -> tuple[list[GdcFile], Counter[str]]:
    """Join the two tables that the GDC's portal gives out for a selection of files.

    Parameters
    ----------
    manifest
        With the columns of :data:`PORTAL_COLUMNS`.
    sheet
        The sample sheet of the same files: File ID, Case ID and Sample ID; the sample type follows from the
        latter.
    sample_types
        Types of samples to keep.

    Returns
    -------
    files, left_out
        As of :func:`files_of_response`.

    Raises
    ------
    UserError
        A table is missing or has other columns, or a file of the manifest is not in the sheet.
    """
    manifest, sheet = Path(manifest), Path(sheet)
    for path in (manifest, sheet):
        if not path.is_file():
            raise UserError(f"{path}: no such file; give the tables that the portal of the GDC wrote.")
    samples: dict[str, tuple[set[str], set[str]]] = {}
    lines = _lines(sheet)
    places = {name.lower(): column for column, name in enumerate(lines[0][1] if lines else [])}
    wanted = ("file id", "case id", "sample id")
    if lacking := [name for name in wanted if name not in places]:
        raise UserError(
            f"{sheet}: has no column {lacking[0].title().replace('Id', 'ID')}; give the portal's sample "
            "sheet (File ID, File Name, Data Category, Data Type, Project ID, Case ID, Sample ID, ...)."
        )
    for number, fields in lines[1:]:
        if len(fields) != len(places):
            raise UserError(f"{sheet}: line {number} has {len(fields)} fields, expected {len(places)}.")
        identifier, cases, ids = (fields[places[name]] for name in wanted)
        known = samples.setdefault(identifier.lower(), (set(), set()))
        known[0].update(re.split(r",\s*", cases))
        known[1].update(_sample_type(sample[13:15]) for sample in re.split(r",\s*", ids))
    lines = _lines(manifest)
    if not lines or tuple(lines[0][1][:5]) != PORTAL_COLUMNS:
        raise UserError(f"{manifest}: the header must be {', '.join(PORTAL_COLUMNS)}, separated by tabs.")
    hits = []
    for number, fields in lines[1:]:
        if len(fields) < len(PORTAL_COLUMNS) or not fields[3].isdigit():
            raise UserError(f"{manifest}: line {number}: expected {', '.join(PORTAL_COLUMNS)}.")
        identifier, filename, md5, size, state = fields[:5]
        if identifier.lower() not in samples:
            raise UserError(
                f"{manifest}: line {number}: {filename} is not in {sheet}; take both from one selection."
            )
        cases_of, types = samples[identifier.lower()]
        hits.append(
            {
                "file_id": identifier,
                "file_name": filename,
                "md5sum": md5.lower(),
                "file_size": size,
                "state": state,
                "cases": [
                    {"submitter_id": case, "samples": [{"sample_type": kind} for kind in sorted(types)]}
                    for case in sorted(cases_of)
                ],
            }
        )
    return files_of_response({"data": {"hits": hits, "pagination": {"total": len(hits)}}}, sample_types)


def fill_command(path: str | Path) -> str:
    """Return the one command that fills a manifest."""
    return f"`histobench gdc-manifest --patients 50 --output {path}`"


def lock_rows(files: Iterable[GdcFile], source: str) -> dict[tuple[str, str], LockedFile]:
    """Return rows of the data lock for the files of a manifest: (source, file name) -> row."""
    return {
        (source, file.filename): LockedFile(
            source,
            file.filename,
            (DATA_URL + file.id,),
            file.size,
            f"md5:{file.md5}",
            "open access, NIH Genomic Data Sharing Policy",
            "The Cancer Genome Atlas Network 2012, Nature 490, 61-70",
        )
        for file in files
    }


def slide_sections(files: Iterable[GdcFile]) -> dict[str, dict[str, str]]:
    """Pair slides with the expression of the same patient and sample type.

    Returns
    -------
    dict
        Slide's barcode -> ``patient``, ``sample_type``, ``slide`` (file name) and ``counts`` (file name;
        absent for a patient without one, the first by name of several).

    Raises
    ------
    UserError
        Two slides have one barcode.
    """
    files = sorted(files, key=lambda file: file.filename)
    counts: dict[tuple[str, str], str] = {}
    for file in files:
        if not file.is_slide:
            counts.setdefault((file.patient, file.sample_type), file.filename)
    sections: dict[str, dict[str, str]] = {}
    for file in files:
        if not file.is_slide:
            continue
        barcode = file.filename.partition(".")[0]
        if barcode in sections:
            raise UserError(f"Slide {barcode} occurs twice in the manifest; keep one of its files.")
        sections[barcode] = {
            "patient": file.patient,
            "sample_type": file.sample_type,
            "slide": file.filename,
        }
        key = (file.patient, file.sample_type)
        if key in counts:
            sections[barcode]["counts"] = counts[key]
    return sections


def build_manifest(path: str | Path, project: str = "TCGA-BRCA", patients: int | None = None) -> Counter[str]:
    """Ask the GDC for a project's frozen slides and expression, and write the manifest of those with both.

    Parameters
    ----------
    path
        The manifest to write.
    project
        Of the GDC.
    patients
        Keep only the first so many patients, in alphabetical order.

    Returns
    -------
    collections.Counter
        Files left out, by reason.

    Raises
    ------
    UserError
        The GDC cannot be reached or answers something else.
    """
    import requests

    found: list[GdcFile] = []
    left_out: Counter[str] = Counter()
    for kind in ("slides", "counts"):
        try:
            answer = requests.post(FILES_URL, json=query(kind, project), timeout=120)
            answer.raise_for_status()
            files, dropped = files_of_response(answer.json())
        except (requests.RequestException, ValueError) as error:
            raise UserError(
                f"{FILES_URL} does not answer ({error}); check the network and try again."
            ) from None
        found += files
        left_out += dropped
    return left_out + write_paired(found, path, patients)


def write_paired(found: Sequence[GdcFile], path: str | Path, patients: int | None) -> Counter[str]:
    """Write the manifest of those who have a slide and expression; return how many files that leaves out.

    Raises
    ------
    UserError
        Nobody has both.
    """
    kept, unpaired = paired(found, patients)
    if not kept:
        raise UserError(
            f"{path}: not written, as no patient has both a frozen slide and expression (STAR counts) among "
            f"{len(found)} files; select both."
        )
    write_manifest(kept, path)
    return Counter({"patient without slide or expression, or beyond the wanted number": unpaired})


def paired(files: Sequence[GdcFile], patients: int | None = None) -> tuple[list[GdcFile], int]:
    """Keep files of patients who have a slide and an expression file; count the others.

    With ``patients``, only those of the first so many patients stay.
    """
    both = sorted(
        {file.patient for file in files if file.is_slide}
        & {file.patient for file in files if not file.is_slide}
    )[:patients]
    kept = [file for file in files if file.patient in set(both)]
    return sorted(kept, key=lambda file: (file.patient, file.filename)), len(files) - len(kept)
