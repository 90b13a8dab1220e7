"""Opening histology images: whole, or window by window with padding.

Positions are (x, y) in pixels of the full-resolution image, x to the right, y downwards, origin top left.
The pixels are those stored; an EXIF rotation is ignored, because spot positions refer to the stored image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from histobench.errors import UserError
from histobench.imaging.headers import JPEG, PNG, TIFF, image_kind, image_size, tiff_errors, unreadable
from histobench.imaging.jpeg import read_jpeg
from histobench.imaging.jpegbands import JpegBands, find_layout

__all__ = ["ArraySlide", "Slide", "image_size", "open_slide", "read_image", "vendor_format"]

Image = npt.NDArray[np.uint8]

_CACHE_BYTES = 64 * 2**20  # decoded TIFF tiles kept: a few rows of tiles of a whole-slide image
_PLAIN_ROWS = 64  # rows read at a time of a TIFF without compression, which may be one huge strip


class Slide(ABC):
    """An image that windows are read from.

    Attributes
    ----------
    width, height
        Size in pixels.
    """

    width: int
    height: int

    @abstractmethod
    def _window(self, left: int, top: int, right: int, bottom: int) -> Image:
        """Pixels of a window that lies inside the image and is not empty."""

    def expect(self, tops: Iterable[int], height: int) -> None:
        """Say which windows come next, by their tops: a slide decoded by rows decodes these at once."""
        return  # nothing to prepare in most files

    def read_region(self, x: int, y: int, w: int, h: int, fill: int = 255) -> Image:
        """Return the window with top left (x, y) as h x w x 3 RGB bytes.

        The part outside the image has the value ``fill``. The array may be a view of the image: copy it
        before writing to it.
        """
        if w < 0 or h < 0:
            raise ValueError(f"a window of {w} x {h} pixels cannot be read")
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + w, self.width), min(y + h, self.height)
        if right <= left or bottom <= top:
            return np.full((h, w, 3), fill, np.uint8)
        inside = self._window(left, top, right, bottom)
        if inside.shape[:2] == (h, w):
            return inside
        region = np.full((h, w, 3), fill, np.uint8)
        region[top - y : bottom - y, left - x : right - x] = inside
        return region

    def bands(self, rows: int = 512) -> Iterator[tuple[int, Image]]:
        """Walk over the image from top to bottom in bands of full width: (first row, pixels)."""
        for top in range(0, self.height, rows):
            yield top, self.read_region(0, top, self.width, min(rows, self.height - top))

    def close(self) -> None:  # noqa: B027 (an image in memory has nothing to release)
        """Release the file."""

    def __enter__(self) -> Slide:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ArraySlide(Slide):
    """An image in memory, height x width x 3 RGB bytes."""

    def __init__(self, array: Image) -> None:
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
            raise ValueError(
                f"expected height x width x 3 bytes, got an array of {array.shape} and {array.dtype}"
            )
        self.array = array
        self.height, self.width = array.shape[:2]

    def _window(self, left: int, top: int, right: int, bottom: int) -> Image:
        return self.array[top:bottom, left:right]


class _DecodedOnce(Slide):
    """A JPEG or PNG: the size comes from the header, pixels are decoded once, when first needed.

    Of a JPEG with restart markers only those rows that windows touch.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self._kind = path, kind
        self.width, self.height = image_size(path)
        self._array: Image | None = None
        self._bands: JpegBands | None = None

    def expect(self, tops: Iterable[int], height: int) -> None:
        if self._array is None and self._bands is None:
            self._open()
        if self._bands is not None:
            spans = [(max(top, 0), min(top + height, self.height)) for top in tops]
            self._bands.expect([(top, bottom) for top, bottom in spans if top < bottom])

    def _window(self, left: int, top: int, right: int, bottom: int) -> Image:
        if self._array is None and self._bands is None:
            self._open()
        if self._bands is not None:
            return self._bands.window(left, top, right, bottom)
        assert self._array is not None
        return self._array[top:bottom, left:right]

    def _open(self) -> None:
        if self._kind == JPEG:
            data = self.path.read_bytes()
            layout = find_layout(data)
            if layout is not None:
                self._bands = JpegBands(self.path, data, layout)
                return
        self._array = read_image(self.path)

    def close(self) -> None:
        self._array = self._bands = None


