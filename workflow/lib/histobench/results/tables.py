"""One writer and one reader of declared tables: what does not fit the catalogue is one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from histobench.errors import UserError
from histobench.files import read_table, write_table
from histobench.results.catalogue import Entry
from histobench.results.columns import TYPES, Column


def check(frame: pd.DataFrame, entry: Entry, where: str | Path) -> None:
    """Refuse a table that is not as declared.

    Parameters
    ----------
    frame
        The table.
    entry
        Its declaration.
    where
        Its file, for messages.

    Raises
    ------
    UserError
        A column is missing, not declared, in another place or of another type.
    """
    found, declared = list(map(str, frame.columns)), list(entry.column_names)
    missing = [name for name in declared if name not in found]
    if missing:
        raise UserError(
            f"{where}: the table has no column {missing[0]}{_others(missing)}, which is declared for "
            f"{entry.name}; {_REMEDY}."
        )
    extra = [name for name in found if name not in declared]
    if extra and not entry.more:
        raise UserError(
            f"{where}: column {extra[0]}{_others(extra)} is not declared for {entry.name}; {_REMEDY}."
        )
    if [name for name in found if name in declared] != declared:
        raise UserError(
            f"{where}: the columns stand in the order {', '.join(found)}, expected {', '.join(declared)}; "
            f"{_REMEDY}."
        )
    for column in entry.columns:
        wrong = misfit(frame[column.name], column)
        if wrong:
            raise UserError(
                f"{where}: column {column.name} holds {wrong}, expected {TYPES[column.type]}; {_REMEDY}."
            )


_REMEDY = "correct histobench/results/catalogue.py or what makes the table, or make it again"


def _others(listed: list[str]) -> str:
    return f" (and {len(listed) - 1} more)" if len(listed) > 1 else ""


def misfit(values: pd.Series, column: Column) -> str:
    """Return a value that is not of the column's type, as text; nothing where all are. Missing ones fit."""
    known = values[values.notna() & (values != "")]  # an empty text is written as an empty field, too
    if column.type == "text" or known.empty:
        return ""
    if column.type == "flag":
        wrong = ~known.isin([True, False])
    else:
        numbers = pd.to_numeric(known, errors="coerce")
        wrong = numbers.isna()
        if column.type == "integer":
            wrong |= numbers % 1 != 0
    first = known[wrong].tolist()[:1]  # as Python's own types, which print plainly
    return repr(first[0]) if first else ""


def write(frame: pd.DataFrame, path: str | Path, entry: Entry) -> None:
    """Write a declared table, see :func:`histobench.files.write_table`.

    Raises
    ------
    UserError
        It is not as declared.
    """
    check(frame, entry, path)
    write_table(frame, path)


def read(path: str | Path, entry: Entry) -> pd.DataFrame:
    """Read a declared table with the declared types: names stay text, also where all of them are numbers.

    Whole numbers of which some are missing are pandas' ``Int64``.

    Raises
    ------
    UserError
        The file is missing, or not as declared.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: there is no such table; run the workflow up to it, or correct the path.")
    if Path(path).suffix == ".parquet":
        frame = read_table(path)
    else:
        words = {column.name: str for column in entry.columns if column.type == "text"}
        frame = read_table(path, dtype=words)
    check(frame, entry, path)
    for column in entry.columns:
        values = frame[column.name]
        if column.type == "integer" and values.dtype.kind not in "iu":
            frame[column.name] = pd.to_numeric(values).astype("Int64" if values.isna().any() else np.int64)
        elif column.type == "number" and values.dtype.kind != "f":
            frame[column.name] = pd.to_numeric(values).astype(np.float64)
    return frame
