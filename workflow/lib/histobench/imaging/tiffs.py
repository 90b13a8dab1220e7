"""Which pages of a TIFF are the picture, and what their samples mean.

A TIFF may hold anything: thumbnails, pyramids, focal planes, fluorescence, in a dozen colour models and any
number of bits. tifffile decodes the samples and Pillow converts colours; here it is decided which pages are
the histology, from what the file says alone. Where it says too little, one sentence asks for an RGB image.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from histobench.errors import UserError
from histobench.imaging.headers import unreadable

__all__ = [
    "Picture",
    "TiffColours",
    "choose_picture",
    "over_white",
    "read_colours",
    "refuse_dark_channels",
    "refuse_narrow",
    "uses_range",
]

Image = npt.NDArray[np.uint8]

# Values of PhotometricInterpretation.
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _SEPARATED, _YCBCR, _CIELAB = 0, 1, 2, 3, 5, 6, 8
_WORDS = {
    4: "a mask",
    _SEPARATED: "printing inks (CMYK)",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32803: "a camera's raw values",
    34892: "a camera's raw values",
}
_MODELS = {
    _WHITE_IS_ZERO: ("white_is_zero", 1),
    _BLACK_IS_ZERO: ("grey", 1),
    _RGB: ("rgb", 3),
    _PALETTE: ("palette", 1),
    _YCBCR: ("YCbCr", 3),
    _CIELAB: ("LAB", 3),
}
_JPEG = {6, 7, 34892, 33007}  # compressions whose decoder returns RGB for YCbCr
_WEBP, _APERIO_YCBCR = 50001, 33003

_BESIDE = re.compile("label|macro|overview|thumbnail|barcode", re.IGNORECASE)  # pictures beside the section
_RIVAL = (
    0.5  # of the largest page's area: above it, another page is no thumbnail, label or level of a pyramid
)
# A brightfield scan reaches at least one part in so many of the range of its values: 14 bits do not.
_LEAST_USED = 4
_LIGHT = 64  # the 95th percentile of the darkest of three channels: lower, and no light came through a slide

_CHANNELS = ({"r", "red"}, {"g", "green"}, {"b", "blue"})
_PRIMARIES = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


@dataclass(frozen=True)
class Picture:
    """The pages that are the histology.

    Attributes
    ----------
    pages
        One page, or those of red, green and blue.
    levels
        Smaller copies of them that the file stores, the largest first.
    named
        Whether three pages are said to be red, green and blue, not only to be three channels.
    """

    pages: tuple[Any, ...]
    levels: tuple[tuple[Any, ...], ...] = ()
    named: bool = True

    @property
    def width(self) -> int:
        """Pixels along x."""
        return int(self.pages[0].imagewidth)

    @property
    def height(self) -> int:
        """Pixels along y."""
        return int(self.pages[0].imagelength)


def choose_picture(tiff: Any, path: Path) -> Picture:
    """Tell which pages of an open TIFF are the picture.

    The largest page, unless others are about as large: then three grey pages that the file calls channels
    (OME, ImageJ) are red, green and blue, and a mask beside a colour page is left out.

    Raises
    ------
    UserError
        The file holds several pictures, a stack of planes, or channels of something else than colour.
    """
    everything = list(tiff.pages)
    pages = [page for page in everything if not page.subfiletype & 5] or everything
    whole = max(map(_area, pages), default=0)  # what is larger is no reduced copy, whatever it is marked as
    pages += [page for page in everything if page.subfiletype & 5 == 1 and _area(page) > whole]
    pages += [inner for page in pages if page.subifds for inner in page.pages if _area(inner) > _area(page)]
    if not pages:
        raise unreadable(path, "the header is truncated or damaged and leads to no image")
    largest = max(map(_area, pages))
    rivals = [page for page in pages if _area(page) > _RIVAL * largest]
    coloured = [page for page in rivals if _coloured(page)]
    if len(rivals) == 1 and (_coloured(rivals[0]) or not any(map(_coloured, pages))):
        _refuse_hidden_planes(tiff, rivals[0], path)
        _refuse_scenes(tiff, rivals[0], path)
        return Picture((rivals[0],), _levels(everything, rivals[0]))
    if len(coloured) == 1 and _area(coloured[0]) == largest:
        return Picture((coloured[0],), _levels(everything, coloured[0]))
    what = "colour pages" if coloured else "grey pages"
    if (
        len(rivals) == 3
        and not coloured
        and len({(p.imagewidth, p.imagelength, p.dtype) for p in rivals}) == 1
    ):
        order, named = _rgb_order(tiff, rivals[0], path)
        if order is not None:
            chosen = tuple(rivals[place] for place in order)
            levels = [_levels(everything, page) for page in chosen]
            same = len({len(each) for each in levels}) == 1
            inner = tuple(tuple(each[k][0] for each in levels) for k in range(len(levels[0]) if same else 0))
            return Picture(chosen, inner, named)
    sizes = ", ".join(f"{page.imagewidth} x {page.imagelength}" for page in rivals[:3])
    raise UserError(
        f"{path}: the TIFF holds {len(rivals)} {what} of about the same size ({sizes}"
        f"{', ...' if len(rivals) > 3 else ''}), as of focal planes, fluorescence or several sections; save "
        "the one RGB image of this section as its own file."
    )


def _area(page: Any) -> int:
    return int(page.imagewidth) * int(page.imagelength)


def _photometric(page: Any) -> int:
    """Return the colour model's number; the obvious one where the file does not say it."""
    if "PhotometricInterpretation" not in page.tags:
        return _RGB if page.samplesperpixel > 2 else _BLACK_IS_ZERO
    return int(page.photometric)


