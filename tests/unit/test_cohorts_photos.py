"""Photographs cut into tiles: BACH's archive layout, scale, roles and the array that grows."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile

from histobench.cohorts.readers.photos import photo_tiles, write_photo_tiles
from histobench.errors import UserError
from histobench.files import read_table
from histobench.yamlfiles import read_yaml

FOLDER = "ICIAR2018_BACH_Challenge/Photos"
OPTIONS = {"folder": FOLDER, "um_per_px": 0.42, "n_photos": 4, "valid": [[1, 3]]}


def photo(seed: int, width: int = 100, height: int = 70) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def tiff(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, photometric="rgb")
    return stream.getvalue()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "ICIAR2018_BACH_Challenge.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for n, name in enumerate(["Normal/n001", "Benign/b001", "InSitu/is001", "Benign/b002"]):
            packed.writestr(f"{FOLDER}/{name}.tif", tiff(photo(n)))
        packed.writestr(f"{FOLDER}/microscopy_ground_truth.csv", "n001.tif,Normal\n")
        packed.writestr("ICIAR2018_BACH_Challenge/WSI/A01.svs", b"not used")
        packed.writestr("ICIAR2018_BACH_Challenge/WSI/thumbnails/A01.png", b"not used")
    return path


def test_native_tiles_are_the_pixels_of_the_photograph(tmp_path: Path) -> None:
    array = photo(0)
    (tmp_path / "n001.tif").write_bytes(tiff(array))
    tiles = photo_tiles(tmp_path / "n001.tif", 0.42, None, 32)
    assert tiles.shape == (6, 32, 32, 3)  # 3 across, 2 down; what the edge cuts off is left out
    np.testing.assert_array_equal(tiles[0], array[:32, :32])
    np.testing.assert_array_equal(tiles[5], array[32:64, 64:96])


def test_tiles_at_another_scale_show_the_same_field(tmp_path: Path) -> None:
    array = np.kron(photo(1, 50, 35), np.ones((2, 2, 1), np.uint8))  # every pixel doubled
    (tmp_path / "n001.tif").write_bytes(tiff(array))
    tiles = photo_tiles(tmp_path / "n001.tif", 0.42, 0.84, 16)
    assert tiles.shape == (6, 16, 16, 3)
    np.testing.assert_array_equal(tiles[4], array[::2, ::2][16:32, 16:32])
    with pytest.raises(UserError, match="100 x 70 pixels are less than one tile of 128"):
        photo_tiles(tmp_path / "n001.tif", 0.42, 0.84, 64)


def test_archive_becomes_one_array_in_the_order_of_class_and_name(archive: Path, tmp_path: Path) -> None:
    tiles, index = tmp_path / "t.npy", tmp_path / "t.tsv"
    write_photo_tiles(archive, tiles, index, options=OPTIONS, scale="native", width_px=32)
    array, table = np.load(tiles, mmap_mode="r"), read_table(index)
    assert array.shape == (24, 32, 32, 3) and array.dtype == np.uint8 and len(table) == 24
    order = table.drop_duplicates("photo")
    assert order["photo"].tolist() == ["b001", "b002", "is001", "n001"]
    assert order["class"].tolist() == ["Benign", "Benign", "InSitu", "Normal"]
    assert order["role"].tolist() == ["train", "valid", "valid", "train"]
    row = table[(table["photo"] == "is001") & (table["left"] == 64) & (table["top"] == 32)]
    np.testing.assert_array_equal(array[row.index[0]], photo(2)[32:64, 64:96])
    assert sorted(path.name for path in tmp_path.iterdir()) == [archive.name, "t.npy", "t.tsv"]


def test_another_number_of_photographs_is_refused(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"holds 4 photographs in ICIAR2018_BACH_Challenge/Photos, expected 400"
    ):
        write_photo_tiles(
            archive,
            tmp_path / "t.npy",
            tmp_path / "t.tsv",
            options={**OPTIONS, "n_photos": 400},
            scale="native",
            width_px=32,
        )
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_stain_normalisation_maps_the_whole_photograph(tmp_path: Path) -> None:
    # two stains in varying strength, as an H&E image has
    strength = np.random.default_rng(0).gamma(1.0, 0.5, (64, 64, 2))
    density = strength @ np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
    array = np.rint(245 * np.exp(-density)).astype(np.uint8)
    (tmp_path / "n001.tif").write_bytes(tiff(array))
    raw, mapped = (photo_tiles(tmp_path / "n001.tif", 0.42, None, 32, stain=s) for s in ("raw", "macenko"))
    assert mapped.shape == raw.shape and not np.array_equal(mapped, raw)


def test_bach_keeps_patients_apart(project: Path) -> None:
    options = read_yaml(project / "config/cohorts/bach.yaml")["options"]
    valid = [n for first, end in options["valid"] for n in range(first, end)]
    assert (options["n_photos"], len(valid), len(set(valid))) == (400, 132, 132)
