"""Published text tables: decompression, line ends, and numeric columns with the line of every problem."""

from __future__ import annotations

import csv
import gzip
import unicodedata
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from histobench.encoding import as_utf8
from histobench.errors import UserError
from histobench.sniff import HEAD_BYTES, unexpected_content

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import pandas as pd


MISSING_WORDS = frozenset(
    {"", "na", "n/a", "n.a.", "#n/a", "<na>", "nan", "none", "null", "-", "--", ".", "?"}
)
"""What tables write, in any case of letters, where there is nothing: no number, no answer and no label."""

_YES = frozenset({"1", "1.0", "true", "t", "yes", "y"})
_NO = frozenset({"0", "0.0", "false", "f", "no", "n"})


# Of no width: they come along when words are copied from pages and documents.
_UNSEEN = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad"))


def plain_word(word: str) -> str:
    """Return a word as it looks: no blanks around it, nothing unseen in it, each letter in its usual form."""
    if word.isascii():
        return word.strip()
    return unicodedata.normalize("NFC", word.translate(_UNSEEN)).strip()


def plain_words(column: pd.Series) -> pd.Series:
    """Return a column of any type as stripped text; "" where it says nothing (:data:`MISSING_WORDS`)."""
    words = column.astype(object).map(str).map(plain_word)
    return words.mask(words.str.lower().isin(MISSING_WORDS) | column.isna(), "").astype(object)


def plain_index(names: pd.Index) -> pd.Index:
    """Return names, each a :func:`plain_word`."""
    import pandas as pd

    return pd.Index([plain_word(str(name)) for name in names], name=names.name, dtype=object)


def is_answer(word: str) -> bool:
    """Whether :func:`yes_or_no` reads a word, or takes it for none."""
    return word.strip().lower() in _YES | _NO | MISSING_WORDS


def yes_or_no(
    column: pd.Series, path: str | Path, place: str = "line"
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Read a column that answers a question: 1 or 0, true or false, yes or no.

    Parameters
    ----------
    column
        Of any type; index: line or row, for messages.
    place
        What the index counts.

    Returns
    -------
    yes, missing
        Where nothing is said the answer is not yes.

    Raises
    ------
    UserError
        Another word, with its place.
    """
    words = plain_words(column)
    lower = words.str.lower()
    odd = ~lower.isin(_YES | _NO | {""}).to_numpy()
    if odd.any():
        row = int(np.flatnonzero(odd)[0])
        raise UserError(
            f"{path}: {place} {column.index[row]}, column {column.name}: expected 1 or 0, found "
            f'"{words.iloc[row]}" (true, false, yes and no are read too); correct it.'
        )
    return lower.isin(_YES).to_numpy(dtype=bool), (lower == "").to_numpy(dtype=bool)


def read_text(path: str | Path) -> bytes:
    """Return a text file as UTF-8, gunzipped if it is gzip, with Unix line ends and no byte-order mark.

    Raises
    ------
    UserError
        The file is missing, empty, unreadable, a damaged gzip file, a web page or another message in its
        place, or in an encoding that cannot be told.
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
    if not (data[:HEAD_BYTES].strip() or data.strip()):
        raise UserError(f"{path}: the file is empty; fetch it again or leave the section out.")
    strange = unexpected_content(data[:HEAD_BYTES], Path(path).name.removesuffix(".gz"))
    if strange:
        raise UserError(f"{path}: {strange}; fetch it again.")
    return data


def _gunzip(data: bytes) -> bytes:
    """Decompress gzip; by the fast decoder where the file has a single member."""
    if (
        data.find(b"\x1f\x8b\x08", 1) < 0
    ):  # may also stand in compressed data by chance, which costs time only
        import imagecodecs

        try:
            whole = bytes(imagecodecs.gzip_decode(data))
            # its last four bytes are the size; if they are not, something follows, which gzip judges
            if data[-4:] == (len(whole) % 2**32).to_bytes(4, "little"):
                return whole
        except (imagecodecs.GzipError, ValueError, MemoryError, SystemError):
            pass  # the standard library says what is wrong, or knows better
    return gzip.decompress(data)


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
    if b'"' in data:
        for name, column in table.items():
            torn = column.str.contains("\n", regex=False)
            if torn.any():
                start = column[torn].iloc[0].split("\n")[0]
                raise UserError(
                    f'{path}: column {name}: a quotation mark before "{start}" takes the lines after it into '
                    "one field; remove it, or close it in its line."
                )
    first = skip + (2 if names is None else 1)
    table.index = pd.RangeIndex(first, first + len(table), name="line")
    table.columns = [str(name).strip() for name in table.columns]
    table = table[(table != "").any(axis=1)]  # blank lines at the end
    if table.empty:
        raise UserError(f"{path}: holds a header but no rows; fetch it again or leave the section out.")
    if names is None:  # pandas numbers columns of one name, so that only the header tells
        header = data.split(b"\n", skip + 1)[skip].decode("utf-8")
        given = [name.strip() for name in next(csv.reader([header], delimiter=sep), [])]
        table.attrs["repeated"] = sorted({name for name in given if given.count(name) > 1})
    return table


def numbers(column: pd.Series, path: str | Path, *, allow_missing: bool = False) -> np.ndarray:
    """Convert a text column to float64; name the line of the first value that is missing or no number."""
    import pandas as pd

    blank = plain_words(column) == ""
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
    path: str | Path,
    names: Sequence[str],
    *,
    sep: str = "\t",
    optional: Sequence[str] = (),
    answers: Sequence[str] = (),
) -> pd.DataFrame:
    """Read named numeric columns (float64) of a text table; index: line number in the file.

    Parameters
    ----------
    names, optional
        Numeric columns that must be there, and that may be.
    answers
        Columns that may be there and say yes or no (bool; see :func:`yes_or_no`); ``NAME_unsaid`` is where
        they say nothing.

    Raises
    ------
    UserError
        A column is missing, or a value is missing or no number.
    """
    import pandas as pd

    table = text_table(path, sep)
    require_columns(table, [*names, *(name for name in (*optional, *answers) if name in table)], path)
    wanted = [*names, *(name for name in optional if name in table)]
    values = {name: numbers(table[name], path) for name in wanted}
    for name in (name for name in answers if name in table):
        values[name], values[f"{name}_unsaid"] = yes_or_no(table[name], path)
    return pd.DataFrame(values, index=table.index)


def require_columns(
    table: pd.DataFrame, names: Sequence[str], path: str | Path, separators: str = "tabs"
) -> None:
    """Stop unless each column is there once; ``separators`` are those of such tables, for messages."""
    missing = [name for name in names if name not in table]
    if missing and len(table.columns) == 1 and (sign := other_separator(str(table.columns[0]))):
        raise UserError(
            f"{path}: column {missing[0]} is missing, because the header looks separated by {sign}; separate "
            f"{', '.join(names)} by {separators}, in every line."
        )
    if missing:
        raise UserError(
            f"{path}: column {missing[0]} is missing, expected {', '.join(names)} "
            f"but the header says {', '.join(map(str, table.columns))}; correct the header."
        )
    repeated = [name for name in names if name in table.attrs.get("repeated", ())]
    if repeated:
        raise UserError(f"{path}: column {repeated[0]} stands twice in the header; keep the right one.")


def other_separator(header: str) -> str:
    """Name what separates the words of a header that should have been split, or nothing."""
    signs = {",": "commas", ";": "semicolons", "\t": "tabs", " ": "blanks"}
    return next((name for sign, name in signs.items() if sign in header.strip()), "")