def _coloured(page: Any) -> bool:
    return page.samplesperpixel > 2 or _photometric(page) == _PALETTE


def _levels(pages: Sequence[Any], full: Any) -> tuple[tuple[Any, ...], ...]:
    """Find smaller copies: inside the page (SubIFDs), or beside it, marked as reduced and of its shape."""
    inside = list(full.pages) if full.subifds else []
    beside = [page for page in pages if page.subfiletype & 1]
    found = []
    for page in inside + beside:
        shrink = full.imagewidth / max(1, page.imagewidth)
        alike = (page.samplesperpixel, page.photometric, page.dtype) == (
            full.samplesperpixel, full.photometric, full.dtype,
        )  # fmt: skip
        # a level of n pixels may be rounded either way
        if (
            shrink > 1
            and alike
            and abs(full.imagelength / shrink - page.imagelength) <= 1 + 0.01 * page.imagelength
        ):
            found.append((page,))
    return tuple(sorted(found, key=lambda level: -_area(level[0])))


def _refuse_hidden_planes(tiff: Any, page: Any, path: Path) -> None:
    """Stop where a single page is one plane of several that the file describes but does not list."""
    n_planes = 1
    if tiff.is_ome and (pixels := _ome_pixels(tiff, page, path)) is not None:
        channels = sum(int(channel.get("SamplesPerPixel", 1)) for channel in pixels.iterfind("{*}Channel"))
        sizes = [int(pixels.get(f"Size{axis}", 1)) for axis in "CZT"]
        n_planes = max(sizes[0], channels) * sizes[1] * sizes[2] // max(1, page.samplesperpixel)
    elif tiff.is_imagej:
        n_planes = int((tiff.imagej_metadata or {}).get("images", 1))
    if n_planes > 1:
        raise UserError(
            f"{path}: the TIFF describes {n_planes} planes, of which it lists one page; save the RGB image "
            "as one page of its own file."
        )


def _refuse_scenes(tiff: Any, page: Any, path: Path) -> None:
    """Stop where an OME file has another scene at the scale of a page: which is the section is not known.

    What is at another scale, or says none, is a level of the page, an overview or a label.
    """
    own = _ome_pixels(tiff, page, path) if tiff.is_ome else None
    if own is None or own.get("PhysicalSizeX") is None:
        return

    def shape(pixels: Any) -> tuple[int, int]:
        return int(pixels.get("SizeX", 0)), int(pixels.get("SizeY", 0))

    width, height = shape(own)
    root = ElementTree.fromstring(tiff.ome_metadata)
    for image in root.iterfind(".//{*}Image"):
        pixels = image.find("{*}Pixels")
        if pixels is None or shape(pixels) == (width, height) or min(shape(pixels)) < 1:
            continue
        same = all(pixels.get(key) == own.get(key) for key in ("PhysicalSizeX", "PhysicalSizeXUnit"))
        across, down = width / shape(pixels)[0], height / shape(pixels)[1]
        level = abs(across / down - 1) < 0.02 and abs(across - round(across)) < 0.02 * across
        if same and not level and not _BESIDE.search(image.get("Name") or ""):
            sizes = " and ".join(f"{one} x {other}" for one, other in ((width, height), shape(pixels)))
            raise UserError(
                f"{path}: the OME file holds several scenes at one scale ({sizes} pixels); save that of this "
                "section as its own file."
            )


