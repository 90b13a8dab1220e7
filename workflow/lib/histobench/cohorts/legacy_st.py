"""Tables of the first-generation Spatial Transcriptomics arrays: counts by spot, spots by position.

A spot is named ``XxY``: column and row of the printed 33 x 35 array, counted from 1.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from histobench.cohorts.text import field_columns, read_text, split_lines
from histobench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from scipy import sparse

SPOT_ID = re.compile(r"[0-9]+x[0-9]+", re.ASCII)
_TAB, _NEWLINE, _ZERO, _NINE = 9, 10, 48, 57
_ROWS_PER_BLOCK = 64  # bounds the temporary arrays to about 50 MB for 16,000 genes
_MAX_DIGITS = 9  # every number of nine digits fits an int32


def spot_names(x: np.ndarray, y: np.ndarray) -> list[str]:
    """Return the names ``XxY`` of integer array positions."""
    return [f"{column}x{row}" for column, row in zip(x.tolist(), y.tolist(), strict=True)]


def read_counts(path: str | Path) -> tuple[sparse.csr_matrix, pd.Index, pd.Index]:
    """Read a tab-separated table of counts, plain or gzipped: one row per spot, one column per gene.

    The first column holds spot ids ``XxY``; the first line holds gene names, with or without an empty
    corner field.

    Returns
    -------
    counts, spot_ids, genes
        CSR int32 of shape (spots, genes) with sorted indices and no stored zeros, and the two names, in
        the order of the file.

    Raises
    ------
    UserError
        The file is missing, empty or damaged; a count is negative, fractional, missing or no number; a
        spot or gene occurs twice; a spot id is malformed; a row has too few or too many fields.
    """
    import pandas as pd
    from scipy import sparse

    text = read_text(path)
    starts, ends = split_lines(text)
    if len(starts) < 2:
        raise UserError(f"{path}: expected a header line with genes and one line per spot, but it is empty.")
    buffer = np.frombuffer(text, dtype=np.uint8)
    genes = _gene_names(text[starts[0] : ends[0]], text[starts[1] : ends[1]], path)
    names: list[str] = []
    blocks = []
    for first in range(1, len(starts), _ROWS_PER_BLOCK):
        last = min(first + _ROWS_PER_BLOCK, len(starts))
        spots, values = _parse_rows(buffer, starts[first:last], ends[first:last], genes, first, path)
        names += spots
        blocks.append(sparse.csr_matrix(values))
    spot_ids = _checked_spots(names, path)
    matrix = sparse.vstack(blocks, format="csr", dtype=np.int32)
    return sparse.csr_matrix(matrix), pd.Index(spot_ids, name="spot"), pd.Index(genes, name="gene")


def _gene_names(header: bytes, first_row: bytes, path: str | Path) -> list[str]:
    """Split the header, with or without a corner field, and check the names."""
    if b"\t" not in first_row:
        raise UserError(f"{path}: line 2 has no tab, expected a tab-separated table; convert the file.")
    fields = [name.strip().strip('"') for name in header.decode("utf-8").split("\t")]
    if len(fields) == first_row.count(b"\t") + 1:
        fields = fields[1:]
    seen: dict[str, int] = {}
    for column, gene in enumerate(fields, start=2):
        if not gene:
            raise UserError(f"{path}: column {column} of the header has no gene name; name or remove it.")
        if gene in seen:
            raise UserError(
                f"{path}: gene {gene} stands in columns {seen[gene]} and {column}; "
                "keep one of them, or sum them before the import."
            )
        seen[gene] = column
    return fields


def _parse_rows(
    buffer: np.ndarray, starts: np.ndarray, ends: np.ndarray, genes: list[str], first: int, path: str | Path
) -> tuple[list[str], np.ndarray]:
    """Parse consecutive lines into spot ids and an int32 array (rows, genes).

    Nearly all fields are one digit, so fields are read by their length: one vector operation per digit.
    """
    begin, end = int(starts[0]), int(ends[-1])
    block = buffer[begin:end]
    breaks = np.flatnonzero((block == _TAB) | (block == _NEWLINE))
    edges = np.concatenate(([-1], breaks, [block.size]))
    per_line = np.searchsorted(edges, ends - begin) - np.searchsorted(edges, starts - begin - 1)
    wrong = np.flatnonzero(per_line != len(genes) + 1)
    if wrong.size:
        row = int(wrong[0])
        raise UserError(
            f"{path}: line {first + row + 1} has {per_line[row] - 1} counts, but the header names "
            f"{len(genes)} genes; the file may be truncated or not tab-separated, so fetch or export it anew."
        )
    left = (edges[:-1] + 1).reshape(len(starts), -1)
    length = (edges[1:] - edges[:-1] - 1).reshape(len(starts), -1)
    raw = block.tobytes()
    names = [
        raw[a : a + n].decode("utf-8", "replace").strip('"')
        for a, n in zip(left[:, 0].tolist(), length[:, 0].tolist(), strict=True)
    ]
    left, length = left[:, 1:], length[:, 1:]
    values = np.zeros(left.shape, dtype=np.int32)
    odd = (length == 0) | (length > _MAX_DIGITS)
    for digit in range(int(min(length.max(initial=0), _MAX_DIGITS))):
        has = (length > digit) & ~odd
        if digit == 0 and has.all():  # the common case needs no index arrays
            figures = block[left].astype(np.int32) - _ZERO
            values, odd = figures, odd | (figures < 0) | (figures > 9)
            continue
        rows, columns = np.nonzero(has)
        figures = block[left[rows, columns] + digit].astype(np.int32) - _ZERO
        values[rows, columns] = values[rows, columns] * 10 + figures
        bad = (figures < 0) | (figures > 9)
        odd[rows[bad], columns[bad]] = True
    for row, column in zip(*np.nonzero(odd), strict=True):
        a, n = int(left[row, column]), int(length[row, column])
        field = raw[a : a + n].decode("utf-8", "replace")
        values[row, column] = _whole_number(field, names[row], genes[column], path)
    return names, values


def _whole_number(field: str, spot: str, gene: str, path: str | Path) -> int:
    """Read a count that is not written as plain digits, such as ``3.0`` or ``1e3``."""
    place = f"{path}: the count of gene {gene} at spot {spot}"
    remedy = "raw counts are needed, not normalised values."
    try:
        value = float(field.strip().strip('"'))
    except ValueError:
        found = f'"{field}"' if field.strip() else "empty"
        raise UserError(
            f"{place} is {found}, expected a whole number; correct it or write 0, as {remedy}"
        ) from None
    if not (value >= 0 and value.is_integer()):
        kind = "negative" if value < 0 else "not a whole number"
        raise UserError(f"{place} is {field}, which is {kind}; {remedy}")
    if value > np.iinfo(np.int32).max:
        raise UserError(f"{place} is {field}, which is larger than any count can be; correct it.")
    return int(value)


def _checked_spots(names: list[str], path: str | Path) -> list[str]:
    seen: dict[str, int] = {}
    for line, name in enumerate(names, start=2):
        if not SPOT_ID.fullmatch(name):
            raise UserError(
                f'{path}: line {line} starts with "{name}", expected a spot id such as 10x14 '
                "(array column, x, array row); correct the first column."
            )
        if name in seen:
            raise UserError(
                f"{path}: spot {name} stands in lines {seen[name]} and {line}; "
                "keep one of them (do not add them up without knowing why)."
            )
        seen[name] = line
    return names


def read_spots(path: str | Path, *, measured: bool = True) -> pd.DataFrame:
    """Read a spot file: tab-separated ``x y new_x new_y pixel_x pixel_y [selected]``.

    ``x``, ``y`` name the spot; ``new_x``, ``new_y`` are its measured position on the grid, which is what the
    image shows; pixels refer to the full-resolution image.

    Parameters
    ----------
    path
        The file.
    measured
        Demand ``new_x``, ``new_y``; if not, a file without them says ``x``, ``y`` for both.

    Returns
    -------
    pandas.DataFrame
        Index: spot id. ``array_x``, ``array_y`` (grid steps), ``pixel_x``, ``pixel_y`` (float64) and
        ``selected`` (bool: the spot lies under tissue).

    Raises
    ------
    UserError
        The file is missing or empty, a column is missing, a value is missing or no number, a spot occurs
        twice, or ``x``, ``y`` are not the rounded ``new_x``, ``new_y`` (axes exchanged).
    """
    import pandas as pd

    names = ("x", "y", "new_x", "new_y", "pixel_x", "pixel_y")
    if measured:
        table = field_columns(path, names, sep="\t", optional=("selected",))
    else:
        optional = ("new_x", "new_y", "selected")
        table = field_columns(path, ("x", "y", "pixel_x", "pixel_y"), sep="\t", optional=optional)
        for axis in ("x", "y"):
            if f"new_{axis}" not in table:
                table[f"new_{axis}"] = table[axis]
    integers = table[["x", "y"]].to_numpy()
    unround = np.flatnonzero((integers != np.round(integers)).any(axis=1) | (integers < 0).any(axis=1))
    if unround.size:
        row = int(unround[0])
        raise UserError(
            f"{path}: line {table.index[row]}: x and y name a spot and must be whole numbers, found "
            f"{integers[row, 0]:g} and {integers[row, 1]:g}; put measured positions in new_x and new_y."
        )
    # The measured position lies within the spot's own grid cell; anything else is a mix-up of columns.
    far = np.abs(table[["new_x", "new_y"]].to_numpy() - integers).max(axis=1) >= 1.0
    if far.any():
        row = int(np.flatnonzero(far)[0])
        raise UserError(
            f"{path}: line {table.index[row]}: new_x, new_y ({table['new_x'].iloc[row]:g}, "
            f"{table['new_y'].iloc[row]:g}) is not near x, y ({integers[row, 0]:g}, {integers[row, 1]:g}); "
            "check that the columns x and y were not exchanged."
        )
    spots = pd.Index(spot_names(integers[:, 0].astype(int), integers[:, 1].astype(int)), name="spot")
    refuse_duplicates(spots, table.index, path)
    selected = table["selected"].to_numpy() != 0 if "selected" in table else np.ones(len(table), bool)
    return pd.DataFrame(
        {
            "array_x": table["new_x"].to_numpy(),
            "array_y": table["new_y"].to_numpy(),
            "pixel_x": table["pixel_x"].to_numpy(),
            "pixel_y": table["pixel_y"].to_numpy(),
            "selected": selected,
        },
        index=spots,
    )


def refuse_duplicates(spots: pd.Index, lines: pd.Index, path: str | Path) -> None:
    """Stop if a spot occurs twice; ``lines`` are the line numbers of ``spots``."""
    repeated = spots.duplicated()
    if repeated.any():
        name = spots[repeated][0]
        where = " and ".join(str(line) for line in lines[spots == name][:2])
        raise UserError(f"{path}: spot {name} stands in lines {where}; keep one of them.")


def join_spots(
    counts: sparse.csr_matrix, spot_ids: pd.Index, spots: pd.DataFrame
) -> tuple[sparse.csr_matrix, pd.DataFrame, dict[str, int]]:
    """Keep the spots that have both counts and a position under tissue, in the order of the counts.

    Parameters
    ----------
    counts, spot_ids
        From :func:`read_counts`.
    spots
        From :func:`read_spots` (any table indexed by spot id; ``selected`` is optional).

    Returns
    -------
    counts, spots, dropped
        Matching rows, and how many were left out: ``no_position`` and ``not_selected`` (rows of counts),
        ``no_counts`` (positions).
    """
    known = spot_ids.isin(spots.index)
    under_tissue = spots.index[spots["selected"]] if "selected" in spots else spots.index
    kept = spot_ids.isin(under_tissue)
    dropped = {
        "no_position": int((~known).sum()),
        "no_counts": int((~spots.index.isin(spot_ids)).sum()),
        "not_selected": int((known & ~kept).sum()),
    }
    joined = spots.loc[spot_ids[kept]].drop(columns="selected", errors="ignore")
    joined.index.name = "spot"
    return counts[np.flatnonzero(kept)], joined, dropped
