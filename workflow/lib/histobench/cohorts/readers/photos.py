"""Cohorts of photographs without counts, such as BACH (Aresta et al. 2019): tiles to learn images from.

A photograph has no spots: tiles cover it side by side, brought to a stated scale.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from histobench.cohorts.fetch.archives import open_archive
from histobench.errors import UserError
from histobench.files import atomic_path, write_table
from histobench.imaging.patches import cut_windows
from histobench.imaging.slides import ArraySlide, read_image
from histobench.imaging.tiles import cover

if TYPE_CHECKING:
    from histobench.imaging.patches import ColourFunction

_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
_ROLES = ("train", "valid")


def photo_tiles(
    path: str | Path,
    um_per_px_native: float,
    um_per_px: float | None,
    width_px: int,
    *,
    stain: str = "raw",
) -> npt.NDArray[np.uint8]:
    """Cut a photograph into tiles: uint8 (n, width_px, width_px, 3), in reading order.

    Parameters
    ----------
    path
        The photograph; it is read whole.
    um_per_px_native, um_per_px
        Scale of the photograph and of the tiles; None for the photograph's own.
    width_px
        Width and height of a tile. Tiles that the edge would cut off are left out.
    stain
        "raw", or a name of :data:`histobench.imaging.stains.NORMALISED` to normalise the photograph to the
        built-in reference first.

    Raises
    ------
    UserError
        The file is missing or damaged, or smaller than one tile.
    """
    return _tiles(read_image(path), path, um_per_px_native, um_per_px, width_px, stain)[0]


def _tiles(
    image: npt.NDArray[np.uint8],
    path: object,
    um_per_px_native: float,
    um_per_px: float | None,
    width_px: int,
    stain: str,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return tiles and their left and top in the photograph."""
    height, width = image.shape[:2]
    windows = cover(width, height, width_px, um_per_px_native, um_per_px)
    if not len(windows):
        raise UserError(
            f"{path}: {width} x {height} pixels are less than one tile of {windows.crop_px}; "
            "choose a smaller width or a finer scale."
        )
    pixels = cut_windows(ArraySlide(image), windows, _stain_function(image, stain))
    return pixels, windows.left, windows.top


def _stain_function(image: npt.NDArray[np.uint8], stain: str) -> ColourFunction | None:
    if stain == "raw":
        return None
    from histobench.imaging.stain import fit_stain, stain_map

    return stain_map(fit_stain(image, stain))


def write_photo_tiles(
    archive: str | Path,
    output_npy: str | Path,
    output_tsv: str | Path,
    *,
    options: Mapping[str, Any],
    scale: str | float,
    width_px: int,
    stain: str = "raw",
) -> None:
    """Cut all photographs of an archive into one array of tiles and its index.

    Photographs are read one at a time; nothing of the archive is unpacked but the one being cut.

    Parameters
    ----------
    archive
        zip or tar file.
    output_npy, output_tsv
        uint8 (n, W, W, 3), memory-mappable; and one row per tile: photo, class (its folder), role, left, top
        (native pixels). Roles are "train" and "valid".
    options
        The cohort's: ``folder`` in the archive with one folder of photographs per class, ``um_per_px``,
        ``n_photos``, and ``valid``: ranges [first, last + 1] of photographs, ordered by class and name, that
        are kept for validation. Neighbours in that order may be of one patient, so that ranges keep patients
        on one side where picking single photographs would not.
    scale
        "native", or micrometres per pixel of the tiles.
    width_px, stain
        See :func:`photo_tiles`.

    Raises
    ------
    UserError
        The archive is missing or damaged, or holds another number of photographs.
    """
    import pandas as pd

    target = None if scale == "native" else float(scale)
    rows: list[pd.DataFrame] = []
    with atomic_path(output_npy) as temporary, _Growing(temporary, width_px) as tiles:
        for photo, role, image in _photos(Path(archive), options):
            pixels, left, top = _tiles(image, photo, float(options["um_per_px"]), target, width_px, stain)
            tiles.append(pixels)
            rows.append(
                pd.DataFrame(
                    {"photo": photo.stem, "class": photo.parent.name, "role": role, "left": left, "top": top}
                )
            )
        index = pd.concat(rows, ignore_index=True)
        tiles.finish()
        if len(np.load(temporary, mmap_mode="r")) != len(index):
            raise RuntimeError(f"{output_npy}: tiles and their index differ in number")
        write_table(index, output_tsv)


def _photos(
    archive: Path, options: Mapping[str, Any]
) -> Iterator[tuple[PurePosixPath, str, npt.NDArray[np.uint8]]]:
    """Yield path in the archive, role and pixels of every photograph, ordered by class and name."""
    folder = PurePosixPath(options["folder"])
    with open_archive(archive) as packed, tempfile.TemporaryDirectory() as scratch:
        found = sorted(
            path
            for path in map(PurePosixPath, packed.names)
            if path.suffix.lower() in _SUFFIXES and path.parent.parent == folder and path.name[0] != "."
        )
        if len(found) != options["n_photos"]:
            raise UserError(
                f"{archive}: holds {len(found)} photographs in {folder}, expected {options['n_photos']}; "
                "fetch it again, or correct options.folder or options.n_photos of the cohort."
            )
        roles = _roles(len(found), options.get("valid", ()))
        for path, role in zip(found, roles, strict=True):
            copy = Path(scratch, path.name)
            copy.write_bytes(packed.read(str(path)))
            yield path, role, read_image(copy)
            copy.unlink()


def _roles(n: int, valid: Sequence[Sequence[int]]) -> list[str]:
    roles = [_ROLES[0]] * n
    for first, end in valid:
        if not 0 <= first < end <= n:
            raise UserError(f"options.valid names the range {first} to {end} of {n} photographs; correct it.")
        roles[first:end] = [_ROLES[1]] * (end - first)
    return roles


class _Growing:
    """An .npy file of tiles of which the number is known only at the end."""

    def __init__(self, path: Path, width: int) -> None:
        self._stream = path.open("wb")
        self._width = width
        self._n = 0
        self._header()
        self._start = self._stream.tell()

    def _header(self) -> None:
        # numpy pads the header so that a longer first axis fits into the same space.
        np.lib.format.write_array_header_1_0(
            self._stream,
            {"descr": "|u1", "fortran_order": False, "shape": (self._n, self._width, self._width, 3)},
        )

    def append(self, pixels: npt.NDArray[np.uint8]) -> None:
        self._stream.write(np.ascontiguousarray(pixels).data)
        self._n += len(pixels)

    def finish(self) -> None:
        self._stream.seek(0)
        self._header()
        if self._stream.tell() != self._start:
            raise RuntimeError("the header of the array has changed its length")
        self._stream.flush()

    def __enter__(self) -> _Growing:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
