"""Opening histology images: whole, or window by window with padding.

Positions are (x, y) in pixels of the full-resolution image, x to the right, y downwards, origin top left.
The pixels are those stored; an EXIF rotation is ignored, because spot positions refer to the stored image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from histobench.errors import UserError
from histobench.imaging.headers import (
    JPEG,
    PNG,
    PNG_CHANNELS,
    TIFF,
    header_size,
    image_kind,
    tiff_errors,
    unreadable,
)
from histobench.imaging.jpeg import read_jpeg, read_reduced_jpeg
from histobench.imaging.jpegbands import JpegBands, find_layout
from histobench.imaging.memory import require_memory
from histobench.imaging.tiffs import (
    choose_picture,
    over_white,
    read_colours,
    refuse_dark_channels,
    refuse_narrow,
    uses_range,
)

__all__ = ["ArraySlide", "Slide", "image_size", "open_slide", "read_image", "vendor_format"]

Image = npt.NDArray[np.uint8]

_CACHE_BYTES = 64 * 2**20  # decoded TIFF tiles kept: a few rows of tiles of a whole-slide image
_LEVEL_PIXELS = 2**25  # of a stored copy that is read whole, 128 MB
_JUDGED_TILES = 64  # of three channels without names, to see whether light came through them
_JPEG_TILE = 7  # compression of a TIFF
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

    def reduced(self, shrink: float) -> Image | None:
        """Return the smallest copy of at least 1/``shrink`` of the size that is cheap to read, or None."""
        return None

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
        self.width, self.height = header_size(path, kind)
        self._array: Image | None = None
        self._bands: JpegBands | None = None

    def reduced(self, shrink: float) -> Image | None:
        return read_reduced_jpeg(self.path, shrink) if self._kind == JPEG else None

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
    """A TIFF, or one of its smaller copies, read by the tiles or strips that a window touches."""

    def __init__(self, path: Path, level: int | None = None) -> None:
        import tifffile

        self.path = path
        with tiff_errors(path), ExitStack() as unless_refused:
            self._tiff = unless_refused.enter_context(tifffile.TiffFile(path))
            picture = choose_picture(self._tiff, path)
            pages = picture.pages if level is None else picture.levels[level]
            page: Any = pages[0]
            self._page, self._picture = page, picture
            self.width, self.height = int(page.imagewidth), int(page.imagelength)
            if page.imagedepth != 1:
                raise UserError(
                    f"{path}: the TIFF holds a stack of planes; save the one RGB plane as its own file."
                )
            self._colours = read_colours(page, self._tiff, path, len(pages))
            self._segment = (
                (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, self.width)
            )
            # Where red, green and blue are apart, in pages or in planes: (page, number of the plane).
            n_planes = page.samplesperpixel if page.planarconfig == 2 else 1
            self._planes = [(one, plane) for one in pages for plane in range(n_planes)]
            # Pixels that lie in the file as they are can be read by rows, however large the strips.
            alone = len(self._planes) == 1 and page.dtype == np.uint8 and page.bitspersample == 8
            self._plain = alone and bool(page.is_memmappable)
            if self._plain:
                self._segment = (_PLAIN_ROWS, self.width)
            if self.width < 1 or self.height < 1 or min(self._segment) < 1:
                raise unreadable(
                    path, f"the TIFF header states a size of {self.width} x {self.height} pixels"
                )
            self._across = -(-self.width // self._segment[1])
            self._down = -(-self.height // self._segment[0])
            many = self._across * self._down * n_planes
            if not self._plain and any(len(one.dataoffsets) < many for one in pages):
                raise unreadable(path, "the TIFF lists too few tiles")
            unless_refused.pop_all()  # the file stays open
        self._judged = False
        self._cache: OrderedDict[tuple[int, int], Image] = OrderedDict()
        self._cached = 0

    def reduced(self, shrink: float) -> Image | None:
        found = None
        for number, pages in enumerate(self._picture.levels):
            width, height = int(pages[0].imagewidth), int(pages[0].imagelength)
            if self.width / width <= shrink and width * height <= _LEVEL_PIXELS:
                found = number
        if found is None:
            return None
        self._judge()
        level = _TiffSlide(self.path, found)
        level._judged = True  # what its values mean is what those of the full image mean
        with level:
            return level.read_region(0, 0, level.width, level.height)

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
        self._judge()
        tile = self._samples(row, column)
        rgb = (
            np.full((*self._segment, 3), 255, np.uint8)
            if tile is None
            else self._colours.rgb(tile, self.path)
        )
        self._cache[key] = rgb
        self._cached += rgb.nbytes
        while self._cached > _CACHE_BYTES and len(self._cache) > 1:
            self._cached -= self._cache.popitem(last=False)[1].nbytes
        return rgb

    def _samples(self, row: int, column: int) -> npt.NDArray[Any] | None:
        """Decode a tile or strip, height x width x samples; None for one that a sparse file leaves out."""
        index = row * self._across + column
        if self._plain:
            return self._read_rows(index)
        parts = [
            self._decode(page, index + plane * self._across * self._down) for page, plane in self._planes
        ]
        there = [part for part in parts if part is not None]
        if len(there) < len(parts):
            return None
        return there[0] if len(there) == 1 else np.concatenate(there, axis=2)

    def _judge(self) -> None:
        """Look, once and before any pixel is given, whether values use the range that they are said to have.

        A scan shows that with its first bright tile; only where there is none, all are looked at.
        """
        if self._judged:
            return
        self._judged = True
        high, wide = self._segment
        size = high * wide * self._page.samplesperpixel * self._page.dtype.itemsize
        if size > _CACHE_BYTES:
            require_memory(self.path, self.width, self.height, 2 * size)
        n_tiles = self._down * self._across
        if self._page.dtype == np.uint16 and not self._colours.stated:
            largest = 0
            for index in range(n_tiles):
                tile = self._samples(*divmod(index, self._across))
                if tile is not None:
                    largest = max(largest, int(tile[:, :, : self._colours.n_colours].max(initial=0)))
                    if uses_range(largest):
                        break
            else:
                refuse_narrow(self.path, largest, stating="TIFF tag MaxSampleValue")
        if not self._picture.named:
            some = range(0, n_tiles, max(1, n_tiles // _JUDGED_TILES))
            seen = [self._samples(*divmod(index, self._across)) for index in some]
            tiles = [self._colours.rgb(tile, self.path) for tile in seen if tile is not None]
            pixels = [tile[::4, ::4].reshape(-1, 3) for tile in tiles]
            refuse_dark_channels(self.path, np.concatenate(pixels or [np.empty((0, 3), np.uint8)]))

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

    def _decode(self, page: Any, index: int) -> npt.NDArray[Any] | None:
        try:
            handle = page.parent.filehandle
            count = page.databytecounts[index]
            handle.seek(page.dataoffsets[index])
            data = handle.read(count)
        except (OSError, ValueError, IndexError) as error:  # a damaged header points anywhere
            raise unreadable(self.path, f"a tile of the TIFF cannot be found ({error})") from error
        if len(data) != count:
            raise unreadable(self.path, "the TIFF is truncated")
        if data and page.compression == _JPEG_TILE and b"\xff\xd9" not in data:
            # the decoder would fill the rest of the tile with a colour of its own
            raise unreadable(self.path, f"tile {index} of the TIFF is a JPEG without its end")
        try:
            segment = page.decode(data or None, index, jpegtables=page.jpegtables)[0]
        except Exception as error:  # every codec has exception classes of its own
            raise unreadable(self.path, f"a tile of the TIFF cannot be decoded ({error})") from error
        return None if segment is None else segment[0]

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
        return self._read((left, top), 0, (right - left, bottom - top))

    def _read(self, corner: tuple[int, int], level: int, size: tuple[int, int]) -> Image:
        import openslide

        try:
            rgba = np.asarray(self._slide.read_region(corner, level, size))
        except openslide.OpenSlideError as error:
            raise unreadable(self.path, f"a region of the slide cannot be decoded ({error})") from error
        return over_white(rgba)

    def reduced(self, shrink: float) -> Image | None:
        level = self._slide.get_best_level_for_downsample(shrink)
        width, height = self._slide.level_dimensions[level]
        if level == 0 or width * height > _LEVEL_PIXELS:
            return None
        return self._read((0, 0), level, (width, height))

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
    vendor = vendor_format(path)
    if vendor is not None:
        try:
            return _VendorSlide(path)
        except UserError:
            # Aperio's slides are plain TIFFs, of which tifffile knows more compressions.
            if vendor != "aperio":
                raise
    kind = image_kind(path)
    return _DecodedOnce(path, kind) if kind in (JPEG, PNG) else _TiffSlide(path)


def image_size(path: str | Path) -> tuple[int, int]:
    """Return (width, height) in pixels of the stored image, ignoring any EXIF rotation, without decoding it.

    Raises
    ------
    UserError
        As :func:`open_slide`.
    """
    with open_slide(path) as slide:
        return slide.width, slide.height


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
        return _read_png(path)
    with open_slide(path) as slide:
        require_memory(path, slide.width, slide.height, 3 * slide.width * slide.height)
        return slide.read_region(0, 0, slide.width, slide.height)


def _read_png(path: Path) -> Image:
    import imagecodecs

    width, height = header_size(path, PNG)
    # the widest pixel has 8 bytes, of which the header's 25th and 26th byte tell how many there are
    with path.open("rb") as stream:
        bits, colours = stream.read(26)[24:]
    stored = max(1, bits // 8) * (3 if colours == 3 else PNG_CHANNELS[colours])
    needed = width * height * (stored + (3 if (bits, colours) != (8, 2) else 0))
    require_memory(path, width, height, needed + path.stat().st_size)
    try:
        return to_rgb(imagecodecs.png_decode(path.read_bytes()), path)
    except (imagecodecs.PngError, ValueError) as error:  # a damaged chunk may be named in no text
        raise unreadable(path, f"the PNG is truncated or damaged ({error})") from error


def to_rgb(array: npt.NDArray[Any], path: Path) -> Image:
    """Turn a decoded PNG, grey, grey + alpha, RGB or RGBA of 8 or 16 bits, into RGB bytes."""
    if array.ndim == 2:
        array = array[:, :, None]
    channels = array.shape[2]
    if array.dtype == np.uint16:
        refuse_narrow(path, int(array[:, :, : channels - 1 + channels % 2].max(initial=0)))
        array = (array >> 8).astype(np.uint8)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
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
