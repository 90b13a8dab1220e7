"""Tables of the first-generation Spatial Transcriptomics arrays: counts by spot, spots by position.

A spot is named ``XxY``: column and row of the printed 33 x 35 array, counted from 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from histobench.cohorts.counts import no_count, number_in
from histobench.cohorts.text import field_columns, other_separator, read_text
from histobench.cohorts.types import SPOT_ID
from histobench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from scipy import sparse


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
    return parse_table(read_text(path), path)


def parse_table(text: bytes, path: str | Path) -> tuple[sparse.csr_matrix, pd.Index, pd.Index]:
    """Parse the text of a table of counts, see :func:`read_counts`; ``path`` is for messages."""
    import pandas as pd

    end = len(text)
    while end and text[end - 1] == ord("\n"):
        end -= 1
    first = text.find(b"\n", 0, end) + 1
    if not first:
        raise UserError(f"{path}: expected a header line with genes and one line per spot, but it is empty.")
    second = text.find(b"\n", first, end)
    genes = _gene_names(text[: first - 1], text[first : end if second < 0 else second], path)
    spots, matrix = _parse(text, first, end, genes, path)
    spot_ids = _checked_spots(spots, path)
    return matrix, pd.Index(spot_ids, name="spot"), pd.Index(genes, name="gene")


def split_header(header: bytes, first_row: bytes, path: str | Path) -> list[str]:
    """Split the header of a table of counts, with or without a corner field.

    Raises
    ------
    UserError
        The table is not separated by tabs, or lies on its side.
    """
    if b"\t" not in first_row:
        sign = other_separator(first_row.decode("utf-8", "replace"))
        looks = f" and looks separated by {sign}" if sign else ""
        raise UserError(
            f"{path}: line 2 has no tab{looks}, expected a tab-separated table; separate fields by tabs."
        )
    fields = [name.strip().strip('"') for name in header.decode("utf-8").split("\t")]
    if len(fields) == first_row.count(b"\t") + 1:
        fields = fields[1:]
    # spots begin with a digit, and hardly any gene does
    n_spots = sum(SPOT_ID.fullmatch(field) is not None for field in fields if field[:1].isdecimal())
    if n_spots > len(fields) / 2:
        raise UserError(
            f"{path}: line 1 names spots such as {next(filter(SPOT_ID.fullmatch, fields))}, expected genes; "
            "the table is transposed, so turn it (one line per spot, one column per gene)."
        )
    return fields


def _gene_names(header: bytes, first_row: bytes, path: str | Path) -> list[str]:
    """Split the header and check the names."""
    fields = split_header(header, first_row, path)
    if all(fields) and len(set(fields)) == len(fields):
        return fields
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


def _parse(
    text: bytes, begin: int, end: int, genes: list[str], path: str | Path
) -> tuple[list[str], sparse.csr_matrix]:
    """Parse the lines of counts into spot ids and CSR int32 (spots, genes)."""
    from scipy import sparse

    from histobench.cohorts.readers.count_text import parse_counts, room

    names, starts, values, columns, odd = room(end - begin, len(genes))
    buffer = np.frombuffer(text, np.uint8)
    parsed, n_odd, found = parse_counts(buffer, begin, end, len(genes), names, starts, values, columns, odd)
    if found >= 0:
        raise UserError(
            f"{path}: line {parsed + 2} has {found} counts, but the header names "
            f"{len(genes)} genes; the file may be truncated or not tab-separated, so fetch or export it anew."
        )
    spots = [text[a:b].decode("utf-8", "replace").strip('"') for a, b in names[:parsed].tolist()]
    starts = starts[: parsed + 1]
    if n_odd > len(odd):
        raise UserError(f"{path}: {n_odd} counts are not written as whole numbers; export plain numbers.")
    for place, a, b in odd[:n_odd].tolist():
        field = text[a:b].decode("utf-8", "replace")
        row = int(np.searchsorted(starts, place, side="right")) - 1
        values[place] = _whole_number(field, spots[row], genes[columns[place]], path)
    total = int(starts[-1])
    matrix = sparse.csr_matrix(
        (values[:total].copy(), columns[:total].copy(), starts.astype(np.int32)), shape=(parsed, len(genes))
    )
    matrix.has_sorted_indices = True
    if n_odd:
        matrix.eliminate_zeros()
    return spots, matrix


def _whole_number(field: str, spot: str, gene: str, path: str | Path) -> int:
    """Read a count that is not written as plain digits, such as ``3.0`` or ``1e3``."""
    place = f"{path}: the count of gene {gene} at spot {spot}"
    try:
        value = number_in(field)
    except ValueError:
        found = f'"{field}"' if field.strip() else "empty"
        raise UserError(
            f"{place} is {found}, expected a whole number; correct it, or write 0 where nothing was counted."
        ) from None
    if reason := no_count(value):
        raise UserError(f"{place} is {field}, {reason}.")
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
        ``selected`` (bool: the spot lies under tissue), ``unsaid`` (bool: the file does not say it).

    Raises
    ------
    UserError
        The file is missing or empty, a column is missing, a value is missing or no number, a spot occurs
        twice, or ``x``, ``y`` are not the rounded ``new_x``, ``new_y`` (axes exchanged).
    """
    import pandas as pd

    names = ("x", "y", "new_x", "new_y", "pixel_x", "pixel_y")
    if measured:
        table = field_columns(path, names, sep="\t", answers=("selected",))
    else:
        table = field_columns(
            path,
            ("x", "y", "pixel_x", "pixel_y"),
            sep="\t",
            optional=("new_x", "new_y"),
            answers=("selected",),
        )
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
    everywhere = np.ones(len(table), bool)
    return pd.DataFrame(
        {
            "array_x": table["new_x"],
            "array_y": table["new_y"],
            "pixel_x": table["pixel_x"],
            "pixel_y": table["pixel_y"],
            "selected": table.get("selected", everywhere),
            "unsaid": table.get("selected_unsaid", ~everywhere),
        }
    ).set_axis(spots)


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
        From :func:`read_spots` (any table indexed by spot id; ``selected`` and ``unsaid`` are optional).

    Returns
    -------
    counts, spots, dropped
        Matching rows, and how many were left out: ``no_position``, ``not_selected`` and, where there are any,
        ``no_tissue_value`` (rows of counts), ``no_counts`` (positions under tissue).
    """
    known = spot_ids.isin(spots.index)
    under_tissue = spots.index[spots["selected"]] if "selected" in spots else spots.index
    kept = spot_ids.isin(under_tissue)
    dropped = {
        "no_position": int((~known).sum()),
        "no_counts": int((~under_tissue.isin(spot_ids)).sum()),
        "not_selected": int((known & ~kept).sum()),
    }
    if "unsaid" in spots and (unsaid := int(spot_ids.isin(spots.index[spots["unsaid"]]).sum())):
        dropped |= {"not_selected": dropped["not_selected"] - unsaid, "no_tissue_value": unsaid}
    joined = spots.loc[spot_ids[kept]].drop(columns=["selected", "unsaid"], errors="ignore")
    joined.index.name = "spot"
    return counts[np.flatnonzero(kept)], joined, dropped