class _TiffSlide(Slide):
    """A TIFF read by the tiles or strips that a window touches."""

    def __init__(self, path: Path) -> None:
        import tifffile

        self.path = path
        with tiff_errors(path):
            self._tiff = tifffile.TiffFile(path)
            self._page: Any = self._tiff.pages.first
            self.width, self.height = int(self._page.imagewidth), int(self._page.imagelength)
            self._segment = (
                (self._page.tilelength, self._page.tilewidth)
                if self._page.is_tiled
                else (self._page.rowsperstrip, self.width)
            )
        if self._page.imagedepth != 1:
            raise UserError(
                f"{path}: the TIFF holds a stack of planes; save the one RGB plane as its own file."
            )
        self._planes = self._page.samplesperpixel if self._page.planarconfig == 2 else 1
        # Pixels that lie in the file as they are can be read by rows, however large the strips.
        self._plain = self._planes == 1 and self._page.dtype == np.uint8 and bool(self._page.is_memmappable)
        if self._plain:
            self._segment = (_PLAIN_ROWS, self.width)
        self._across = -(-self.width // self._segment[1])
        self._down = -(-self.height // self._segment[0])
        if not self._plain and len(self._page.dataoffsets) < self._across * self._down * self._planes:
            raise unreadable(path, "the TIFF lists too few tiles")
        self._cache: OrderedDict[tuple[int, int], Image] = OrderedDict()
        self._cached = 0

    def _window(self, left: int, top: int, right: int, bottom: int) -> Image:
        high, wide = self._segment
        window = np.empty((bottom - top, right - left, 3), np.uint8)
        for row in range(top // high, (bottom - 1) // high + 1):
            for column in range(left // wide, (right - 1) // wide + 1):
                tile = self._tile(row, column)
                y0, x0 = row * high, column * wide
                y1, x1 = min(y0 + high, bottom), min(x0 + wide, right)
                window[max(y0, top) - top : y1 - top, max(x0, left) - left : x1 - left] = tile[
                    max(y0, top) - y0 : y1 - y0, max(x0, left) - x0 : x1 - x0
                ]
        return window

    def _tile(self, row: int, column: int) -> Image:
        key = (row, column)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        index = row * self._across + column
        planes = [self._decode(index + plane * self._across * self._down) for plane in range(self._planes)]
        tile = to_rgb(planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2), self.path)
        self._cache[key] = tile
        self._cached += tile.nbytes
        while self._cached > _CACHE_BYTES and len(self._cache) > 1:
            self._cached -= self._cache.popitem(last=False)[1].nbytes
        return tile

    def _read_rows(self, index: int) -> npt.NDArray[Any]:
        """Read some rows of a TIFF without compression."""
        page = self._page
        rows = min(_PLAIN_ROWS, self.height - index * _PLAIN_ROWS)
        count = rows * self.width * page.samplesperpixel
        handle = page.parent.filehandle
        handle.seek(page.dataoffsets[0] + index * _PLAIN_ROWS * self.width * page.samplesperpixel)
        data = handle.read(count)
        if len(data) != count:
            raise unreadable(self.path, "the TIFF is truncated")
        return np.frombuffer(data, np.uint8).reshape(rows, self.width, page.samplesperpixel)

    def _decode(self, index: int) -> npt.NDArray[Any]:
        if self._plain:
            return self._read_rows(index)
        page = self._page
        handle = page.parent.filehandle
        count = page.databytecounts[index]
        handle.seek(page.dataoffsets[index])
        data = handle.read(count)
        if len(data) != count:
            raise unreadable(self.path, "the TIFF is truncated")
        try:
            segment = page.decode(data or None, index, jpegtables=page.jpegtables)[0]
        except Exception as error:  # every codec has exception classes of its own
            raise unreadable(self.path, f"a tile of the TIFF cannot be decoded ({error})") from error
        if segment is None:  # a sparse file leaves out its empty tiles
            return np.full((*self._segment, page.samplesperpixel // self._planes), 255, np.uint8)
        return segment[0]

    def close(self) -> None:
        self._cache.clear()
        self._tiff.close()


class _VendorSlide(Slide):
    """A scanner's own format (SVS, NDPI, ...) read through OpenSlide at full resolution."""

    def __init__(self, path: Path) -> None:
        import openslide

        self.path = path
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideError as error:
            raise unreadable(path, f"OpenSlide cannot open the slide ({error})") from error
        self.width, self.height = self._slide.dimensions

    def _window(self, left: int, top: int, right: int, bottom: int) -> Image:
        import openslide

        try:
            rgba = np.asarray(self._slide.read_region((left, top), 0, (right - left, bottom - top)))
        except openslide.OpenSlideError as error:
            raise unreadable(self.path, f"a region of the slide cannot be decoded ({error})") from error
        return over_white(rgba)

    def close(self) -> None:
        self._slide.close()


def open_slide(path: str | Path) -> Slide:
    """Open an image for reading windows; use it in a ``with`` block.

    PNG is decoded whole when the first window is read and kept until ``close``; JPEG as well, or by the rows
    that windows touch where its restart markers allow that. TIFF is read by
    the tiles or strips that a window touches; scanners' formats go through OpenSlide.

    Raises
    ------
    UserError
        The file is missing, of an unknown kind, truncated or damaged (for windows, when they are read).
    """
    path = Path(path)
    if vendor_format(path) is not None:
        return _VendorSlide(path)
    kind = image_kind(path)
    return _DecodedOnce(path, kind) if kind in (JPEG, PNG) else _TiffSlide(path)


def vendor_format(path: str | Path) -> str | None:
    """Return OpenSlide's name of a scanner's own format ("aperio", "mirax"); None for ordinary images."""
    path = Path(path)
    if path.suffix.lower() in (".jpg", ".jpeg", ".png") or not path.is_file():
        return None
    import openslide

    vendor = openslide.OpenSlide.detect_format(path)
    return None if vendor == "generic-tiff" else vendor


def read_image(path: str | Path, out: Image | None = None) -> Image:
    """Decode a whole image to height x width x 3 RGB bytes.

    Parameters
    ----------
    path
        JPEG, PNG, TIFF or a scanner's format; grey becomes RGB, transparency is laid over white and
        16-bit values keep their upper byte.
    out
        For JPEG: an array of the right shape to decode into.

    Raises
    ------
    UserError
        The file is missing, truncated, damaged or not an image of a known kind.
    """
    path = Path(path)
    kind = image_kind(path) if vendor_format(path) is None else TIFF
    if kind == JPEG:
        return read_jpeg(path, out)
    if kind == PNG:
        import imagecodecs

        try:
            return to_rgb(imagecodecs.png_decode(path.read_bytes()), path)
        except imagecodecs.PngError as error:
            raise unreadable(path, f"the PNG is truncated or damaged ({error})") from error
    with open_slide(path) as slide:
        return slide.read_region(0, 0, slide.width, slide.height)


def to_rgb(array: npt.NDArray[Any], path: Path) -> Image:
    """Turn decoded grey, grey + alpha, RGB or RGBA of 8 or 16 bits into RGB bytes."""
    if array.ndim == 2:
        array = array[:, :, None]
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    channels = array.shape[2]
    if array.dtype != np.uint8 or channels not in (1, 2, 3, 4):
        raise UserError(
            f"{path}: pixels are {array.dtype} with {channels} channels, but 8 or 16 bits of grey or RGB "
            "are needed; convert the image."
        )
    if channels == 3:
        return np.ascontiguousarray(array)
    if channels == 4:
        return over_white(array)
    rgb = np.repeat(array[:, :, :1], 3, axis=2)
    return rgb if channels == 1 else over_white(np.concatenate([rgb, array[:, :, 1:]], axis=2))


def over_white(rgba: Image) -> Image:
    """Lay RGBA over white; opaque pixels stay exactly as they are."""
    alpha = rgba[:, :, 3:]
    rgb = rgba[:, :, :3]
    if (alpha == 255).all():
        return np.ascontiguousarray(rgb)
    # 16 bits hold 255 * 255, and (n + 127) // 255 rounds to nearest.
    wide = alpha.astype(np.uint16)
    return ((rgb * wide + 255 * (255 - wide) + 127) // 255).astype(np.uint8)
