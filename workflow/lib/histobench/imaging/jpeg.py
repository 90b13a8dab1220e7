"""Whole JPEG files to pixels, refusing files that end early.

libjpeg fills the missing part of a truncated file with grey and only warns, and the warning does not reach
Python. So the marker structure is walked first: it costs well under a hundredth of the decoding.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from histobench.imaging.headers import JPEG, START_OF_FRAME, WITHOUT_LENGTH, header_size, unreadable
from histobench.imaging.memory import require_memory

_OPENCV_PIXELS = 2**30  # what OpenCV decodes at most


def read_jpeg(path: Path, out: npt.NDArray[np.uint8] | None = None) -> npt.NDArray[np.uint8]:
    """Decode a JPEG to height x width x 3 RGB bytes with libjpeg-turbo, ignoring any EXIF rotation.

    Parameters
    ----------
    path
        The file.
    out
        Array to decode into (same shape); reusing one saves the page faults of a fresh array.

    Raises
    ------
    UserError
        The file is truncated, damaged, or not a grey or RGB image.
    """
    import imagecodecs

    width, height = header_size(path, JPEG)
    if out is None:
        require_memory(path, width, height, 3 * width * height + path.stat().st_size)
    data = path.read_bytes()
    refuse_damage(data, path)
    try:
        if sample_bits(data) == 8:
            return imagecodecs.jpeg8_decode(data, outcolorspace="RGB", out=out)
        # 12 bits keep their upper eight, as 16 bits of a PNG do
        deep = imagecodecs.jpeg8_decode(data, outcolorspace="RGB")
    except imagecodecs.Jpeg8Error as error:
        raise unreadable(path, f"the JPEG cannot be decoded ({error})") from error
    pixels = np.empty(deep.shape, np.uint8) if out is None else out
    np.right_shift(deep, sample_bits(data) - 8, out=pixels, casting="unsafe")
    return pixels


def read_reduced_jpeg(path: Path, shrink: float) -> npt.NDArray[np.uint8] | None:
    """Decode a JPEG at the smallest of the scales 1, 1/2, 1/4, 1/8 that is at least 1/``shrink``.

    None where the decoder that can do this cannot read the file: it is too large, has 12 bits, or is damaged.

    Raises
    ------
    UserError
        As :func:`read_jpeg`.
    """
    import cv2

    width, height = header_size(path, JPEG)
    if width * height >= _OPENCV_PIXELS:
        return None
    eighths, flag = next(
        (found for found in ((1, cv2.IMREAD_REDUCED_COLOR_8), (2, cv2.IMREAD_REDUCED_COLOR_4),
                             (4, cv2.IMREAD_REDUCED_COLOR_2)) if shrink >= 8 / found[0]),
        (8, cv2.IMREAD_COLOR),
    )  # fmt: skip
    require_memory(path, width, height, 6 * width * height * eighths**2 // 64 + path.stat().st_size)
    data = path.read_bytes()
    refuse_damage(data, path)
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        return None
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def refuse_damage(data: bytes, path: Path) -> None:
    """Stop if a JPEG is truncated or damaged.

    Raises
    ------
    UserError
        With what :func:`find_damage` found.
    """
    damage = find_damage(data)
    if damage is not None:
        raise unreadable(path, damage)


def find_damage(data: bytes) -> str | None:
    """Say what is wrong with the structure of a JPEG file, or None if it runs to its end marker."""
    position, interval, frame = 2, 0, None
    while True:
        marker_at = position
        while position < len(data) and data[position] == 0xFF:
            position += 1
        if position >= len(data):
            return "the JPEG is truncated"
        if position == marker_at:
            return f"the JPEG is damaged at byte {position}"
        marker = data[position]
        position += 1
        if marker == 0xD9:
            return None if frame else "the JPEG holds no image"
        if marker in WITHOUT_LENGTH:
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        if position + max(length, 2) > len(data):
            return "the JPEG is truncated"
        if marker == 0 or length < 2:
            return f"the JPEG is damaged at byte {position}"
        segment = data[position + 2 : position + length]
        position += length
        try:
            if marker in START_OF_FRAME:
                frame = Frame(marker, segment)
                if frame.components not in (1, 3):
                    return f"the JPEG has {frame.components} colour channels, but grey or RGB is needed"
            elif marker == 0xDD:
                interval = int.from_bytes(segment[:2], "big")
            elif marker == 0xDA:
                end, marks = scan_marks(data, position)
                if end == len(data):
                    return "the JPEG is truncated"
                if frame and interval and frame.sequential and segment[0] == frame.components:
                    expected = -(-frame.units // interval) - 1
                    if len(marks) != expected:
                        return f"the JPEG is damaged (it holds {len(marks)} of {expected} restart markers)"
                position = end
        except (struct.error, IndexError, ZeroDivisionError):
            return "the JPEG is damaged"


def sample_bits(data: bytes) -> int:
    """Return the bits of a sample, 8 or 12, that a sound file states."""
    position = 2
    while True:
        while data[position] == 0xFF:
            position += 1
        marker = data[position]
        if marker in START_OF_FRAME:
            return data[position + 3]
        position += 1
        if marker not in WITHOUT_LENGTH:
            position += int.from_bytes(data[position : position + 2], "big")


def scan_marks(data: bytes, start: int) -> tuple[int, npt.NDArray[np.int64]]:
    """Return where the compressed data that begin at ``start`` end, and where their restart markers are.

    In compressed data 0xFF is followed by 0 (stuffing), a restart marker or more 0xFF; anything else ends
    them. The end is that of the file where there is no such marker.
    """
    bytes_ = np.frombuffer(data, np.uint8)
    escapes = start + np.flatnonzero(bytes_[start:-1] == 0xFF)
    after = bytes_[escapes + 1]
    restart = (after >= 0xD0) & (after <= 0xD7)
    ends = escapes[(after != 0) & (after != 0xFF) & ~restart]
    end = int(ends[0]) if len(ends) else len(data)
    marks = escapes[restart]
    return end, marks[marks < end]


class Frame:
    """What a frame header says: size, components, coding, and the size and number of minimum coded units."""

    def __init__(self, marker: int, segment: bytes) -> None:
        _, self.height, self.width, self.components = struct.unpack(">BHHB", segment[:6])
        self.sequential = marker in (0xC0, 0xC1)
        sampling = [segment[7 + 3 * i] for i in range(self.components)]
        # A single component is coded block by block whatever sampling it states.
        self.across = 8 * max(s >> 4 for s in sampling) if self.components > 1 else 8
        self.down = 8 * max(s & 15 for s in sampling) if self.components > 1 else 8
        self.units = -(-self.width // self.across) * -(-self.height // self.down)
