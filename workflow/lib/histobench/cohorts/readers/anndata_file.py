"""AnnData files of a user: one library of several, raw counts wherever they are, spots and their places."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.cohorts.counts import gene_features, require_counts, row_matrix, wrong_entries
from histobench.cohorts.text import plain_words, yes_or_no
from histobench.errors import UserError
from histobench.sniff import strange_file

if TYPE_CHECKING:
    import anndata
    import numpy.typing as npt
    import pandas as pd
    from scipy import sparse

LIBRARY_COLUMNS = (
    "library_id", "library", "sample", "sample_id", "section", "section_id", "slice", "slice_id", "slide",
    "slide_id", "batch", "dataset", "orig.ident", "region",
)  # fmt: skip
"""Columns of obs that may tell sections of one file apart, as scanpy, squidpy and Seurat call them."""

_SECTIONS = frozenset(LIBRARY_COLUMNS) - {"batch", "region"}  # which may also name parts of one section
_OVERLAP = 0.25  # of the smaller of two sections

# Names of grid positions: this project's own, and scanpy's for Visium (columns first). They are the usual
# ones of a kind of grid; the positions say whether it is that kind.
ARRAYS = {"square": ("array_x", "array_y"), "hexagonal": ("array_col", "array_row")}

_PIXEL_NAMES = (
    ("x", "y"),
    ("pixel_x", "pixel_y"),
    ("pxl_col_in_fullres", "pxl_row_in_fullres"),
    ("imagecol", "imagerow"),
)
_NUMBERED = re.compile(r"(spatial|dim|x|array)?[-_ ]?\d+")  # columns 0 and 1, spatial1 and spatial2
_OTHER_KINDS = (
    "antibody", "crispr", "custom", "multiplexing", "control", "codeword", "protein expression", "adt",
    "hashtag",
)  # fmt: skip
KIND_COLUMNS = (
    "feature_types", "feature_type", "feature_class", "modality", "modalities", "library_type", "assay",
    "type",
)  # fmt: skip
"""Columns of var that may tell genes from other features."""


def open_anndata(path: str | Path, options: Mapping[str, Any]) -> anndata.AnnData:
    """Read an AnnData file whole, or one library of it.

    Parameters
    ----------
    options
        ``library``: which section of several to take; ``library_key``: the column of obs that names them.

    Raises
    ------
    UserError
        The file is missing, damaged or something else, or holds several libraries and none is chosen.
    """
    import anndata

    if strange := strange_file(path):
        raise UserError(f"{path}: {strange}; get the file again.")
    try:
        with warnings.catch_warnings():  # whatever they are about is checked here, and told with the file
            warnings.simplefilter("ignore")
            adata = anndata.read_h5ad(path)
            return _one_library(adata, path, options)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; correct the path.") from None
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 (anything may be wrong in a file of another program)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        remedy = (
            "get the file" if "truncated" in reason else "write it again with a current anndata, or get it"
        )
        raise UserError(f"{path}: cannot be read as AnnData ({reason}); {remedy} again.") from None


# -- libraries --------------------------------------------------------------------------------------


def _one_library(adata: anndata.AnnData, path: str | Path, options: Mapping[str, Any]) -> anndata.AnnData:
    key, name = options.get("library_key"), options.get("library")
    if key is not None and key not in adata.obs:
        raise UserError(f"{path}: obs has no column {key}, which options.library_key names; correct it.")
    shared = _shared_places(adata)
    columns = [str(key)] if key is not None else _library_columns(adata, shared)
    if name is None:
        if columns and (key is not None or shared is not None or _is_library(adata, columns[0])):
            _refuse_several(adata, columns[0], shared, path)
        for column in (column for column in columns if column in _SECTIONS and _overlaid(adata, column)):
            _refuse_several(adata, column, None, path)
        return adata
    for column in columns:
        chosen = (plain_words(adata.obs[column]) == str(name)).to_numpy()
        if chosen.any():
            one = adata[chosen].copy()
            pictures = one.uns.get("spatial")
            if isinstance(pictures, Mapping) and str(name) in pictures:
                one.uns["spatial"] = {str(name): pictures[str(name)]}
            return one
    pictures = adata.uns.get("spatial")
    if not columns and isinstance(pictures, Mapping) and list(pictures) == [str(name)]:
        return adata
    known = "; ".join(f"obs['{column}'] says {_listed(_values(adata, column))}" for column in columns)
    raise UserError(
        f"{path}: holds no library {name}, which options.library names "
        f"({known or 'no column of obs names any'}); correct it, or name the column in options.library_key."
    )


def _values(adata: anndata.AnnData, column: str) -> list[str]:
    return [word for word in dict.fromkeys(plain_words(adata.obs[column])) if word]


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:6]) + (", ..." if len(words) > 6 else "")


def _is_library(adata: anndata.AnnData, column: str) -> bool:
    """Whether a column names libraries for certain, even if they share no place of the grid."""
    values = _values(adata, column)
    pictures = adata.uns.get("spatial")
    pictured = set(pictures) & set(values) if isinstance(pictures, Mapping) else set()
    return len(values) > 1 and (column == "library_id" or len(pictured) > 1)


def _overlaid(adata: anndata.AnnData, column: str) -> bool:
    """Whether spots of two libraries lie over each other in the image, as those of one section never do."""
    import pandas as pd

    try:
        pixel = positions_of(adata, (), "")[:, 2:] if "spatial" in adata.obsm else np.empty((0, 2))
    except UserError:
        return False
    if not np.isfinite(pixel).all() or not len(pixel):
        return False
    spots = pd.DataFrame(pixel, columns=["x", "y"]).groupby(plain_words(adata.obs[column]).to_numpy())
    corners = [(low, high) for low, high in zip(spots.min().to_numpy(), spots.max().to_numpy(), strict=True)]
    for (low, high), (other_low, other_high) in itertools.combinations(corners, 2):
        common = np.minimum(high, other_high) - np.maximum(low, other_low)
        least = min(np.prod(high - low), np.prod(other_high - other_low))
        if (common > 0).all() and np.prod(common) > _OVERLAP * least > 0:
            return True
    return False


def _shared_places(adata: anndata.AnnData) -> npt.NDArray[np.bool_] | None:
    """Rows whose place on the grid is also another's; None if there are none."""
    grid = next((columns for columns in ARRAYS.values() if set(columns) <= set(adata.obs)), None)
    if grid is None:
        return None
    places = adata.obs[list(grid)].astype(object)
    shared = (places.duplicated(keep=False) & places.notna().all(axis=1)).to_numpy()
    return shared if shared.any() else None


