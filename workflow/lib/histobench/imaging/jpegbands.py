"""Parts of a JPEG without decoding the rest, where restart markers allow it.

A restart marker resets the decoder, so a scan that has one at the start of every row of coded units can be
entered at any row: the file's header with another height, the bytes of some rows with their markers
renumbered, and an end marker are a JPEG of these rows. One row more on either side makes the pixels those of
the whole file, because upsampling of colour looks at neighbouring lines only. Published sections of the
legacy ST arrays have such markers.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from histobench.imaging.colours import processors
from histobench.imaging.headers import START_OF_FRAME, WITHOUT_LENGTH, unreadable
from histobench.imaging.jpeg import Frame, find_damage, sample_bits, scan_marks

Image = npt.NDArray[np.uint8]

# Rows of units decoded at once: 320 lines of a photograph with subsampled colour, enough for a line of spots.
_ROWS_AT_A_TIME = 20
_KEPT_BYTES = 48 * 2**20
_END = b"\xff\xd9"


class JpegBands:
    """A JPEG of which only those rows are decoded that windows touch, in bounded memory.

    Windows that are asked for from top to bottom decode each row once.

    Parameters
    ----------
    path
        The file.
    data
        Its bytes.
    layout
        What :func:`find_layout` found.
    """

    def __init__(self, path: Path, data: bytes, layout: Layout) -> None:
        self.path, self.layout = path, layout
        self._data = np.frombuffer(data, np.uint8)
        self._slabs: list[_Slab] = []  # the oldest first
        self._slab_of: dict[int, _Slab] = {}  # by row of units
        slab_bytes = (_ROWS_AT_A_TIME + 2) * layout.lines_per_row * layout.width * 3
        self._most = max(4, _KEPT_BYTES // slab_bytes)
        self._threads = processors()

    def expect(self, spans: Sequence[tuple[int, int]]) -> None:
        """Decode what windows from these tops to these bottoms will ask for, as far as it can be kept.

        One by one, the windows of a line of spots that are not quite level would decode a row of units at a
        time, and each costs its two neighbours.
        """
        line = self.layout.lines_per_row
        rows: set[int] = set()
        for top, bottom in sorted(spans):
            more = rows.union(range(top // line, -(-bottom // line)))
            # the first that do not fit, and those below, will be decoded when they are asked for
            if len(more) > self._most * _ROWS_AT_A_TIME:
                break
            rows = more
        self._fetch(rows)

    def window(self, left: int, top: int, right: int, bottom: int) -> Image:
        """Return a copy of the pixels of a window that lies inside the image."""
        line = self.layout.lines_per_row
        first, last = top // line, -(-bottom // line)
        out = np.empty((bottom - top, right - left, 3), np.uint8)
        some = (self._most // 2) * _ROWS_AT_A_TIME // 2  # rows that are there at the same time in any case
        for start in range(first, last, some):
            stop = min(start + some, last)
            self._fetch(set(range(start, stop)))
            row = start
            while row < stop:
                slab = self._slab_of[row]
                end = min(slab.last, stop)
                a, b = max(row * line, top), min(end * line, bottom)
                out[a - top : b - top] = slab.pixels[a - slab.top : b - slab.top, left:right]
                row = end
        return out

    def _fetch(self, rows: set[int]) -> None:
        """See to it that some rows are decoded; the oldest slabs give the new ones their memory."""
        missing = sorted(rows - self._slab_of.keys())
        if not missing:
            return
        share = -(-len(missing) // self._threads)
        parts = _runs(missing, min(_ROWS_AT_A_TIME, max(_ROWS_AT_A_TIME // 2, share)))
        spare = []
        for slab in list(self._slabs):
            if len(self._slabs) + len(parts) <= self._most:
                break
            if rows.isdisjoint(range(slab.first, slab.last)):
                self._slabs.remove(slab)
                for row in range(slab.first, slab.last):
                    del self._slab_of[row]
                spare.append(slab.memory)
        # fresh memory costs more than decoding into it, so it is used again and again
        lines = (_ROWS_AT_A_TIME + 2) * self.layout.lines_per_row
        memory = [spare.pop() if spare else np.empty((lines, self.layout.width, 3), np.uint8) for _ in parts]
        if self._threads > 1 and len(parts) > 1:
            with ThreadPoolExecutor(self._threads) as pool:
                slabs = list(pool.map(self._decode, parts, memory))
        else:
            slabs = [self._decode(part, space) for part, space in zip(parts, memory, strict=True)]
        self._slabs += slabs
        for slab in slabs:
            for row in range(slab.first, slab.last):
                self._slab_of[row] = slab

    def _decode(self, part: tuple[int, int], memory: Image) -> _Slab:
        """Decode rows of units, without last."""
        import imagecodecs

        (first, last), layout = part, self.layout
        begin, end = max(first - 1, 0), min(last + 1, layout.n_rows)  # upsampling looks one line further
        line = layout.lines_per_row
        pixels = memory[: min(end * line, layout.height) - begin * line]
        try:
            imagecodecs.jpeg8_decode(self._file(begin, end), outcolorspace="RGB", out=pixels)
        except imagecodecs.Jpeg8Error as error:
            raise unreadable(self.path, f"the JPEG cannot be decoded ({error})") from error
        return _Slab(first, last, begin * line, pixels, memory)

    def _file(self, begin: int, end: int) -> bytes:
        """Make a JPEG file of the rows ``begin`` to ``end``, without end."""
        layout = self.layout
        height = min(end * layout.lines_per_row, layout.height) - begin * layout.lines_per_row
        header = bytearray(layout.header)
        struct.pack_into(">H", header, layout.height_at, height)
        # starts[i] is where the i-th restart interval begins, just after its marker
        starts, per_row = layout.starts, layout.intervals_per_row
        a = int(starts[begin * per_row])
        b = int(starts[end * per_row]) - 2 if end * per_row < len(starts) else layout.scan_end
        scan = self._data[a:b].copy()
        inside = starts[begin * per_row + 1 : end * per_row] - a
        scan[inside - 1] = 0xD0 + np.arange(len(inside)) % 8
        return bytes(header) + scan.tobytes() + _END


def _runs(rows: Sequence[int], longest: int) -> list[tuple[int, int]]:
    """Put ascending rows into runs without gaps (first, last; without last), cut into equal parts."""
    found = []
    for run in np.split(np.array(rows), np.flatnonzero(np.diff(rows) > 1) + 1):
        bounds = np.linspace(run[0], run[-1] + 1, -(-len(run) // longest) + 1).round().astype(int).tolist()
        found += list(pairwise(bounds))
    return found


@dataclass(eq=False)
class _Slab:
    """Decoded rows ``first`` to ``last``, without last; ``pixels`` begin at line ``top`` of the image."""

    first: int
    last: int
    top: int
    pixels: Image
    memory: Image


class Layout:
    """Where the rows of a JPEG's only scan begin."""

    def __init__(self, data: bytes, frame: Frame, interval: int, scan: int, height_at: int) -> None:
        scan_end, marks = scan_marks(data, scan)
        self.width, self.height = frame.width, frame.height
        self.lines_per_row = frame.down
        across = -(-frame.width // frame.across)
        self.intervals_per_row = across // interval
        self.n_rows = -(-frame.height // frame.down)
        self.header, self.height_at, self.scan_end = data[:scan], height_at, scan_end
        self.starts = np.concatenate(([scan], marks + 2)).astype(np.int64)


def find_layout(data: bytes) -> Layout | None:
    """Return where rows begin in a sound file, or None if it cannot be entered at each of them."""
    if find_damage(data) is not None or sample_bits(data) != 8:
        return None
    position, interval, frame, height_at = 2, 0, None, 0
    while True:
        while data[position] == 0xFF:
            position += 1
        marker = data[position]
        position += 1
        if marker in WITHOUT_LENGTH:
            continue
        if marker == 0xD9:
            return None
        length = int.from_bytes(data[position : position + 2], "big")
        segment = data[position + 2 : position + length]
        if marker in START_OF_FRAME:
            frame, height_at = Frame(marker, segment), position + 3
        elif marker == 0xDD:
            interval = int.from_bytes(segment[:2], "big")
        elif marker == 0xDA:
            break
        position += length
    if frame is None or not frame.sequential or not interval or segment[0] != frame.components:
        return None
    if -(-frame.width // frame.across) % interval:
        return None
    layout = Layout(data, frame, interval, position + length, height_at)
    if data[layout.scan_end : layout.scan_end + 2] != _END:
        return None  # another scan or table follows
    return layout if len(layout.starts) == layout.n_rows * layout.intervals_per_row else None
