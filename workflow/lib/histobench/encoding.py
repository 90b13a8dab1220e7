"""Bytes of a text file in, text out, whatever program wrote it; or one sentence about what is no text.

Spreadsheets and old statistics programs write UTF-16 and single-byte encodings. UTF-16 says what it is. A
single-byte encoding does not - the same byte is another letter in each of them - so it is never guessed:
the name of a gene or a patient would be wrong without a word.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from histobench.errors import UserError

# Longest mark first: that of UTF-32 starts with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BINARY = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"PAR1": "a Parquet file",
    b"\x89HDF": "an HDF5 file",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"%PDF": "a PDF file",
    b"\x1f\x8b": "a gzip file",
}
# Numbers as tables of people and programs have them; Python's float also takes 0_69, which is 69.
_DECIMAL = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
# Bytes that are looked at to tell UTF-16 without a mark.
_SAMPLE = 4096


def decimal(text: object) -> float | None:
    """Return the number that a text is, with a point and no other sign inside; None for anything else."""
    return float(text) if isinstance(text, str) and _DECIMAL.fullmatch(text) else None


def as_utf8(data: bytes, path: str | Path) -> bytes:
    """Return text as UTF-8 with Unix line ends and no byte-order mark.

    Parameters
    ----------
    data
        Content of a file: UTF-8, or UTF-16 or UTF-32 that says so by its mark or by its zero bytes.
    path
        The file, for messages.

    Raises
    ------
    UserError
        It is no text, or in an encoding that cannot be told; names the line and the column.
    """
    for magic, what in _BINARY.items():
        if data.startswith(magic):
            raise UserError(f"{path}: is {what}, not text; export a plain text file (UTF-8).")
    mark, encoding = next(((m, e) for m, e in _MARKS if data.startswith(m)), (b"", ""))
    data = data[len(mark) :]
    encoding = encoding or _without_mark(data, path)
    if encoding != "utf-8":
        try:
            data = data.decode(encoding).encode("utf-8")
        except UnicodeError as error:
            raise UserError(
                f"{path}: starts as {encoding[:6].upper()} text but is damaged ({error}); save it as UTF-8."
            ) from None
    elif not data.isascii():
        _check_utf8(data, path)
    if b"\r" in data:  # old Macintosh line ends occur in published files
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data


def read_utf8(path: str | Path) -> str:
    """Return a small text file as text, with Unix line ends.

    Raises
    ------
    UserError
        It is no text, or in an encoding that cannot be told.
    OSError
        It is missing or cannot be read.
    """
    return as_utf8(Path(path).read_bytes(), path).decode("utf-8")


def _without_mark(data: bytes, path: str | Path) -> str:
    """Tell UTF-16 by its zero bytes: Latin letters, digits and tabs have one each, on the same side."""
    if b"\0" not in data:
        return "utf-8"
    sample = data[:_SAMPLE]
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    half = len(sample) / 2
    if len(data) % 2 == 0 and max(even, odd) > 0.5 * half and min(even, odd) < 0.05 * half:
        return "utf-16-le" if odd > even else "utf-16-be"
    raise UserError(f"{path}: holds zero bytes, so it is no text; export a plain text file (UTF-8).")


def _check_utf8(data: bytes, path: str | Path) -> None:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        place = error.start
    else:
        return
    before = data[:place].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    line = before.count(b"\n") + 1
    start = before.rfind(b"\n") + 1
    separator = next((sign for sign in (b"\t", b";", b",") if sign in before[start:]), b"")
    column = before.count(separator, start) + 1 if separator else len(before) - start + 1
    shown = _word(data, place).decode("cp1252", "replace")
    where = f"line {line}, {'column' if separator else 'character'} {column}"
    raise UserError(
        f'{path}: {where}: "{shown}" is not written in UTF-8 (byte 0x{data[place]:02X}; the word is shown as '
        "Windows-1252 reads it); save the file as UTF-8, for instance with `iconv -f WINDOWS-1252 -t UTF-8`, "
        "and look at that word."
    )


def _word(data: bytes, place: int) -> bytes:
    """Return what stands around a byte, up to the next separators, at most some letters."""
    begin, end = place, place + 1
    while begin > max(0, place - 20) and data[begin - 1] not in b'\t\r\n;," ':
        begin -= 1
    while end < min(len(data), place + 20) and data[end] not in b'\t\r\n;," ':
        end += 1
    return data[begin:end]