def _library_columns(adata: anndata.AnnData, shared: npt.NDArray[np.bool_] | None) -> list[str]:
    """Columns of obs that name libraries: those that part spots of one place first, then the usual names."""
    known = [column for column in LIBRARY_COLUMNS if column in adata.obs and len(_values(adata, column)) > 1]
    if shared is None:
        return sorted(known, key=lambda column: not _is_library(adata, column))
    grid = next(columns for columns in ARRAYS.values() if set(columns) <= set(adata.obs))
    others = [
        column
        for column in adata.obs
        if column not in known and column not in grid and 1 < adata.obs[column].nunique() <= len(adata) / 2
    ]
    places = adata.obs.loc[shared, list(grid)].astype(object).reset_index(drop=True)
    parting = []
    for column in [*known, *others]:
        words = plain_words(adata.obs[column])[shared].reset_index(drop=True)
        if not places.assign(library=words).duplicated().any():
            parting.append(str(column))
    return parting or known


def _refuse_several(
    adata: anndata.AnnData, column: str, shared: npt.NDArray[np.bool_] | None, path: str | Path
) -> None:
    values = _values(adata, column)
    if len(values) < 2:
        return
    where = ""
    if shared is not None:
        grid = next(columns for columns in ARRAYS.values() if set(columns) <= set(adata.obs))
        places = adata.obs[list(grid)].astype(object)
        first = places[shared].iloc[0]
        two = adata.obs_names[(places == first).all(axis=1).to_numpy()][:2]
        where = f", and spots such as {two[0]} and {two[1]} share a grid position"
    raise UserError(
        f"{path}: holds several sections: obs['{column}'] says {_listed(values)}{where}; choose one with "
        f"`options: {{library: {values[0]}}}`, or for each section in a column `library` of the table."
    )


# -- counts -----------------------------------------------------------------------------------------


def counts_and_genes(
    adata: anndata.AnnData, path: str | Path, options: Mapping[str, Any]
) -> tuple[Any, pd.DataFrame]:
    """Find the counts that ``options.layer`` names (X by default; "raw" is adata.raw), and their genes.

    Raises
    ------
    UserError
        There are none; says where raw counts are.
    """
    layer = options.get("layer")
    if layer is not None and layer in adata.layers:
        return adata.layers[layer], adata.var
    if layer == "raw" and adata.raw is not None:
        return adata.raw.X, adata.raw.var
    if layer == "X" and adata.X is not None:
        return adata.X, adata.var
    if layer is not None:
        known = ", ".join([*adata.layers, *(["raw"] if adata.raw is not None else [])]) or "none"
        raise UserError(
            f"{path}: layers holds no {layer} (known: {known}), which options.layer names; correct it."
        )
    if layer is None and adata.X is not None and (fuller := _fuller_counts(adata)):
        raise UserError(
            f"{path}: X holds whole numbers, but fewer than the raw counts of {fuller}; set "
            f"`options: {{layer: {fuller}}}`, or `layer: X` if X is meant."
        )
    if adata.X is None:
        hint = raw_counts_hint(adata, options) or "; name their layer in options.layer"
        raise UserError(f"{path}: holds no counts in X{hint}.")
    return adata.X, adata.var


