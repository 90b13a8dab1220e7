"""Width and height of an image from the first bytes of its file, without decoding it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from histobench.errors import UserError
from histobench.sniff import HEAD_BYTES, unexpected_content

JPEG, PNG, TIFF = "JPEG", "PNG", "TIFF"

# Start-of-frame markers carry the size; 0xC4, 0xC8 and 0xCC lie between them but are tables.
START_OF_FRAME = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type

# How far files can be packed: a block of 64 pixels takes a bit or more in Huffman's code (twice that is
# allowed here), and deflate repeats at most 258 bytes for two bits.
_JPEG_PIXELS_A_BYTE = 1024
_DEFLATE_MOST = 1032
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
    with path.open("rb") as stream:
        strange = unexpected_content(
            stream.read(HEAD_BYTES), path.stem
        )  # any name: suffixes of images may be wrong
    if strange:
        raise unreadable(path, strange)
    raise UserError(
        f"{path}: not an image that can be read (JPEG, PNG, TIFF, or a slide of OpenSlide); "
        "convert it to one of these."
    )


def header_size(path: str | Path, kind: str) -> tuple[int, int]:
    """Return (width, height) in pixels that the header of a JPEG or PNG states, ignoring any EXIF rotation.

    Raises
    ------
    UserError
        The file ends before its size is stated, or is too short to hold so many pixels.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            width, height, least = (_jpeg_size if kind == JPEG else _png_size)(stream)
    except UserError as error:  # getting the same file again would not help
        raise UserError(f"{path}: {error}; save the image as RGB.") from None
    except (struct.error, EOFError, ValueError, KeyError) as error:
        raise unreadable(path, f"the {kind} header is truncated or damaged") from error
    if width < 1 or height < 1:
        raise unreadable(path, f"the {kind} header states a size of {width} x {height} pixels")
    length = path.stat().st_size
    if length < least:
        raise unreadable(
            path,
            f"the {kind} is truncated or damaged (its header states {width} x {height} pixels, which "
            f"{length} bytes cannot hold)",
        )
    return width, height


def _jpeg_size(stream: BinaryIO) -> tuple[int, int, int]:
    """Return width, height and the least number of bytes of the file."""
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
            _, height, width, components = struct.unpack(">BHHB", stream.read(6))
            if components not in (1, 3):
                raise UserError(f"the JPEG has {components} colour channels, but grey or RGB is needed")
            return width, height, width * height // _JPEG_PIXELS_A_BYTE
        if marker == 0xDA:
            raise ValueError("image data before a frame header")
        stream.seek(length - 2, 1)


def _png_size(stream: BinaryIO) -> tuple[int, int, int]:
    """Return width, height and the least number of bytes of the file."""
    start = stream.read(26)
    if start[12:16] != b"IHDR":
        raise ValueError("the first chunk is not IHDR")
    width, height, bits, colours = struct.unpack(">IIBB", start[16:26])
    return width, height, height * (1 + width * bits * PNG_CHANNELS[colours] // 8) // _DEFLATE_MOST
