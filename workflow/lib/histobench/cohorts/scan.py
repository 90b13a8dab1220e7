"""Everything that is wrong with the files of a section, where the readers stop at the first mistake.

Only files that a reader refuses are scanned, so that clean cohorts are checked as fast as they are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.cohorts.counts import entry_text, no_count, number_in, row_matrix, wrong_entries
from histobench.cohorts.readers.anndata_file import (
    counts_and_genes,
    open_anndata,
    raw_counts_hint,
    spots_in_tissue,
)
from histobench.cohorts.readers.legacy_st import split_header
from histobench.cohorts.readers.table_cohort import anndata_spots
from histobench.cohorts.readers.visium import POSITION_COLUMNS, matrix_parts, position_table
from histobench.cohorts.sheet import ANNDATA, LEGACY_ST, Finding, layout_of
from histobench.cohorts.text import other_separator, read_text, text_table, yes_or_no
from histobench.cohorts.types import SPOT_ID
from histobench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 10
"""Findings of one kind that are listed one by one; the rest are counted."""

_NUMERIC = {
    LEGACY_ST: ("x", "y", "pixel_x", "pixel_y"),
    "visium": POSITION_COLUMNS[2:],
}
_MEASURED = ("new_x", "new_y")

Place = tuple[str, str]


def shorten(found: Iterable[Place], what: str) -> list[Place]:
    """Keep the first findings of a kind and count the others."""
    listed = list(found)
    if len(listed) <= SHOWN:
        return listed
    return [*listed[:SHOWN], ("", f"{len(listed) - SHOWN} more {what} like these.")]


def findings(path: str | Path, section: str, found: Iterable[Place]) -> list[Finding]:
    """Give places and texts their file and section."""
    return [Finding(str(path), place, text, section) for place, text in found]


# -- counts -----------------------------------------------------------------------------------------


def scan_counts(path: str | Path, options: Mapping[str, Any]) -> list[Place]:
    """List everything that is wrong with a file of counts, by place."""
    layout = layout_of(str(path))
    try:
        if layout == LEGACY_ST:
            return _scan_text_counts(path)
        if layout == ANNDATA:
            return _scan_anndata(path, options)
        counts, barcodes, _, names, _ = matrix_parts(path)
        return _scan_matrix(counts, barcodes, names)
    except UserError as error:
        return [("", str(error).removeprefix(f"{path}: "))]


def _scan_text_counts(path: str | Path) -> list[Place]:
    lines = read_text(path).decode("utf-8", "replace").rstrip("\n").split("\n")
    if len(lines) < 2:
        return [("", "holds a header but no spots; export the file anew.")]
    genes = split_header(lines[0].encode(), lines[1].encode(), path)  # another table than one of counts
    widths = Counter(line.count("\t") for line in lines[1:])
    width, often = widths.most_common(1)[0]
    if width not in (0, len(genes)) and often > len(lines) / 2:  # not the lines are wrong but their header
        text = f"the header names {len(genes)} genes, but lines such as line 2 have {width} counts"
        return [("line 1", f"{text}; check what stands above the table, and export it anew.")]
    if not genes[-1] and all(line.endswith("\t") for line in lines[1:]):
        return [("line 1 and below", "every line ends with a tab; take it out, or export the table anew.")]
    found = shorten(_gene_columns(genes), "genes")
    rows, cells, ids = [], [], []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines[1:], start=2):
        fields = line.split("\t")
        spot = fields[0].strip('"')
        if len(fields) != len(genes) + 1:
            text = f"has {len(fields) - 1} counts, but the header names {len(genes)} genes; export it anew."
            rows.append((f"line {number}", text))
            continue
        if not SPOT_ID.fullmatch(spot):
            text = f'starts with "{spot}", expected a spot id such as 10x14 (array column, x, array row).'
            ids.append((f"line {number}", text))
        if spot in seen:
            ids.append(
                (f"line {number}", f"spot {spot} stands already in line {seen[spot]}; keep one of them.")
            )
        seen.setdefault(spot, number)
        for column, value in enumerate(fields[1:]):
            if not (value.isdecimal() and len(value) < 10) and (reason := _no_count(value)):
                place = f"line {number}, column {column + 2}"
                cells.append((place, f"the count of gene {genes[column]} at spot {spot} is {reason}"))
    if len(ids) > len(lines) / 2 and all(
        SPOT_ID.fullmatch([*line.split("\t"), ""][1]) for line in lines[1:3]
    ):
        text = "the first column is a number, not the spot; take that column out of every line."
        return [*found, ("line 2 and below", text)]
    if len(cells) > SHOWN:  # not single counts are wrong, but all of them
        place, text = cells[0]
        n_values = (len(lines) - 1) * len(genes)
        cells = [(place, f"{len(cells)} of {n_values} values are no raw counts: {text}")]
    return [*found, *shorten(rows, "lines"), *shorten(ids, "lines"), *cells]


def _gene_columns(genes: list[str]) -> Iterator[Place]:
    seen: dict[str, int] = {}
    for column, gene in enumerate(genes, start=2):
        if not gene:
            yield f"line 1, column {column}", "has no gene name; name or remove the column."
        elif gene in seen:
            yield f"line 1, column {column}", f"gene {gene} stands already in column {seen[gene]}; keep one."
        seen.setdefault(gene, column)


def _no_count(value: str) -> str:
    """Say why a field is no count; "" if it is one after all (3.0, 1e3)."""
    try:
        number = number_in(value)
    except ValueError:
        return f'"{value}", expected a whole number; correct it.' if value.strip() else "empty; write 0."
    reason = no_count(number)
    return f"{value}, {reason}." if reason else ""


def _scan_anndata(path: str | Path, options: Mapping[str, Any]) -> list[Place]:
    adata = open_anndata(path, options)
    matrix, var = counts_and_genes(adata, path, options)
    hint = raw_counts_hint(adata, options)
    return _scan_matrix(
        row_matrix(matrix, str(path)), list(adata.obs_names.astype(str)), list(var.index.astype(str)), hint
    )


def _scan_matrix(matrix: Any, spots: list[str], genes: list[str], hint: str = "") -> list[Place]:
    """Look for repeated spots and for values that are no counts in a matrix in memory."""
    seen: dict[str, int] = {}
    repeated = []
    for row, spot in enumerate(spots, start=1):
        if spot in seen:
            repeated.append(
                (f"row {row}", f"spot {spot} stands already in row {seen[spot]}; keep one of them.")
            )
        seen.setdefault(spot, row)
    bad = wrong_entries(matrix)
    if bad.size > SHOWN or (bad.size and hint):  # not single counts are wrong, but all of them
        row, text = entry_text(matrix, int(bad[0]), spots, genes)
        cells = [(f"row {row + 1}", f"{bad.size} of {matrix.nnz} values are no raw counts: {text}{hint}.")]
    else:
        texts = [entry_text(matrix, at, spots, genes) for at in bad.tolist()]
        cells = [(f"row {row + 1}", f"{text}.") for row, text in texts]
    return [*shorten(repeated, "rows"), *cells]


# -- positions --------------------------------------------------------------------------------------


def scan_positions(
    files: Mapping[str, str], options: Mapping[str, Any]
) -> tuple[pd.DataFrame | None, list[Place]]:
    """Read positions leniently.

    Returns
    -------
    spots, found
        Spots that can be read, by name: ``place`` ("line 7"), ``array_x``, ``array_y``, ``pixel_x``,
        ``pixel_y``, ``selected``; None if there are no columns to read. And what is wrong.
    """
    layout = layout_of(files["counts"])
    try:
        if layout == ANNDATA:
            return _anndata_positions(files["counts"], options)
        return _text_positions(files["positions"], "visium" if layout != LEGACY_ST else LEGACY_ST)
    except UserError as error:
        return None, [("", str(error).removeprefix(f"{files.get('positions', files['counts'])}: "))]


def _anndata_positions(path: str, options: Mapping[str, Any]) -> tuple[pd.DataFrame, list[Place]]:
    adata = open_anndata(path, options)
    spots, grid = anndata_spots(adata, path, options)
    spots["place"] = [f"row {row}" for row in range(1, len(spots) + 1)]
    spots["selected"], _ = spots_in_tissue(adata, path)
    wanted = ["pixel_x", "pixel_y", *(("array_x", "array_y") if grid != "irregular" else ())]
    missing = ~np.isfinite(spots[wanted].to_numpy()).all(axis=1)
    found = [
        (
            spots["place"].iloc[row],
            f"the position of spot {spots.index[row]} is missing; give it or leave it out.",
        )
        for row in np.flatnonzero(missing).tolist()
    ]
    return spots[~missing & ~spots.index.duplicated()], shorten(found, "spots")


def _text_positions(path: str, layout: str) -> tuple[pd.DataFrame | None, list[Place]]:
    import pandas as pd

    visium = layout != LEGACY_ST
    table = position_table(path) if visium else text_table(path)
    required = [*(("barcode", "in_tissue") if visium else ()), *_NUMERIC[layout]]
    missing = [name for name in required if name not in table]
    if missing and len(table.columns) == 1 and (sign := other_separator(str(table.columns[0]))):
        wanted_sign = "commas" if visium else "tabs"
        text = f"column {missing[0]} is missing, as the header looks separated by {sign}; "
        text += f"separate by {wanted_sign}, in every line."
        return None, [("line 1", text)]
    if missing:
        known = ", ".join(map(str, table.columns))
        return None, [
            ("line 1", f"column {name} is missing (the header says {known}); add it.") for name in missing
        ]
    answers = "in_tissue" if visium else "selected"
    selected = pd.Series(True, index=table.index)
    if answers in table:
        selected[:] = yes_or_no(table[answers], path)[0]
    wanted = [*_NUMERIC[layout], *(name for name in _MEASURED if name in table and not visium)]
    values = table[wanted].apply(pd.to_numeric, errors="coerce")
    found = []
    for row, column in np.argwhere(~np.isfinite(values.to_numpy(dtype=np.float64))).tolist():
        given = table[wanted[column]].iloc[row]
        shown = f'"{given}"' if given else "nothing"
        text = f"expected a number, found {shown}; correct it or remove the line."
        found.append((f"line {table.index[row]}, column {wanted[column]}", text))
    good = np.isfinite(values.to_numpy(dtype=np.float64)).all(axis=1)
    table, values, chosen = table[good], values[good], selected[good].to_numpy()
    places = pd.Series([f"line {line}" for line in table.index], dtype=object)
    if visium:
        names = table["barcode"].str.strip()
        grid, pixels = ("array_col", "array_row"), ("pxl_col_in_fullres", "pxl_row_in_fullres")
    else:
        found += shorten(_odd_names(values), "lines")
        names = (
            values["x"].round().astype(int).astype(str) + "x" + values["y"].round().astype(int).astype(str)
        )
        grid = ("new_x" if "new_x" in values else "x", "new_y" if "new_y" in values else "y")
        pixels = ("pixel_x", "pixel_y")
    spots = pd.DataFrame(
        {
            "place": places.to_numpy(),
            "array_x": values[grid[0]].to_numpy(dtype=np.float64),
            "array_y": values[grid[1]].to_numpy(dtype=np.float64),
            "pixel_x": values[pixels[0]].to_numpy(dtype=np.float64),
            "pixel_y": values[pixels[1]].to_numpy(dtype=np.float64),
            "selected": chosen,
        },
        index=pd.Index(names.to_numpy(dtype=object), name="spot"),
    )
    again = spots.index.duplicated()
    twice = []
    for row in np.flatnonzero(again).tolist():
        first = spots.loc[[spots.index[row]], "place"].iloc[0]
        twice.append(
            (spots["place"].iloc[row], f"spot {spots.index[row]} stands already in {first}; keep one.")
        )
    return spots[~again], [*shorten(found, "values"), *shorten(twice, "lines")]


def _odd_names(values: pd.DataFrame) -> Iterator[Place]:
    """Find lines whose x and y are no array position, or not the one that was measured."""
    integers = values[["x", "y"]].to_numpy()
    unround = (integers != np.rint(integers)).any(axis=1) | (integers < 0).any(axis=1)
    for row in np.flatnonzero(unround).tolist():
        given = f"{integers[row, 0]:g} and {integers[row, 1]:g}"
        text = f"x and y name a spot and must be whole numbers, found {given}."
        yield f"line {values.index[row]}", text
    if not {"new_x", "new_y"} <= set(values):
        return
    measured = values[["new_x", "new_y"]].to_numpy()
    far = np.abs(measured - integers).max(axis=1) >= 1
    for row in np.flatnonzero(far & ~unround).tolist():
        swapped = np.abs(measured[row, ::-1] - integers[row]).max() < 1
        remedy = "x and y are swapped; exchange them." if swapped else "correct one of them."
        text = (
            f"new_x, new_y ({measured[row, 0]:g}, {measured[row, 1]:g}) is not near x, y "
            f"({integers[row, 0]:g}, {integers[row, 1]:g}); {remedy}"
        )
        yield f"line {values.index[row]}", text
