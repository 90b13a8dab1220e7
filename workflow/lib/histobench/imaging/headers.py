"""Width and height of an image from the first bytes of its file, without decoding it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from histobench.errors import UserError

JPEG, PNG, TIFF = "JPEG", "PNG", "TIFF"

# Start-of-frame markers carry the size; 0xC4, 0xC8 and 0xCC lie between them but are tables.
START_OF_FRAME = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def unreadable(path: Path, why: str) -> UserError:
    """Return the one sentence for an image file that cannot be used."""
    return UserError(f"{path}: {why}; get the file again.")


@contextmanager
def tiff_errors(path: str | Path) -> Iterator[None]:
    """Turn whatever goes wrong while the header of a TIFF is read into one sentence."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # damaged headers fail in many ways, wherever a value is used
        raise unreadable(Path(path), "the TIFF header is truncated or damaged") from error


def image_kind(path: str | Path) -> str:
    """Return "JPEG", "PNG" or "TIFF" (also SVS and its kin) by content, whatever the suffix says.

    Raises
    ------
    UserError
        The file is missing, empty or none of these.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        what = "a folder" if path.is_dir() else "a pipe or device"
        raise UserError(f"{path}: the image cannot be read because this is {what}; name the image file.")
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
    except FileNotFoundError:
        raise UserError(f"{path}: the image does not exist; check the path or fetch the file.") from None
    except OSError as error:
        raise UserError(f"{path}: the image cannot be read ({error.strerror}); check the file.") from error
    if start.startswith(b"\xff\xd8\xff"):
        return JPEG
    if start == b"\x89PNG\r\n\x1a\n":
        return PNG
    if start[:4] in _TIFF_STARTS:
        return TIFF
    if not start:
        raise unreadable(path, "the image file is empty")
    raise UserError(
        f"{path}: not an image that can be read (JPEG, PNG, TIFF, or a slide of OpenSlide); "
        "convert it to one of these."
    )


def image_size(path: str | Path) -> tuple[int, int]:
    """Return (width, height) in pixels of the stored image, ignoring any EXIF rotation.

    Raises
    ------
    UserError
        The file is missing, not an image of a known kind, or ends before its size is stated.
    """
    path = Path(path)
    kind = image_kind(path)
    try:
        if kind == TIFF:
            width, height = _tiff_size(path)
        else:
            with path.open("rb") as stream:
                width, height = (_jpeg_size if kind == JPEG else _png_size)(stream)
    except (struct.error, EOFError, ValueError) as error:
        raise unreadable(path, f"the {kind} header is truncated or damaged") from error
    if width < 1 or height < 1:
        raise unreadable(path, f"the {kind} header states a size of {width} x {height} pixels")
    return width, height


def _jpeg_size(stream: BinaryIO) -> tuple[int, int]:
    stream.seek(2)
    while True:
        byte = stream.read(1)
        if byte != b"\xff":
            raise EOFError("no marker where one was expected")
        while byte == b"\xff":  # any number of fill bytes may precede a marker
            byte = stream.read(1)
        if not byte:
            raise EOFError("no size before the end of the file")
        marker = byte[0]
        if marker in WITHOUT_LENGTH:
            continue
        (length,) = struct.unpack(">H", stream.read(2))
        if marker in START_OF_FRAME:
            _, height, width = struct.unpack(">BHH", stream.read(5))
            return width, height
        if marker == 0xDA:
            raise ValueError("image data before a frame header")
        stream.seek(length - 2, 1)


def _png_size(stream: BinaryIO) -> tuple[int, int]:
    start = stream.read(24)
    if start[12:16] != b"IHDR":
        raise ValueError("the first chunk is not IHDR")
    width, height = struct.unpack(">II", start[16:24])
    return width, height


def _tiff_size(path: Path) -> tuple[int, int]:
    import tifffile

    with tiff_errors(path), tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        return int(page.imagewidth), int(page.imagelength)
