"""10x Visium sections as Space Ranger writes them: a filtered feature matrix and a table of positions."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.cohorts.counts import gene_features, matrix_from_parts, require_counts, row_matrix
from histobench.cohorts.fetch.archives import unpack_member
from histobench.cohorts.gene_names import exchanged
from histobench.cohorts.labels import tumour_values
from histobench.cohorts.losses import name_cause
from histobench.cohorts.readers.legacy_st import join_spots, refuse_duplicates
from histobench.cohorts.readers.scalefactors import ScaleFactors, read_scale_factors
from histobench.cohorts.sheet import POSITION_FILES, SCALE_FILE
from histobench.cohorts.text import (
    is_answer,
    numbers,
    plain_words,
    read_text,
    require_columns,
    text_table,
    yes_or_no,
)
from histobench.cohorts.types import LABEL_SOURCES, UNMEASURED, RawSection
from histobench.errors import UserError
from histobench.sniff import strange_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from scipy import sparse

POSITION_COLUMNS = (
    "barcode",
    "in_tissue",
    "array_row",
    "array_col",
    "pxl_row_in_fullres",
    "pxl_col_in_fullres",
)
"""Columns of a table of positions, in the order of files without a header (Space Ranger before 2.0)."""

PITCH_UM = 100.0
"""Distance of neighbouring spots of a Visium array, 6.5 or 11 mm wide."""


def read_section(section: str, files: Mapping[str, str], options: Mapping[str, Any]) -> RawSection:
    """Read one section.

    The grid is hexagonal: ``array_x`` counts columns in half pitches. The scale therefore follows from the
    pitch of 100 µm; ``spot_diameter_fullres`` is not 55 µm but 65 or more, and only compared with it.

    Parameters
    ----------
    section
        Name; used in messages, and to pick the section's rows in a table of labels of several sections.
    files
        ``counts``, the filtered feature matrix (HDF5); ``positions``, a table of positions, or ``spatial``,
        Space Ranger's folder of that name or a tar file of it; optionally ``scalefactors`` (in ``spatial``
        they are found) and ``labels``. Others (``image``) are not used here.
    options
        ``labels``: how a table of labels is read, see :func:`read_labels`.

    Raises
    ------
    UserError
        A file is missing or malformed; an option is unknown.
    """
    unknown = set(options) - {"labels"}
    if unknown:
        raise UserError(f'Section {section}: the visium reader has no option "{min(unknown)}"; remove it.')
    if "counts" not in files or not {"positions", "spatial"} & set(files):
        raise UserError(
            f'Section {section}: the cohort\'s files must name "counts", and "positions" or "spatial"; '
            "add their path templates."
        )
    counts, barcodes, genes, n_other = read_matrix(files["counts"])
    positions = read_positions(files["positions"]) if "positions" in files else read_spatial(files["spatial"])
    factors = None
    if "scalefactors" in files:
        factors = read_scale_factors(files["scalefactors"])
    elif "positions" not in files:
        factors = spatial_scale_factors(files["spatial"])
    # Spots off the tissue are no loss, unless they have counts after all.
    known = positions["selected"] | positions.index.isin(barcodes)
    cause = name_cause(barcodes, positions.index)
    counts, spots, dropped = join_spots(counts, barcodes, positions[known])
    dropped["not_in_tissue"] = dropped.pop("not_selected")
    if n_other:
        dropped["feature_other_type"] = n_other
    settings = options.get("labels", {})
    spots["label"], spots["tumour"] = "", np.nan
    if "labels" in files:
        label = read_labels(files["labels"], settings, section)
        spots["label"] = label.reindex(spots.index).fillna("").astype(object)
        spots["tumour"] = tumour_values(spots["label"], settings, files["labels"])
        dropped["label_no_spot"] = int((~label.index.isin(spots.index)).sum())
    source = settings.get("source", "pathologist")
    spots["label_source"] = np.where(spots["label"] != "", source, "none").astype(object)
    return RawSection(
        counts=counts,
        spots=spots,
        genes=genes,
        dropped=dropped,
        grid="hexagonal",
        pitch_um=PITCH_UM,
        factors=factors,
        causes={"no_position": cause, "no_counts": cause},
        genes_absent=UNMEASURED,
    )


def read_positions(path: str | Path) -> pd.DataFrame:
    """Read a table of positions, with a header (Space Ranger 2.0 and later) or without (before).

    Which one is told by content: the second field of a header is no answer.

    Returns
    -------
    pandas.DataFrame
        Index: barcode; ``array_x`` (column, half pitches), ``array_y`` (row), ``pixel_x``, ``pixel_y`` in the
        full-resolution image (x to the right, y downwards; the file gives the row first), ``selected``
        (under tissue), ``unsaid`` (the file does not say it).

    Raises
    ------
    UserError
        A column is missing, a value is no number, or a barcode occurs twice; names the line.
    """
    import pandas as pd

    table = position_table(path)
    require_columns(table, POSITION_COLUMNS, path, "commas")
    values = {name: numbers(table[name], path) for name in POSITION_COLUMNS[2:]}
    inside, unsaid = yes_or_no(table["in_tissue"], path)
    barcodes = pd.Index(table["barcode"].str.strip().to_numpy(dtype=object), name="spot")
    refuse_duplicates(barcodes, table.index, path)
    return pd.DataFrame(
        {
            "array_x": values["array_col"],
            "array_y": values["array_row"],
            "pixel_x": values["pxl_col_in_fullres"],
            "pixel_y": values["pxl_row_in_fullres"],
            "selected": inside,
            "unsaid": unsaid,
        },
        index=barcodes,
    )


def position_table(path: str | Path) -> pd.DataFrame:
    """Read a table of positions as text (CSV, also gzipped, or Parquet); index: line or row.

    Raises
    ------
    UserError
        The file is missing or damaged.
    """
    import pandas as pd

    if str(path).endswith(".parquet"):
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file; fetch it or correct the path.")
        if strange := strange_file(path):
            raise UserError(f"{path}: {strange}; get the file again.")
        try:
            stored = pd.read_parquet(path)
        except Exception as error:  # noqa: BLE001 (anything may be wrong in a file of another program)
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{path}: cannot be read as Parquet ({reason}); get the file again.") from None
        if "barcode" not in stored:
            stored = stored.reset_index(names="barcode")
        table = stored.apply(plain_words).set_axis(pd.RangeIndex(1, len(stored) + 1, name="line"), axis=0)
    else:
        first = read_text(path).split(b"\n", 1)[0].decode()
        headless = all(map(is_answer, first.split(",")[1:2])) and "," in first
        table = text_table(path, sep=",", names=POSITION_COLUMNS if headless else None)
    return table


def read_spatial(path: str | Path) -> pd.DataFrame:
    """Read the positions of a ``spatial`` folder, or of a tar file of one, see :func:`read_positions`."""
    path = Path(path)
    if path.is_dir():
        for folder in (path, path / "spatial"):
            for name in POSITION_FILES:
                if (folder / name).is_file():
                    return read_positions(folder / name)
        raise UserError(f"{path}: holds none of {', '.join(POSITION_FILES)}; name Space Ranger's folder.")
    with tempfile.TemporaryDirectory() as unpacked:
        problem: UserError | None = None
        for name in POSITION_FILES:
            try:
                unpack_member(path, name, Path(unpacked, name))
            except UserError as error:
                problem = problem or error
                continue
            return read_positions(Path(unpacked, name))
    raise problem or UserError(f"{path}: holds no positions.")


def spatial_scale_factors(path: str | Path) -> ScaleFactors | None:
    """Read the scale factors of a ``spatial`` folder, or of a tar file of one; None if it holds none."""
    path = Path(path)
    if path.is_dir():
        found = [place for place in (path / SCALE_FILE, path / "spatial" / SCALE_FILE) if place.is_file()]
        return read_scale_factors(found[0]) if found else None
    with tempfile.TemporaryDirectory() as unpacked:
        place = Path(unpacked, SCALE_FILE)
        try:
            unpack_member(path, SCALE_FILE, place)
        except UserError:
            return None
        return replace(read_scale_factors(place), source=f"{path}!/{SCALE_FILE}")


def read_matrix(path: str | Path) -> tuple[sparse.csr_matrix, pd.Index, pd.DataFrame, int]:
    """Read a feature-barcode matrix: HDF5 (Cell Ranger 3, Space Ranger), or a folder's matrix.mtx.

    What scanpy's ``read_10x_h5`` reads it reads alike, as a test holds. Own code, because scanpy takes what
    is no count without a word, and needs 3 s of processor time for its import.

    Returns
    -------
    counts, barcodes, genes, n_other
        CSR int32 (barcodes, genes); barcodes; genes by symbol with ``gene_id`` (symbols may repeat); and the
        number of features left out because they are no genes (antibodies, ...).

    Raises
    ------
    UserError
        The file is missing, damaged or of another kind, or a count is no whole number.
    """
    import pandas as pd

    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; fetch it or correct the path.")
    counts, barcodes, ids, names, kinds = matrix_parts(path)
    require_counts(counts, barcodes, names, f"{path}: holds values that are no counts")
    counts = counts.astype(np.int32)
    genes = pd.DataFrame({"gene_id": ids}, index=pd.Index(names, name="gene", dtype=object))
    is_gene = gene_features(kinds)
    if not is_gene.any():
        raise UserError(
            f"{path}: no feature is a gene ({', '.join(sorted(set(kinds)))}); give the counts of Gene "
            "Expression."
        )
    if not is_gene.all():
        counts, genes = counts[:, np.flatnonzero(is_gene)], genes[is_gene]
    counts.sort_indices()
    return counts, pd.Index(barcodes, name="spot"), genes, int((~is_gene).sum())


_Parts = tuple["sparse.csr_matrix", list[str], list[str], list[str], list[str]]


def matrix_parts(path: str | Path) -> _Parts:
    """Read a feature-barcode matrix as stored: counts (barcodes, features), barcodes, and id, name and kind.

    Raises
    ------
    UserError
        The file is damaged or of another kind; values are not looked at.
    """
    return _market_parts(Path(path)) if str(path).endswith((".mtx", ".mtx.gz")) else _hdf5_parts(path)


def _hdf5_parts(path: str | Path) -> _Parts:
    """Read the matrix of Space Ranger's HDF5 file, see :func:`matrix_parts`."""
    import h5py

    if strange := strange_file(path):
        raise UserError(f"{path}: {strange}; get the file again.")
    try:
        with h5py.File(path, "r") as stored:
            if "matrix/features" not in stored:
                raise UserError(
                    f"{path}: has no group matrix/features; give the filtered_feature_bc_matrix.h5 of "
                    "Space Ranger."
                )
            matrix = stored["matrix"]
            data, indices, indptr = (matrix[name][:] for name in ("data", "indices", "indptr"))
            shape = tuple(int(n) for n in matrix["shape"][:])
            barcodes = _texts(matrix["barcodes"][:])
            ids, names, kinds = (
                _texts(matrix["features"][name][:]) for name in ("id", "name", "feature_type")
            )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: is damaged or no feature matrix ({error}); fetch it again.") from None
    if (
        shape != (len(ids), len(barcodes))
        or not len(ids) == len(names) == len(kinds)
        or len(indptr) != len(barcodes) + 1
        or len(indices) != len(data)
        or indptr[-1] != len(data)
    ):
        raise UserError(f"{path}: its parts do not fit together; it is damaged, so fetch it again.")
    # Columns of the stored matrix (one per barcode) are the rows of ours.
    counts = matrix_from_parts(data, indices, indptr, (len(barcodes), len(ids)), str(path))
    return counts, barcodes, ids, names, kinds


def _market_parts(path: Path) -> _Parts:
    """Read a folder of matrix.mtx, barcodes.tsv and features.tsv (or genes.tsv), plain or gzipped."""
    import io

    from scipy.io import mmread

    barcodes = [row[0] for row in _rows_beside(path, ("barcodes.tsv",))]
    features = _rows_beside(path, ("features.tsv", "genes.tsv"))
    if any(len(row) < 2 for row in features):
        raise UserError(f"{path.parent}: the features need two columns, id and name; get the folder again.")
    ids, names = [row[0] for row in features], [row[1] for row in features]
    if exchanged(ids, names):
        raise UserError(
            f"{path.parent}: the features give the name first and the identifier second ({ids[0]}, {names[0]}"
            "); exchange the two columns."
        )
    text = read_text(path)
    if b"pattern" in text.split(b"\n", 1)[0].lower():
        raise UserError(
            f"{path}: says where counts are, but not how large they are (its first line says pattern); "
            "write the matrix with its values."
        )
    try:
        stored = mmread(io.BytesIO(text))
    except (ValueError, OverflowError, TypeError, StopIteration) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: is damaged or no Matrix Market file ({reason}); get it again.") from None
    if stored.shape != (len(features), len(barcodes)):
        raise UserError(
            f"{path}: holds {stored.shape[0]} features and {stored.shape[1]} barcodes, but the files beside "
            f"it name {len(features)} and {len(barcodes)}; get the folder again."
        )
    counts = row_matrix(stored.T, str(path))
    return counts, barcodes, ids, names, [row[2] if len(row) > 2 else "" for row in features]


def _rows_beside(matrix: Path, names: Sequence[str]) -> list[list[str]]:
    """Lines of the file that lies beside a matrix, split at tabs."""
    places = [matrix.parent / f"{name}{end}" for name in names for end in ("", ".gz")]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise UserError(f"{matrix.parent}: holds {matrix.name} but no {names[0]}; get the folder again.")
    return [line.split("\t") for line in read_text(found).decode().rstrip("\n").split("\n")]


def _texts(values: np.ndarray) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def read_labels(path: str | Path, settings: Mapping[str, Any], section: str) -> pd.Series:
    """Read a table of labels by barcode, separated by tabs or commas.

    Parameters
    ----------
    path
        The table, of one section or of several.
    settings
        ``barcode``, ``label``: names of columns; ``section``: column with the section's name, for tables of
        several; ``columns``: names of all columns, for a table without a header; ``tumour``, ``normal``: the
        labels that count as such; ``source``: who gave the labels.
    section
        Whose rows to take.

    Returns
    -------
    pandas.Series
        Label by barcode, without blanks.

    Raises
    ------
    UserError
        A setting or column is missing or unknown, or a barcode is labelled twice.
    """
    import pandas as pd

    _check_settings(settings, section)
    first = read_text(path).split(b"\n", 1)[0]
    table = text_table(path, sep="\t" if b"\t" in first else ",", names=settings.get("columns"))
    wanted = [settings[key] for key in ("barcode", "label", "section") if key in settings]
    require_columns(table, wanted, path)
    if "section" in settings:
        table = table[table[settings["section"]].str.strip() == section]
        if table.empty:
            raise UserError(
                f"{path}: column {settings['section']} never says {section}; correct the section's name."
            )
    label = pd.Series(
        plain_words(table[settings["label"]]).to_numpy(dtype=object),
        index=pd.Index(table[settings["barcode"]].str.strip().to_numpy(dtype=object), name="spot"),
    )
    refuse_duplicates(label.index, table.index, path)
    return label[label != ""]


_LABEL_KEYS: Sequence[str] = ("barcode", "columns", "label", "normal", "section", "source", "tumour")


def _check_settings(settings: Mapping[str, Any], section: str) -> None:
    unknown = sorted(set(settings) - set(_LABEL_KEYS))
    if unknown:
        raise UserError(
            f"Section {section}: options.labels has no key {unknown[0]}; known are {', '.join(_LABEL_KEYS)}."
        )
    for key in ("barcode", "label"):
        if key not in settings:
            raise UserError(f"Section {section}: options.labels must name the column with the {key}; add it.")
    if settings.get("source", "pathologist") not in LABEL_SOURCES:
        raise UserError(
            f"Section {section}: options.labels.source must be one of {', '.join(LABEL_SOURCES)}; correct it."
        )
