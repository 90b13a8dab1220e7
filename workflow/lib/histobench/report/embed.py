"""Turn files into parts of one HTML page: images, previews and downloads as data URIs."""

from __future__ import annotations

import base64
import gzip
import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from PIL import Image, features

# Bytes beyond which a figure is stored as pixels instead of lines; fewer where pictures are less sharp, too.
LARGEST_SVG = 60_000
# A PNG larger than this is stored as WebP.
LARGEST_PNG = 50_000
# Width of pictures: nearly twice what the page shows on a plain screen; half of that where very many.
_FIGURE_PX, _LEAST_FIGURE_PX = 1200, 600
# So many pictures of that width make up some 8 MB.
_SHARP_FIGURES = 110
# Values of maps, one byte each before compression, of all experiments of a page together.
LARGEST_MAPS = 7_000_000
# Browsers refuse longer data URIs in links (2 MB in Chromium).
LARGEST_LINK = 1_400_000
LARGEST_TOTAL = 3_500_000
_COMPRESS_FROM = 40_000
_PREVIEW_PX = 480

_TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


def data_uri(content: bytes, media_type: str) -> str:
    """Return a base64 data URI."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def figure_width(number: int) -> int:
    """Return the width in pixels for each of so many pictures, at which a page stays light enough to open."""
    return round(max(_LEAST_FIGURE_PX, _FIGURE_PX * min(1.0, (_SHARP_FIGURES / max(1, number)) ** 0.5)))


def figure_uri(svg: str | Path | None, png: str | Path | None, width: int = _FIGURE_PX) -> str | None:
    """Return a figure as a data URI: vector where it is small enough, else raster; None if neither exists."""
    vector = Path(svg) if svg else None
    raster = Path(png) if png else None
    pixels = raster is not None and raster.is_file()
    largest = LARGEST_SVG * width / _FIGURE_PX
    if vector and vector.is_file() and (vector.stat().st_size <= largest or not pixels):
        # Base64 would be a third longer than the text itself.
        return "data:image/svg+xml," + quote(vector.read_text(encoding="utf-8"), safe=" /:=;,.()-+'!*@[]")
    return _raster_uri(raster, width) if raster and pixels else None


def _raster_uri(path: Path, width: int) -> str:
    """Return a raster figure; a heavy one is stored as WebP at high quality."""
    if path.stat().st_size <= LARGEST_PNG or not features.check("webp"):
        return data_uri(path.read_bytes(), _TYPES[".png"])
    stream = io.BytesIO()
    with Image.open(path) as image:
        picture = image.convert("RGB")
    picture.thumbnail((width, 3 * width))
    picture.save(stream, "WEBP", quality=75, method=4)
    return data_uri(stream.getvalue(), "image/webp")


def preview_uri(path: str | Path, width: int = _PREVIEW_PX) -> str:
    """Return a small JPEG of an image as a data URI."""
    with Image.open(path) as image:
        small = image.convert("RGB")
        small.thumbnail((width, width))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=80, optimize=True)
    return data_uri(stream.getvalue(), _TYPES[".jpg"])


def slug(text: str) -> str:
    """Return text that can be a file name and an anchor."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


@dataclass
class Download:
    """A file offered for download; ``href`` is None, with a reason, where it is not embedded."""

    anchor: str
    group: str
    name: str
    size: int
    content: bytes
    media_type: str
    elsewhere: str
    href: str | None = None
    reason: str = ""

    @property
    def file(self) -> str:
        """Name that the file gets when it is saved: several groups have a table of the same name."""
        return f"{slug(self.group)}-{self.name}"

    @property
    def size_text(self) -> str:
        """Size for people."""
        return f"{self.size / 1e6:.1f} MB" if self.size >= 1e6 else f"{max(1, round(self.size / 1e3))} kB"


@dataclass
class Downloads:
    """Collects the files of the page, each once, and keeps the page below its size limit."""

    items: dict[str, Download] = field(default_factory=dict)

    def add(self, path: str | Path, group: str, name: str | None = None) -> Download | None:
        """Offer a file and return its entry; None if it does not exist.

        A table beyond 40 kB is stored as ``.gz``.
        """
        path = Path(path)
        name = name or path.name
        if not path.is_file():
            return None
        return self.add_content(path.read_bytes(), group, name, f"it is the file {path}")

    def add_content(self, content: bytes, group: str, name: str, elsewhere: str = "") -> Download:
        """Offer what is not a file of the run; ``elsewhere`` says where it is found if it is too large."""
        anchor = f"file-{slug(group)}-{slug(name)}"
        if anchor not in self.items:
            size = len(content)
            media_type = "application/json" if name.endswith(".json") else "text/tab-separated-values"
            if size > _COMPRESS_FROM:
                # Without a time stamp, so that the same table is the same page.
                content, media_type = gzip.compress(content, mtime=0), "application/gzip"
            self.items[anchor] = Download(anchor, group, name, size, content, media_type, elsewhere)
        return self.items[anchor]

    def embed(self) -> None:
        """Put the files into the page, the smallest first, as long as there is room.

        A file that a browser could not download from a page is listed with its path instead.
        """
        total = 0
        for item in sorted(self.items.values(), key=lambda item: len(item.content)):
            total += len(item.content)
            if len(item.content) > LARGEST_LINK or total > LARGEST_TOTAL:
                item.reason = "; ".join(text for text in ("too large to embed", item.elsewhere) if text)
                continue
            item.href = data_uri(item.content, item.media_type)
            if item.media_type == "application/gzip":
                item.name += ".gz"

    def by_group(self) -> dict[str, list[Download]]:
        """Return the entries by group, in the order of their arrival."""
        groups: dict[str, list[Download]] = {}
        for item in self.items.values():
            groups.setdefault(item.group, []).append(item)
        return groups
