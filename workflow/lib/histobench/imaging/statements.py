"""What an image file says of itself beside its pixels: its scale, and how it wants to be turned.

A file's word on its scale is worth little where a program wrote its default (72 dots per inch, an MPP of 0),
and much where a scanner measured it. So each statement comes with its source in words, and what cannot be
the scale of histology is set apart, with the reason.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from histobench.errors import UserError
from histobench.imaging.headers import JPEG, PNG, image_kind, tiff_errors, unreadable
from histobench.imaging.scale import PLAUSIBLE_UM
from histobench.imaging.slides import vendor_format
from histobench.imaging.tiffs import choose_picture

__all__ = ["ScaleStatements", "StatedScale", "scale_statements", "stated_scales", "turned_as"]

_USUAL_UM = {20.0: 0.5, 40.0: 0.25}
_UM_PER_INCH = 25400.0
_UM = {
    "m": 1e6, "dm": 1e5, "cm": 1e4, "mm": 1e3, "µm": 1.0, "nm": 1e-3, "pm": 1e-6, "Å": 1e-4,
    "in": _UM_PER_INCH, "inch": _UM_PER_INCH, "ft": 12 * _UM_PER_INCH, "micron": 1.0, "microns": 1.0,
    "um": 1.0, "micrometer": 1.0, "micrometre": 1.0, "millimeter": 1e3, "millimetre": 1e3,
    "nanometer": 1e-3, "nanometre": 1e-3, "centimeter": 1e4, "centimetre": 1e4,
}  # fmt: skip
# What Pillow raises for a damaged header, which then says nothing.
_UNREAD = (OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error)
_ORIENTATION = 0x0112
_TURNED = {
    2: "mirrored left to right",
    3: "turned by 180 degrees",
    4: "mirrored top to bottom",
    5: "transposed",
    6: "turned by 90 degrees clockwise",
    7: "transposed along the other diagonal",
    8: "turned by 90 degrees anticlockwise",
}


@dataclass(frozen=True)
class StatedScale:
    """A scale that a file states, in micrometres per pixel along both axes, and where it says so.

    ``measured`` is whether the place is one where scanners and microscopes write what they measured, not the
    resolution for print, which editors set.
    """

    um_per_px_x: float
    um_per_px_y: float
    source: str
    measured: bool = False

    @property
    def um_per_px(self) -> float:
        """Geometric mean of both axes."""
        return math.sqrt(self.um_per_px_x * self.um_per_px_y)

    def __str__(self) -> str:
        """Say the scale and its source in words."""
        value = f"{self.um_per_px:.4g}"
        if abs(self.um_per_px_x / self.um_per_px_y - 1) > 1e-3:
            value = f"{self.um_per_px_x:.4g} x {self.um_per_px_y:.4g}"
        return f"{value} µm per pixel ({self.source})"


@dataclass(frozen=True)
class ScaleStatements:
    """Everything that a file says of its scale.

    Attributes
    ----------
    scales
        Plausible statements, the most trustworthy first.
    ignored
        Statements that cannot be the scale of histology, each in words with the reason.
    magnification
        Of the objective, where the file states one; that is no scale, which depends on the camera as well.
    odd
        Whether a measured scale is among what is ignored, such as one in another unit (0 is none).
    """

    scales: tuple[StatedScale, ...] = ()
    ignored: tuple[str, ...] = ()
    magnification: float | None = None
    odd: bool = False

    @property
    def assumed_um_per_px(self) -> float | None:
        """What scanners usually have at the stated magnification (20x: 0.5, 40x: 0.25); None for others.

        Nothing is assumed against a measured scale that nobody understands.
        """
        return None if self.magnification is None or self.odd else _USUAL_UM.get(self.magnification)


def stated_scales(path: str | Path) -> list[StatedScale]:
    """Return every plausible scale that an image file states, the most trustworthy first.

    Read are the micrometres per pixel of scanners' formats (through OpenSlide), the physical pixel size of
    OME-TIFF, the resolution of TIFF (in ImageJ's unit where ImageJ wrote it) and that of JPEG and PNG.
    Values outside ``PLAUSIBLE_UM``, such as an editor's 72 or 300 dots per inch, are left out.

    Raises
    ------
    UserError
        The file is missing, or no image of a known kind.
    """
    return list(scale_statements(path).scales)


def scale_statements(path: str | Path) -> ScaleStatements:
    """Read everything that an image file says of its scale; see :func:`stated_scales`.

    Raises
    ------
    UserError
        The file is missing, or no image of a known kind.
    """
    path = Path(path)
    found = _Found()
    if vendor_format(path) is not None:
        _read_vendor(path, found)
    elif (kind := image_kind(path)) in (JPEG, PNG):
        _read_density(path, kind, found)
    else:
        _read_tiff(path, found)
    return ScaleStatements(tuple(found.scales), tuple(found.ignored), found.magnification, found.odd)


def turned_as(path: str | Path) -> str:
    """Say how an EXIF or TIFF orientation tag wants the stored pixels turned for display; "" for not at all.

    Nothing here applies it: positions of spots are given in stored pixels.
    """
    path = Path(path)
    if vendor_format(path) is not None:
        return ""
    kind = image_kind(path)
    try:
        if kind in (JPEG, PNG):
            with path.open("rb") as stream:
                value = _pillow_image(stream, kind).getexif().get(_ORIENTATION, 1)
        else:
            import tifffile

            with tiff_errors(path), tifffile.TiffFile(path) as tiff:
                value = _tag(choose_picture(tiff, path).pages[0], "Orientation") or 1
    except (UserError, *_UNREAD):  # the pixels have checks of their own
        return ""
    return _TURNED.get(value, "") if isinstance(value, int) else ""


# In the header of a smaller copy: 46000x32914 [0,0 46000x32914] (256x256) -> 800x600.
_REDUCED = re.compile(r"^(\d+)x(\d+)\b[^\n]*->\s*(\d+)x(\d+)\b", re.MULTILINE)


@dataclass
class _Found:
    scales: list[StatedScale] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    magnification: float | None = None
    odd: bool = False

    def add(self, x: float, y: float, source: str, *, measured: bool = False) -> None:
        """Take a statement, or set it apart where it cannot be the scale of histology."""
        low, high = PLAUSIBLE_UM
        if low <= x <= high and low <= y <= high:  # also not NaN
            self.scales.append(StatedScale(x, y, source, measured))
            return
        self.odd |= measured and 0 < x < math.inf and 0 < y < math.inf
        value = f"{x:.4g}" if x == y or math.isnan(x) else f"{x:.4g} x {y:.4g}"
        self.ignored.append(
            f"{source} of {value} µm per pixel, which is outside {low:g} to {high:g} and ignored"
        )


def _read_vendor(path: Path, found: _Found) -> None:
    import openslide

    try:
        with openslide.OpenSlide(path) as slide:
            properties, size = dict(slide.properties), slide.dimensions
    except openslide.OpenSlideError as error:
        raise unreadable(path, f"OpenSlide cannot open the slide ({error})") from error
    vendor = properties.get("openslide.vendor", "scanner")
    if any(f"openslide.mpp-{axis}" in properties for axis in "xy"):
        x, y = (_number(properties.get(f"openslide.mpp-{axis}")) for axis in "xy")
        source = "MPP of the Aperio header" if vendor == "aperio" else f"pixel size of {vendor}"
        reduced = _REDUCED.search(properties.get("openslide.comment", ""))
        if reduced and (int(reduced[3]), int(reduced[4])) == size and int(reduced[1]) > 1.02 * size[0]:
            found.ignored.append(
                f"{source} of {x:.4g} µm per pixel, which may be that of the {reduced[1]} x {reduced[2]} "
                "pixels from which the image was made"
            )
            found.odd = True
        else:
            found.add(x, y, source, measured=True)
    elif "aperio.MPP" in properties:
        text = properties["aperio.MPP"]
        found.ignored.append(f'MPP of "{text}" in the Aperio header, which is no number')
        found.odd |= any(sign.isdigit() for sign in text)  # such as "0.25 um": something was measured
    magnification = _number(properties.get("aperio.AppMag") or properties.get("openslide.objective-power"))
    found.magnification = magnification if magnification > 0 else None


def _read_tiff(path: Path, found: _Found) -> None:
    import tifffile

    with tiff_errors(path), tifffile.TiffFile(path) as tiff:
        page = choose_picture(tiff, path).pages[0]
        if tiff.is_ome:
            _read_ome(tiff.ome_metadata or "", int(page.imagewidth), int(page.imagelength), found)
        _read_resolution(tiff, page, found)


def _read_ome(xml: str, width: int, height: int, found: _Found) -> None:
    """Take the physical size of the OME image that has the size of the pixels that are read."""
    try:
        images = list(ElementTree.fromstring(xml).iterfind(".//{*}Pixels"))
    except ElementTree.ParseError:
        found.ignored.append("the OME description, which is no valid XML")
        return
    for pixels in images:
        if (pixels.get("SizeX"), pixels.get("SizeY")) != (str(width), str(height)):
            continue
        if pixels.get("PhysicalSizeX") is None and pixels.get("PhysicalSizeY") is None:
            continue
        sizes = []
        for axis, other in ("XY", "YX"):
            stated = axis if pixels.get(f"PhysicalSize{axis}") is not None else other
            unit = pixels.get(f"PhysicalSize{stated}Unit", "µm").replace("\u03bc", "µ")
            value = pixels.get(f"PhysicalSize{stated}")
            if unit not in _UM:
                found.ignored.append(f'OME PhysicalSize{axis} of {value} "{unit}", which is no length')
                return
            sizes.append(_number(value) * _UM[unit])
        found.add(sizes[0], sizes[1], "OME PhysicalSizeX and PhysicalSizeY", measured=True)
        return


def _read_resolution(tiff: Any, page: Any, found: _Found) -> None:
    """Take XResolution and YResolution, pixels per inch, centimetre or ImageJ's own unit."""
    x, y = (_ratio(_tag(page, f"{axis}Resolution")) for axis in "XY")
    if x is None and y is None:
        return
    x, y = (y if x is None else x), (x if y is None else y)
    assert x is not None and y is not None
    unit = _tag(page, "ResolutionUnit")
    unit = 2 if unit is None else int(unit)  # the standard's default is the inch
    um, name = {2: (_UM_PER_INCH, "inch"), 3: (1e4, "cm")}.get(unit, (None, ""))
    if tiff.is_imagej:
        name = (
            str((tiff.imagej_metadata or {}).get("unit", name)).replace("\\u00B5", "µ").replace("\u03bc", "µ")
        )
        um = _UM.get(name)
    if um is None or x <= 0 or y <= 0:
        return  # pixels per nothing: only the ratio of the axes is meant
    low, high = PLAUSIBLE_UM
    if not (low <= um / x <= high and low <= um / y <= high):
        value = f"{x:g}" if x == y else f"{x:g} x {y:g}"
        found.ignored.append(f"a resolution of {value} pixels per {name}, which no histology has")
        return
    found.add(um / x, um / y, f"TIFF resolution of {x:g} pixels per {name}")


def _read_density(path: Path, kind: str, found: _Found) -> None:
    """Take the density of a JPEG (JFIF or EXIF) or PNG (pHYs), which Pillow gives in dots per inch."""
    try:
        with path.open("rb") as stream:
            dpi = _pillow_image(stream, kind).info.get("dpi")
        x, y = (float(value) for value in dpi) if dpi else (0.0, 0.0)
    except _UNREAD:  # the pixels have checks of their own
        return
    if not (x > 0 and y > 0):
        return
    low, high = PLAUSIBLE_UM
    if low <= _UM_PER_INCH / x <= high and low <= _UM_PER_INCH / y <= high:
        found.add(_UM_PER_INCH / x, _UM_PER_INCH / y, f"{kind} density of {x:g} pixels per inch")
    else:
        found.ignored.append(f"a density of {x:g} pixels per inch, which no histology has")


def _pillow_image(stream: Any, kind: str) -> Any:
    """Read a header with Pillow, whose own limit of size would judge pixels that nobody decodes here."""
    from PIL import JpegImagePlugin, PngImagePlugin

    return (JpegImagePlugin.JpegImageFile if kind == JPEG else PngImagePlugin.PngImageFile)(stream)


def _tag(page: Any, name: str) -> Any:
    tag = page.tags.get(name)
    return None if tag is None else tag.value


def _ratio(value: Any) -> float | None:
    """Return a rational tag as a number; 0 where it is none."""
    if value is None:
        return None
    top, bottom = value if isinstance(value, tuple) and len(value) == 2 else (value, 1)
    return float(top) / float(bottom) if bottom else 0.0


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan
