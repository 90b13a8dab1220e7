"""Files as Space Ranger writes them, for tests."""

from __future__ import annotations

import gzip
from pathlib import Path

import h5py
import numpy as np
from scipy import sparse

HEADER = "barcode,in_tissue,array_row,array_col,pxl_row_in_fullres,pxl_col_in_fullres\n"


def write_matrix(path: Path, counts, barcodes, names, ids, kinds=None) -> Path:
    """Write a feature-barcode matrix: genes x barcodes, stored by barcode, as Space Ranger does."""
    matrix = sparse.csc_matrix(np.asarray(counts).T)
    with h5py.File(path, "w") as stored:
        group = stored.create_group("matrix")
        group["barcodes"] = np.array(barcodes, dtype="S18")
        group["data"] = matrix.data.astype(np.int32)
        group["indices"] = matrix.indices.astype(np.int64)
        group["indptr"] = matrix.indptr.astype(np.int64)
        group["shape"] = np.array(matrix.shape, dtype=np.int32)
        features = group.create_group("features")
        features["id"] = np.array(ids, dtype="S32")
        features["name"] = np.array(names, dtype="S32")
        features["feature_type"] = np.array(kinds or ["Gene Expression"] * len(ids), dtype="S32")
        features["genome"] = np.array(["GRCh38"] * len(ids), dtype="S16")
        features["_all_tag_keys"] = np.array(["genome"], dtype="S6")
    return path


def grid(columns: int = 6, rows: int = 4, pitch: float = 137.7):
    """Positions on the hexagonal array: (row, column, pixel row, pixel column), columns in half pitches."""
    return [
        (row, column, 1000 + row * pitch * np.sqrt(3) / 2, 500 + column * pitch / 2)
        for row in range(rows)
        for column in range(row % 2, 2 * columns, 2)
    ]


def write_positions(path: Path, rows, *, header: bool, compress: bool = False) -> Path:
    """Write (barcode, in_tissue, array row, array column, pixel row, pixel column)."""
    text = (HEADER if header else "") + "".join(",".join(map(str, row)) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if compress else text.encode())
    return path
