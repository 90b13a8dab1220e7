"""The HBCIS breast cancer cohort as published with ST-Net (He et al. 2020; Mendeley Data 29ntw7sh4r).

File names in the archive say BC or BT for the same patient without a rule, so they are looked up in the
archive's own ``metadata.csv``. Counts cover the whole array; the spot file lists what lies under tissue.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from histobench.cohorts.readers.legacy_st import join_spots, read_counts, refuse_duplicates, spot_names
from histobench.cohorts.text import MISSING_WORDS, numbers, read_text, require_columns, text_table
from histobench.cohorts.types import LEGACY_FRAME, SPOT_ID, RawSection
from histobench.encoding import decimal
from histobench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

INDEX = "metadata.csv"
TUMOUR, NORMAL = "tumor", "non"
COMPOSITE = "__ambiguous["
_KINDS = ("count_matrix", "spot_coordinates", "tumor_annotation", "histology_image")


class Annotation(NamedTuple):
    """Labels by spot id, and the rows of the annotation that gave none: reason -> number."""

    by_spot: pd.Series
    dropped: dict[str, int]


def locate_member(member: str, names: Sequence[str], read: Callable[[str], bytes]) -> str:
    """Find the published name of ``SECTION/KIND.suffix``, such as ``BC23287_C1/histology_image.jpg``.

    KIND is a column of the archive's ``metadata.csv``: count_matrix, spot_coordinates, tumor_annotation or
    histology_image. Other members (``metadata.csv`` itself) keep their name.

    Raises
    ------
    UserError
        The index lacks the section or the column, or lists the section twice.
    """
    section, slash, file = member.partition("/")
    kind = file.partition(".")[0]
    if not slash or kind not in _KINDS:
        return member
    text = read(INDEX).decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n")
    rows = list(csv.DictReader(io.StringIO(text)))
    for column in ("patient", "replicate", kind):
        if not rows or column not in rows[0]:
            raise UserError(f"{INDEX} of the archive has no column {column}; fetch the archive again.")
    found = [row for row in rows if _key(row["patient"], row["replicate"]) == _key(*section.rsplit("_", 1))]
    if len(found) != 1 or not found[0][kind].strip():
        raise UserError(
            f"{INDEX} of the archive names {len(found)} files of {kind} for section {section}, expected one; "
            "correct the section's name or leave the section out."
        )
    return found[0][kind].strip().rpartition("/")[2]


def _key(patient: str, replicate: str = "") -> tuple[str, str]:
    """Patient number and replicate: BC23287, BT23287 and 23287 are one patient."""
    return re.sub(r"\D", "", patient), replicate.strip().upper()


def read_section(section: str, files: Mapping[str, str], options: Mapping[str, Any]) -> RawSection:
    """Read one section.

    Parameters
    ----------
    section
        Name, such as "BC23287_C1"; used in messages.
    files
        ``counts`` and ``spots``; optionally ``labels``, and ``symbols``, a table of gene symbols (see
        :func:`histobench.expression.symbols.load_symbols`). Others (``image``) are not used here.
    options
        ``composites``: "keep" (default) or "drop" the features ``__ambiguous[...]``, which hold the reads
        that fit several genes. He et al. and HE2Gene count them among their 250 genes.

    Raises
    ------
    UserError
        A file is missing or malformed; an option is unknown.
    """
    from histobench.expression.symbols import load_symbols, name_genes

    composites = _composites(section, options)
    for kind in ("counts", "spots"):
        if kind not in files:
            raise UserError(f'Section {section}: the cohort\'s files lack "{kind}"; add its path template.')
    counts, spot_ids, features = read_counts(files["counts"])
    counts, spots, dropped = join_spots(counts, spot_ids, read_spots(files["spots"]))
    dropped["not_under_tissue"] = dropped.pop("no_position")
    del dropped["not_selected"]  # the spot file has no such column
    if composites == "drop":
        single = ~features.str.startswith(COMPOSITE)
        dropped["feature_composite"] = int((~single).sum())
        counts, features = counts[:, np.flatnonzero(single)], features[single]
    spots["label"], spots["tumour"] = "", np.nan
    if "labels" in files:
        labels = read_annotation(files["labels"])
        spots["label"] = labels.by_spot.reindex(spots.index).fillna("").astype(object)
        spots["tumour"] = spots["label"].map({TUMOUR: 1.0, NORMAL: 0.0}).astype(np.float64)
        dropped |= labels.dropped
        dropped["label_no_spot"] = int((~labels.by_spot.index.isin(spots.index)).sum())
    spots["label_source"] = np.where(spots["label"] != "", "pathologist", "none").astype(object)
    symbols = load_symbols(files["symbols"]) if "symbols" in files else {}
    return RawSection(
        counts=counts,
        spots=spots,
        genes=name_genes(features.tolist(), symbols),
        dropped=dropped,
        frame=LEGACY_FRAME,
    )


def _composites(section: str, options: Mapping[str, Any]) -> str:
    unknown = set(options) - {"composites"}
    if unknown:
        raise UserError(f'Section {section}: the hbcis reader has no option "{min(unknown)}"; remove it.')
    choice: str = options.get("composites", "keep")
    if choice not in ("keep", "drop"):
        raise UserError(f'Section {section}: option composites is "{choice}", expected keep or drop.')
    return choice


def read_spots(path: str | Path) -> pd.DataFrame:
    """Read the spots under tissue: comma-separated, spot id ``XxY`` first, then ``X``, ``Y`` in pixels.

    Returns
    -------
    pandas.DataFrame
        Index ``spot``; ``array_x``, ``array_y`` (whole grid positions) and ``pixel_x``, ``pixel_y`` (full
        image, x to the right, y downwards).

    Raises
    ------
    UserError
        A column is missing, a spot id or pixel is malformed, or a spot occurs twice; names the line.
    """
    import pandas as pd

    table = text_table(path, sep=",")
    require_columns(table, ("X", "Y"), path)
    names = table.iloc[:, 0].str.strip()
    wrong = ~names.str.fullmatch(SPOT_ID)
    if wrong.any():
        line = names.index[wrong][0]
        raise UserError(
            f'{path}: line {line}: "{names[line]}" is no spot id, expected column x row such as 10x14.'
        )
    grid = names.str.split("x", expand=True).astype(int)
    spots = pd.Index(spot_names(grid[0].to_numpy(), grid[1].to_numpy()), name="spot")
    refuse_duplicates(spots, table.index, path)
    return pd.DataFrame(
        {
            "array_x": grid[0].to_numpy(dtype=np.float64),
            "array_y": grid[1].to_numpy(dtype=np.float64),
            "pixel_x": numbers(table["X"], path),
            "pixel_y": numbers(table["Y"], path),
        },
        index=spots,
    )


def read_annotation(path: str | Path) -> Annotation:
    """Read the labels of a section's spots.

    The published header ``xcoord ycoord lab tumor`` lacks a name for the first column, so every name stands
    one column too far left; columns are therefore taken by place: (row name, x, y, lab, label). Positions
    are fractional and rounded, never cut. A blank label is none, not "not tumour".

    Returns
    -------
    Annotation
        Label by spot id, without blanks; and counts of ``label_no_coordinates``, ``label_blank``,
        ``label_other_word`` (kept as label, but neither tumour nor not) and ``label_conflicting`` (spots
        with two different labels, which get none).

    Raises
    ------
    UserError
        The file is missing or empty, has another header, or a position is no number.
    """
    import pandas as pd

    lines = read_text(path).decode("utf-8", "replace").rstrip("\n").split("\n")
    header = [name.strip().strip('"') for name in lines[0].split("\t")]
    if not {"xcoord", "ycoord", "tumor"} <= set(header):
        raise UserError(
            f"{path}: line 1 must name xcoord, ycoord and tumor, but says {', '.join(header)}; "
            "check that this is an annotation."
        )
    dropped: Counter[str] = Counter(
        label_no_coordinates=0, label_blank=0, label_other_word=0, label_conflicting=0
    )
    labels: dict[str, str] = {}
    conflicting = set()
    for number, line in enumerate(lines[1:], start=2):
        fields = [field.strip().strip('"') for field in line.split("\t")] + [""] * 5
        if not line.strip():
            continue
        if any(field.lower() in MISSING_WORDS for field in fields[1:3]):
            dropped["label_no_coordinates"] += 1
            continue
        spot, label = _spot(fields[1:3], path, number), fields[4]
        if label.lower() in MISSING_WORDS:
            dropped["label_blank"] += 1
            continue
        dropped["label_other_word"] += label not in (TUMOUR, NORMAL)
        if labels.setdefault(spot, label) != label:
            conflicting.add(spot)
    for spot in conflicting:
        del labels[spot]
    dropped["label_conflicting"] = len(conflicting)
    by_spot = pd.Series(labels, dtype=object)
    return Annotation(by_spot.rename_axis("spot"), dict(dropped))


def _spot(position: Sequence[str], path: str | Path, line: int) -> str:
    try:
        x, y = (round(decimal(value)) for value in position)  # type: ignore[arg-type] # None is no number
    except (TypeError, OverflowError):
        raise UserError(
            f"{path}: line {line}: expected the position of a spot in columns 2 and 3, "
            f"found {' and '.join(position)}; correct it or remove the line."
        ) from None
    return f"{x}x{y}"