def _fuller_counts(adata: anndata.AnnData) -> str:
    """Name the layer of raw counts that has more of them than X, or of more genes; "" for none.

    X is then a selection of genes, or was scaled and rounded. Spliced and unspliced counts are less than X.
    """
    if not _raw_counts(adata.X):
        return ""  # told where X is looked into
    total = float(adata.X.sum())
    for name in ("counts", "raw_counts", "raw"):
        matrix = adata.raw.X if name == "raw" and adata.raw is not None else adata.layers.get(name)
        if matrix is not None and _raw_counts(matrix) and float(matrix.sum()) != total:
            return name
    return ""


def raw_counts_hint(adata: anndata.AnnData, options: Mapping[str, Any]) -> str:
    """Say where raw counts are, if not where ``options.layer`` looks; "" if there are none."""
    places = {name: matrix for name, matrix in adata.layers.items() if name != options.get("layer")}
    if adata.raw is not None and options.get("layer") != "raw":
        places.setdefault("raw", adata.raw.X)
    found = [name for name, matrix in places.items() if _raw_counts(matrix)]
    if not found:
        return ""
    where = " and ".join("adata.raw" if name == "raw" else f"layers['{name}']" for name in found)
    holds = "holds" if len(found) == 1 else "hold"
    return f"; {where} {holds} raw counts, so set `options: {{layer: {found[0]}}}`"


def _raw_counts(matrix: Any) -> bool:
    try:
        rows = row_matrix(matrix, "")
    except UserError:
        return False
    return bool(rows.nnz) and not wrong_entries(rows).size


def checked_counts(
    adata: anndata.AnnData, path: str | Path, options: Mapping[str, Any]
) -> tuple[sparse.csr_matrix, pd.DataFrame, int]:
    """Read the raw counts of genes.

    Returns
    -------
    counts, genes, n_other
        CSR (spots, genes); index: name, column ``gene_id``; and the number of features left out because they
        are no genes (antibodies, ...).

    Raises
    ------
    UserError
        There are no counts, or they are not raw.
    """
    import pandas as pd

    matrix, var = counts_and_genes(adata, path, options)
    counts = row_matrix(matrix, str(path))
    names = var.index.astype(str)
    if wrong_entries(counts).size:
        hint = raw_counts_hint(adata, options)
        require_counts(counts, list(adata.obs_names.astype(str)), list(names), str(path), hint)
    ids = next((var[name] for name in ("gene_id", "gene_ids") if name in var), None)
    genes = pd.DataFrame(
        {"gene_id": "" if ids is None else plain_words(ids).to_numpy(dtype=object)},
        index=pd.Index(names, name="gene"),
    )
    is_gene = _gene_rows(var, path)
    if is_gene.all():
        return counts, genes, 0
    return counts[:, np.flatnonzero(is_gene)], genes[is_gene], int((~is_gene).sum())


def _gene_rows(var: pd.DataFrame, path: str | Path) -> npt.NDArray[np.bool_]:
    """Which features are genes, by the column in which scanpy keeps Space Ranger's kinds of features."""
    everything = np.ones(len(var), dtype=bool)
    column = next((name for name in KIND_COLUMNS if name in var and _tells_kinds(var[name])), None)
    if column is None:
        return everything
    words = plain_words(var[column])
    is_gene = gene_features(words.tolist())
    others = words.str.lower().map(lambda word: any(kind in word for kind in _OTHER_KINDS)).to_numpy(bool)
    if (is_gene & (words != "").to_numpy()).any() and column != "type":  # whose words may be biotypes
        return is_gene
    if others.all():
        raise UserError(
            f"{path}: var['{column}'] says that no feature is a gene ({_listed(sorted(set(words)))}); "
            "give the counts of Gene Expression."
        )
    return ~others  # a column of another meaning, such as the biotype


def _tells_kinds(column: pd.Series) -> bool:
    """Whether a column says of some features that they are genes, or something else."""
    words = set(plain_words(column).str.lower()) - {""}
    return any(gene_features([word])[0] or any(kind in word for kind in _OTHER_KINDS) for word in words)


