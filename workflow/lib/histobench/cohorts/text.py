"""Published text tables: decompression, line ends, and numeric columns with the line of every problem."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from histobench.encoding import as_utf8
from histobench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd


def read_text(path: str | Path) -> bytes:
    """Return a text file as UTF-8, gunzipped if it is gzip, with Unix line ends and no byte-order mark.

    Raises
    ------
    UserError
        The file is missing, empty, unreadable, a damaged gzip file, or in an encoding that cannot be told.
    """
    try:
        data = Path(path).read_bytes()
        if data[:2] == b"\x1f\x8b":  # by content: names do not always tell
            data = _gunzip(data)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; fetch it or correct the path.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise UserError(
            f"{path}: the gzip file is damaged or truncated; delete it and fetch it again."
        ) from None
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); check the path and its permissions."
        ) from None
    data = as_utf8(data, path)
    if not data.strip():
        raise UserError(f"{path}: the file is empty; fetch it again or leave the section out.")
    return data


def _gunzip(data: bytes) -> bytes:
    """Decompress gzip; by the fast decoder where the file has a single member."""
    if (
        data.find(b"\x1f\x8b\x08", 1) < 0
    ):  # may also stand in compressed data by chance, which costs time only
        import imagecodecs

        try:
            return bytes(imagecodecs.gzip_decode(data))
        except (imagecodecs.GzipError, ValueError, MemoryError, SystemError):
            pass  # the standard library says what is wrong, or knows better
    return gzip.decompress(data)


def split_lines(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return begin and end offsets of the lines of ``data``, trailing blank lines left out."""
    size = len(data.rstrip(b"\n"))
    breaks = np.flatnonzero(np.frombuffer(data, dtype=np.uint8, count=size) == ord("\n"))
    return np.concatenate(([0], breaks + 1)), np.concatenate((breaks, [size]))


def text_table(
    path: str | Path, sep: str = "\t", names: Sequence[str] | None = None, skip: int = 0
) -> pd.DataFrame:
    """Read a table as text: every value a string, missing ones empty; index: line number in the file.

    Parameters
    ----------
    path
        The file; the first line holds the columns' names unless ``names`` gives them.
    sep
        What separates the fields.
    names
        Columns of a file without a header.
    skip
        Lines before the table, such as comments.
    """
    import io

    import pandas as pd

    data = read_text(path)
    if names is not None:
        found = data[: data.find(b"\n")].decode("utf-8", "replace").count(sep) + 1
        if found != len(names):
            raise UserError(
                f"{path}: line 1 has {found} fields, expected {len(names)} ({', '.join(names)}); "
                "check that this is the right file."
            )
    try:
        table = pd.read_csv(
            io.BytesIO(data),
            sep=sep,
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,
            header=0 if names is None else None,
            names=None if names is None else list(names),
            skiprows=skip,
        )
    except pd.errors.ParserError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: is not a table with one separator throughout ({reason}); correct it."
        ) from None
    table = table.fillna("")  # fields that a short line lacks
    first = skip + (2 if names is None else 1)
    table.index = pd.RangeIndex(first, first + len(table), name="line")
    table.columns = [str(name).strip() for name in table.columns]
    table = table[(table != "").any(axis=1)]  # blank lines at the end
    if table.empty:
        raise UserError(f"{path}: holds a header but no rows; fetch it again or leave the section out.")
    return table


def numbers(column: pd.Series, path: str | Path, *, allow_missing: bool = False) -> np.ndarray:
    """Convert a text column to float64; name the line of the first value that is missing or no number."""
    import pandas as pd

    blank = column.isin(["", "NA", "NaN", "nan"])
    values = pd.to_numeric(column.mask(blank), errors="coerce").to_numpy(dtype=np.float64)
    wrong = ~np.isfinite(values) & ~(blank.to_numpy() & allow_missing)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        found = f'"{column.iloc[row]}"' if column.iloc[row] else "nothing"
        raise UserError(
            f"{path}: line {column.index[row]}, column {column.name}: expected a number, found {found}; "
            "correct it or remove the line."
        )
    return values


def field_columns(
    path: str | Path, names: Sequence[str], *, sep: str = "\t", optional: Sequence[str] = ()
) -> pd.DataFrame:
    """Read named numeric columns (float64) of a text table; index: line number in the file.

    Raises
    ------
    UserError
        A column is missing, or a value is missing or no number.
    """
    import pandas as pd

    table = text_table(path, sep)
    require_columns(table, names, path)
    wanted = [*names, *(name for name in optional if name in table)]
    return pd.DataFrame({name: numbers(table[name], path) for name in wanted}, index=table.index)


def require_columns(table: pd.DataFrame, names: Sequence[str], path: str | Path) -> None:
    """Stop unless all columns are there."""
    missing = [name for name in names if name not in table]
    if missing and len(table.columns) == 1 and (sign := _other_separator(str(table.columns[0]))):
        raise UserError(
            f"{path}: column {missing[0]} is missing, because the header looks separated by {sign}; separate "
            f"{', '.join(names)} by tabs, in every line."
        )
    if missing:
        raise UserError(
            f"{path}: column {missing[0]} is missing, expected {', '.join(names)} "
            f"but the header says {', '.join(map(str, table.columns))}; correct the header."
        )


def _other_separator(header: str) -> str:
    """Name what separates the words of a header that should have been split, or nothing."""
    signs = {",": "commas", ";": "semicolons", "\t": "tabs", " ": "blanks"}
    return next((name for sign, name in signs.items() if sign in header.strip()), "")