def _ome_pixels(tiff: Any, page: Any, path: Path) -> Any:
    """Return the OME description of a page's image, None where there is none of its size."""
    try:
        root = ElementTree.fromstring(tiff.ome_metadata or "<OME/>")
    except ElementTree.ParseError as error:
        raise unreadable(path, f"the OME description is no valid XML ({error})") from error
    size = str(page.imagewidth), str(page.imagelength)
    found = (p for p in root.iterfind(".//{*}Pixels") if (p.get("SizeX"), p.get("SizeY")) == size)
    return next(found, None)


def _rgb_order(tiff: Any, page: Any, path: Path) -> tuple[tuple[int, ...] | None, bool]:
    """Say which of three grey pages are red, green and blue, and whether the file names them so.

    None where the file does not call them channels, or calls them something else than these colours.
    """
    names: list[str] = []
    colours: list[tuple[int, ...]] = []
    if tiff.is_ome:
        pixels = _ome_pixels(tiff, page, path)
        if pixels is None or [pixels.get(f"Size{axis}", "1") for axis in "CZT"] != ["3", "1", "1"]:
            return None, False
        for channel in pixels.iterfind("{*}Channel"):
            marks = " ".join(filter(None, (channel.get("ContrastMethod"), channel.get("IlluminationType"))))
            if channel.get("Fluor") or channel.get("EmissionWavelength") or "fluor" in marks.lower():
                return None, False
            names.append(channel.get("Name") or "")
            if channel.get("Color") is not None:
                value = int(channel.get("Color")) % 2**32
                colours.append((value >> 24, value >> 16 & 255, value >> 8 & 255))
    elif tiff.is_imagej:
        said = tiff.imagej_metadata or {}
        if [int(said.get(key, 1)) for key in ("channels", "slices", "frames")] != [3, 1, 1]:
            return None, False
        names = [str(name) for name in said.get("Labels") or ()]
        colours = [tuple(int(v) for v in np.asarray(table)[:, -1]) for table in said.get("LUTs") or ()]
    else:
        return None, False
    lower = [name.strip().lower() for name in names]
    for order in (_order(lower, _CHANNELS), _order(colours, [{colour} for colour in _PRIMARIES])):
        if order is not None:
            return order, True
    nameless = all(not name or name.startswith(("channel", "ch", "c:")) for name in lower)
    if not nameless or len(set(colours)) > 1:
        return None, False
    return (0, 1, 2), False


def _order(marks: Sequence[Any], known: Sequence[set[Any]]) -> tuple[int, ...] | None:
    """Return which of three marks stands for red, green and blue; None unless each is there."""
    order = tuple(next((k for k, mark in enumerate(marks) if mark in which), -1) for which in known)
    return order if len(marks) == 3 and -1 not in order else None