# -- spots ------------------------------------------------------------------------------------------


def spots_in_tissue(
    adata: anndata.AnnData, path: str | Path
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Tell which spots lie under tissue, and of which obs["in_tissue"] does not say it.

    Raises
    ------
    UserError
        A word that is neither yes nor no, with its row.
    """
    import pandas as pd

    n = adata.n_obs
    if "in_tissue" not in adata.obs:
        return np.ones(n, dtype=bool), np.zeros(n, dtype=bool)
    column = adata.obs["in_tissue"].set_axis(pd.RangeIndex(1, n + 1), axis=0)
    return yes_or_no(column, f"{path}", "obs row")


def positions_of(adata: anndata.AnnData, grid: Sequence[str], path: str | Path) -> npt.NDArray[np.float64]:
    """Return array x, array y, pixel x and pixel y, (spots, 4), missing values as NaN.

    ``grid`` names the columns of the array; without them there is none.

    Raises
    ------
    UserError
        A value is no number, or obsm["spatial"] has not the two columns x and y.
    """
    nowhere = np.full(adata.n_obs, np.nan)
    columns: dict[str, Any] = {f"obs column {name}": adata.obs[name] for name in grid}
    columns = columns or {"array x": nowhere, "array y": nowhere}
    if {"pixel_x", "pixel_y"} <= set(adata.obs):
        columns |= {f"obs column {name}": adata.obs[name] for name in ("pixel_x", "pixel_y")}
    else:
        columns |= _spatial(adata, path)
    found = np.column_stack([_numbers(values, f"{path}", name) for name, values in columns.items()])
    if {"pixel_x", "pixel_y"} <= set(adata.obs) and "spatial" in adata.obsm:
        _refuse_two_places(found[:, 2:], adata, path)
    return found


def _refuse_two_places(pixel: npt.NDArray[np.float64], adata: anndata.AnnData, path: str | Path) -> None:
    """Stop if obs and obsm give pixel positions that are not the same."""
    other = np.column_stack(
        [_numbers(values, f"{path}", name) for name, values in _spatial(adata, path).items()]
    )
    apart = np.flatnonzero(
        ~(np.abs(pixel - other).max(axis=1) <= 1.0) & np.isfinite(pixel + other).all(axis=1)
    )
    if apart.size:
        row = int(apart[0])
        raise UserError(
            f"{path}: obs says that spot {adata.obs_names[row]} lies at pixel ({pixel[row, 0]:g}, "
            f"{pixel[row, 1]:g}), and obsm['spatial'] at ({other[row, 0]:g}, {other[row, 1]:g}); keep the "
            "positions in pixels of the full-resolution image, and take out the others."
        )


def _numbers(values: Any, path: str, name: str) -> npt.NDArray[np.float64]:
    import pandas as pd

    words = pd.Series(np.asarray(values, dtype=object)).reset_index(drop=True)
    numbers = pd.to_numeric(words.mask(plain_words(words) == ""), errors="coerce")
    wrong = numbers.isna() & (plain_words(words) != "")
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UserError(
            f'{path}: positions of spots are no numbers: row {row + 1}, {name} says "{words[row]}"; '
            "correct it."
        )
    return numbers.to_numpy(dtype=np.float64)


def _spatial(adata: anndata.AnnData, path: str | Path) -> dict[str, Any]:
    """Columns x and y of obsm["spatial"], told by their names where it is a table."""
    import pandas as pd

    stored: Any = adata.obsm["spatial"]
    remedy = "expected the two columns x and y, in pixels of the full-resolution image; correct it."
    if isinstance(stored, pd.DataFrame):
        names = [str(name).lower() for name in stored]
        for pair in _PIXEL_NAMES:
            if set(pair) <= set(names):
                return {f"obsm['spatial'] {name}": stored.iloc[:, names.index(name)] for name in pair}
        if len(names) < 2 or not all(_NUMBERED.fullmatch(name) for name in names[:2]):
            raise UserError(f"{path}: obsm['spatial'] has the columns {', '.join(names)}; {remedy}")
        return {f"obsm['spatial'] column {n + 1}": stored.iloc[:, n] for n in (0, 1)}
    array = np.asarray(stored)
    if array.ndim != 2 or array.shape[1] < 2:
        found = f"{array.shape[1]} column" if array.ndim == 2 else "no columns"
        raise UserError(f"{path}: obsm['spatial'] has {found}; {remedy}")
    return {f"obsm['spatial'] column {n + 1}": array[:, n] for n in (0, 1)}
