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

from histobench.cohorts.lock import LockedFile
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

    Raises
    ------
    UserError
        The file is missing, has other columns, or a line is malformed or repeats a file; names the line.
    """
    path = Path(path)
    try:
        text = read_utf8(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such manifest; correct the path under `table`.") from None
    lines = [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line and line[0] != "#"]
    if not lines or tuple(lines[0][1].split("\t")) != COLUMNS:
        raise UserError(f"{path}: the header must be {', '.join(COLUMNS)}, separated by tabs.")
    files: list[GdcFile] = []
    seen: set[str] = set()
    for number, line in lines[1:]:
        fields = line.split("\t")
        if (
            len(fields) != len(COLUMNS)
            or not fields[3].isdigit()
            or not re.fullmatch("[0-9a-f]{32}", fields[2])
        ):
            raise UserError(
                f"{path}: line {number}: expected {', '.join(COLUMNS)} with an md5 and a size in bytes; "
                "build the manifest again with `histobench gdc-manifest`."
            )
        identifier, filename, md5, size, state, patient, sample_type = fields
        file = GdcFile(identifier, filename, md5, int(size), state, patient, sample_type)
        if file.filename in seen:
            raise UserError(f"{path}: line {number}: file {file.filename} occurs twice; keep one line.")
        seen.add(file.filename)
        files.append(file)
    return files


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
    kept, unpaired = paired(found, patients)
    left_out["patient without slide or expression, or beyond the wanted number"] += unpaired
    write_manifest(kept, path)
    return left_out


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