@dataclass(frozen=True)
class TiffColours:
    """How the samples of a page become RGB bytes.

    Attributes
    ----------
    model
        "grey", "white_is_zero", "rgb", "palette", or Pillow's "YCbCr" or "LAB".
    n_colours
        Samples of a pixel that are its colour; what follows is alpha, or means nothing.
    alpha
        Number of the sample that is alpha, None for none, and whether colours are multiplied with it.
    bits
        Bits of a sample that carry its value.
    stated
        Whether the file states fewer bits than its samples have room for, so that no range must be shown.
    table
        Colours of a palette, (n, 3).
    """

    model: str
    n_colours: int
    alpha: int | None
    premultiplied: bool
    bits: int
    stated: bool
    table: Image | None = None

    def rgb(self, samples: npt.NDArray[Any], path: Path) -> Image:
        """Turn samples, height x width x n, into RGB bytes."""
        if self.model == "rgb" and self.alpha is None and samples.dtype == np.uint8 and self.bits == 8:
            return np.ascontiguousarray(samples[:, :, :3])
        colours = samples[:, :, : self.n_colours]
        if self.model == "palette":
            assert self.table is not None
            indices = colours[:, :, 0].astype(np.intp)
            if indices.size and indices.max() >= len(self.table):
                raise unreadable(path, "the TIFF has more colours than its palette")
            rgb = self.table[indices]
        else:
            rgb = self._convert(self._bytes(colours, path))
        if self.alpha is None:
            return np.ascontiguousarray(rgb)
        alpha = self._bytes(samples[:, :, self.alpha : self.alpha + 1], path)
        if self.premultiplied:
            return np.minimum(rgb.astype(np.uint16) + (255 - alpha), 255).astype(np.uint8)
        return over_white(np.concatenate([rgb, alpha], axis=2))

    def _bytes(self, values: npt.NDArray[Any], path: Path) -> Image:
        if values.dtype == np.bool_:
            return values.astype(np.uint8) * np.uint8(255)
        if self.bits < values.dtype.itemsize * 8 and values.size and int(values.max()) >> self.bits:
            raise UserError(
                f"{path}: the TIFF states {self.bits} bits, but holds the value {int(values.max())}; save it "
                "with 8 bits."
            )
        if self.bits < 8:
            return (values.astype(np.uint16) * 255 // (2**self.bits - 1)).astype(np.uint8)
        return (values >> (self.bits - 8)).astype(np.uint8)

    def _convert(self, values: Image) -> Image:
        if self.model == "rgb":
            return values
        if self.model in ("grey", "white_is_zero"):
            grey = values if self.model == "grey" else 255 - values
            return np.repeat(grey, 3, axis=2)
        from PIL import Image as Pillow

        raw = np.ascontiguousarray(values)
        picture = Pillow.frombytes(self.model, (raw.shape[1], raw.shape[0]), raw.tobytes())
        return np.asarray(picture.convert("RGB"))


def read_colours(page: Any, tiff: Any, path: Path, n_pages: int = 1) -> TiffColours:
    """Tell how the samples of a page become RGB.

    Parameters
    ----------
    page, tiff, path
        The (first) page, its file, and the path for messages.
    n_pages
        3 where red, green and blue are pages of their own.

    Raises
    ------
    UserError
        The colour model or the number of bits cannot be turned into RGB without guessing.
    """
    photometric, compression = _photometric(page), int(page.compression)
    samples = int(page.samplesperpixel)
    if photometric == _YCBCR and (compression in _JPEG or compression == _WEBP):
        photometric = _RGB  # the decoder converts
    if n_pages == 3 and photometric == _BLACK_IS_ZERO and samples == 1:
        photometric, samples = _RGB, 3
    if page.dtype not in (np.bool_, np.uint8, np.uint16) or (samples > 4 and photometric != _SEPARATED):
        raise UserError(
            f"{path}: pixels are {page.dtype} with {samples} channels, but 8 or 16 bits of grey or RGB "
            "are needed; convert the image."
        )
    if photometric not in _MODELS:
        what = _WORDS.get(photometric, f"the colour model number {photometric}")
        raise UserError(f"{path}: the TIFF holds {what}, which has no exact RGB; save it as RGB.")
    model, n_colours = _MODELS[photometric]
    extra = [int(kind) for kind in page.extrasamples][: max(0, samples - n_colours)]
    if samples < n_colours or (n_colours == 1 and samples > 2):
        raise UserError(
            f"{path}: the TIFF has {samples} channels, but calls its colours {model.replace('_', ' ')}; save "
            "it as RGB."
        )
    if photometric == _YCBCR:
        _require_plain_ycbcr(page, path)
    if photometric in (_YCBCR, _CIELAB) and (page.dtype != np.uint8 or page.bitspersample != 8):
        raise UserError(f"{path}: the TIFF holds {model} of {page.bitspersample} bits; save it as RGB.")
    if "ExtraSamples" not in page.tags and samples == n_colours + 1 and model in ("rgb", "grey"):
        extra = [2]  # unassociated alpha, as OpenCV writes it and Pillow reads it
    place = next((k for k, kind in enumerate(extra) if kind in (1, 2)), None)
    bits, stated = _bits(page, tiff, path)
    return TiffColours(
        model=model,
        n_colours=n_colours,
        alpha=None if place is None else n_colours + place,
        premultiplied=place is not None and extra[place] == 1,
        bits=bits,
        stated=stated,
        table=_palette(page, path) if model == "palette" else None,
    )


def _require_plain_ycbcr(page: Any, path: Path) -> None:
    """Stop for YCbCr that is subsampled, or coded for television, which the decoders do not convert."""
    reference = _numbers(page, "ReferenceBlackWhite")
    weights = _numbers(page, "YCbCrCoefficients")
    plain = (not reference or np.allclose(reference, [0, 255, 128, 255, 128, 255])) and (
        not weights or np.allclose(weights, [0.299, 0.587, 0.114], atol=1e-3)
    )
    packed = int(page.compression) not in (1, 5, 8, 32773, 32946, 50000, 34925, _APERIO_YCBCR)
    if page.is_subsampled or packed or not plain:
        how = "subsampled" if page.is_subsampled else "an unusual kind of"
        raise UserError(f"{path}: the TIFF holds {how} YCbCr without JPEG; save it as RGB.")


def _numbers(page: Any, name: str) -> list[float]:
    """Return a tag of rational or whole numbers as numbers; [] without it."""
    tag = page.tags.get(name)
    if tag is None:
        return []
    values = np.atleast_1d(np.asarray(tag.value, np.float64))
    if int(tag.dtype) in (5, 10):  # numerators and denominators
        values = values[::2] / np.where(values[1::2] == 0, np.nan, values[1::2])
    return [float(value) for value in values]


def _bits(page: Any, tiff: Any, path: Path) -> tuple[int, bool]:
    """Return how many bits of a sample count, and whether the file states fewer than there is room for."""
    room = int(page.bitspersample)
    if page.dtype != np.uint16:
        return min(room, 8), False
    if room < 16:
        return room, True
    stated = [int(max(_numbers(page, name), default=0)) for name in ("SMaxSampleValue", "MaxSampleValue")]
    # a largest value that is no whole number of bits is a statistic, not a range
    bits = [value.bit_length() for value in stated if value > 1 and value & (value + 1) == 0]
    if tiff.is_ome and (pixels := _ome_pixels(tiff, page, path)) is not None:
        bits.append(int(pixels.get("SignificantBits") or 16))
    least = min(bits, default=16)
    return (least, True) if 8 <= least < 16 else (16, False)


def _palette(page: Any, path: Path) -> Image:
    """Return the colours of a palette; 16 bits keep their upper byte, unless all fit into the lower."""
    table = page.colormap
    if table is None or np.ndim(table) != 2 or len(table) != 3:
        raise unreadable(path, "the TIFF has a palette image without its palette")
    table = np.asarray(table, np.uint16).T
    return np.ascontiguousarray(table if table.max() < 256 else table >> 8).astype(np.uint8)


def uses_range(largest: int) -> bool:
    """Whether 16-bit values with this largest one can be those of a brightfield scan."""
    return largest >= 2**16 // _LEAST_USED


def refuse_narrow(path: Path, largest: int, *, stating: str = "") -> None:
    """Stop for 16-bit values that use less than a quarter of their range: 14 bits or fewer, or no light.

    Raises
    ------
    UserError
        ``largest``, the largest value of the image, is so small. ``stating`` is where a file of this kind can
        state how many bits are in use.
    """
    if uses_range(largest):
        return
    way_out = f", or state the {max(8, largest.bit_length())} bits in use ({stating})" if stating else ""
    raise UserError(
        f"{path}: values have 16 bits, but the largest is {largest}, so the image would be black; save it "
        f"with 8 bits{way_out}."
    )


def refuse_dark_channels(path: Path, sample: Image) -> None:
    """Stop for three nameless channels through which no light came: they are no red, green and blue.

    ``sample`` are some pixels, (n, 3).

    Raises
    ------
    UserError
        The darkest channel of a pixel is dark nearly everywhere.
    """
    if len(sample) and np.percentile(sample.min(axis=1), 95) < _LIGHT:
        raise UserError(
            f"{path}: the TIFF holds three channels without names that are dark as of fluorescence, not red, "
            "green and blue of a brightfield scan; save the H&E image as RGB."
        )


def over_white(rgba: Image) -> Image:
    """Lay RGBA over white; opaque pixels stay exactly as they are."""
    alpha = rgba[:, :, 3:]
    rgb = rgba[:, :, :3]
    if (alpha == 255).all():
        return np.ascontiguousarray(rgb)
    # 16 bits hold 255 * 255, and (n + 127) // 255 rounds to nearest.
    wide = alpha.astype(np.uint16)
    return ((rgb * wide + 255 * (255 - wide) + 127) // 255).astype(np.uint8)
