"""Reader of a user's own cohort: sections listed in a table, in the layouts that people have.

The layout of a section is told by its counts: a tab-separated table (legacy ST), Space Ranger's feature
matrix (Visium), or an AnnData file. Genes are checked against the approved symbols, so that another species
or an index column is not taken for a human panel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.cohorts.gene_names import MOST_UNKNOWN, check_genes
from histobench.cohorts.legacy_st import join_spots, read_counts, read_spots, refuse_duplicates
from histobench.cohorts.scalefactors import anndata_scale_factors
from histobench.cohorts.sheet import ANNDATA, LEGACY_ST, layout_of
from histobench.cohorts.text import require_columns, text_table
from histobench.cohorts.types import LABEL_SOURCES, RawSection
from histobench.cohorts.visium import PITCH_UM
from histobench.cohorts.visium import read_section as read_visium
from histobench.errors import UserError
from histobench.imaging.grid import GRIDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import anndata
    import pandas as pd

OPTIONS = ("genes", "grid", "label", "label_source", "layer", "normal", "tumour")

# Names of grid positions in AnnData files: this project's own, and scanpy's for Visium (columns first). They
# are the usual ones of a kind of grid; the positions say whether it is that kind.
_ARRAYS = {"square": ("array_x", "array_y"), "hexagonal": ("array_col", "array_row")}


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options that are unknown or have no meaning; see :func:`read_section`."""
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise UserError(f"options: {unknown[0]} is unknown; known are {', '.join(OPTIONS)}.")
    sources = [source for source in LABEL_SOURCES if source != "none"]
    for key, choices in (
        ("genes", ("human", "any")),
        ("grid", tuple(GRIDS)),
        ("label_source", tuple(sources)),
    ):
        if key in options and options[key] not in choices:
            raise UserError(f"options.{key} is {options[key]!r}, expected one of {', '.join(choices)}.")
    for key in ("normal", "tumour"):
        words = options.get(key, [])
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise UserError(f"options.{key} is {words!r}, expected a list of labels such as [invasive].")


def read_section(section: str, files: Mapping[str, str], options: Mapping[str, Any]) -> RawSection:
    """Read one section.

    Parameters
    ----------
    section
        Name; used in messages.
    files
        ``counts``; ``positions`` unless the counts are AnnData; optionally ``labels``, a table with the
        columns ``spot`` and ``label``, and ``symbols``, the approved gene symbols, by which Ensembl
        identifiers are named. Others (``image``) are not used here.
    options
        ``tumour``, ``normal``: lists of the labels that count as such; ``label_source``: who gave the labels
        ("pathologist" by default); ``genes``: "human" (default) checks the names of genes against the
        approved symbols, "any" takes them as they are; ``grid``: a kind of grid (see
        :mod:`histobench.imaging.grid`), where neither layout nor positions tell the right one. For AnnData:
        ``layer`` with the raw counts (default: X), ``label``, the column of obs with the labels.

    Raises
    ------
    UserError
        A file is missing or malformed; an option is unknown.
    """
    try:
        check_options(options)
    except UserError as error:
        raise UserError(f"Section {section}: {error}") from None
    if "counts" not in files:
        raise UserError(f"Section {section}: no counts are named; name a file in the column counts.")
    layout = layout_of(files["counts"])
    if layout == ANNDATA:
        raw = _read_anndata(files["counts"], options)
    elif "positions" not in files:
        raise UserError(f"Section {section}: no positions are named; name a file in the column positions.")
    elif layout == LEGACY_ST:
        raw = _read_legacy(files)
    else:
        wanted = ("counts", "positions", "scalefactors")
        visium_files = {kind: path for kind, path in files.items() if kind in wanted}
        raw = read_visium(section, visium_files, {})
    raw.grid, raw.grid_guessed = options.get("grid", raw.grid), "grid" not in options
    if "symbols" in files and options.get("genes", "human") == "human":
        raw.genes = named_genes(raw.genes, files["counts"], files["symbols"])
    if "labels" in files:
        label = read_labels(files["labels"])
        raw.dropped["label_no_spot"] = int((~label.index.isin(raw.spots.index)).sum())
        raw.spots["label"] = label.reindex(raw.spots.index).fillna("").astype(object)
    words = {**dict.fromkeys(options.get("normal", ()), 0.0), **dict.fromkeys(options.get("tumour", ()), 1.0)}
    raw.spots["tumour"] = raw.spots["label"].map(words).astype(np.float64)
    source = options.get("label_source", "pathologist")
    raw.spots["label_source"] = np.where(raw.spots["label"] != "", source, "none").astype(object)
    return raw


def _read_legacy(files: Mapping[str, str]) -> RawSection:
    import pandas as pd

    counts, spot_ids, genes = read_counts(files["counts"])
    counts, spots, dropped = join_spots(counts, spot_ids, read_spots(files["positions"], measured=False))
    return RawSection(counts, spots.assign(label=""), pd.DataFrame({"gene_id": ""}, index=genes), dropped)


def open_anndata(path: str | Path) -> anndata.AnnData:
    """Read an AnnData file whole.

    Raises
    ------
    UserError
        The file is missing, damaged or something else.
    """
    import anndata

    try:
        return anndata.read_h5ad(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; correct the path.") from None
    except Exception as error:  # noqa: BLE001 (anything may be wrong in a file of another program)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{path}: cannot be read as AnnData ({reason}); write it again with a current anndata."
        ) from None


def anndata_parts(
    adata: anndata.AnnData, path: str | Path, options: Mapping[str, Any]
) -> tuple[Any, pd.DataFrame, str]:
    """Find raw counts and positions in an AnnData object.

    Returns
    -------
    counts, spots, grid
        Counts (spots, genes) as stored; ``array_x``, ``array_y``, ``pixel_x``, ``pixel_y`` by spot, float, as
        they are (missing values included); the kind of grid that the options name, or that is usual for the
        names of array columns, "irregular" without any (array positions are then NaN).

    Raises
    ------
    UserError
        The layer, the pixel positions, or the grid positions that a named grid needs, are missing; names all
        that is.
    """
    import pandas as pd

    missing = []
    layer = options.get("layer")
    if layer is not None and layer not in adata.layers:
        known = ", ".join(adata.layers) or "none"
        missing.append(f"layers holds no {layer} (known: {known}), which options.layer names")
    usual = next((name for name, columns in _ARRAYS.items() if set(columns) <= set(adata.obs)), "irregular")
    grid = options.get("grid", usual)
    has_pixels = {"pixel_x", "pixel_y"} <= set(adata.obs) or "spatial" in adata.obsm
    if usual == "irregular" and not (has_pixels and grid == "irregular"):
        missing.append("obs holds neither array_x, array_y (a square grid) nor array_col, array_row (Visium)")
    if not has_pixels:
        missing.append("there is no obsm['spatial'] with pixel positions (x, y), and no obs pixel_x, pixel_y")
    if missing:
        raise UserError(f"{path}: {'; '.join(missing)}; add what is missing.")
    if {"pixel_x", "pixel_y"} <= set(adata.obs):
        pixels = adata.obs[["pixel_x", "pixel_y"]].to_numpy()
    else:
        pixels = np.asarray(adata.obsm["spatial"])
    try:
        array: Any = np.full((adata.n_obs, 2), np.nan)
        if grid != "irregular":
            array = adata.obs[list(_ARRAYS[usual])].to_numpy()
        values = np.column_stack([array, pixels[:, :2]]).astype(np.float64)
    except (ValueError, IndexError) as error:
        raise UserError(f"{path}: positions of spots are no numbers ({error}); correct them.") from None
    index = pd.Index(adata.obs_names.astype(str), name="spot")
    spots = pd.DataFrame(values, columns=["array_x", "array_y", "pixel_x", "pixel_y"], index=index)
    return (adata.X if layer is None else adata.layers[layer]), spots, grid


def _read_anndata(path: str, options: Mapping[str, Any]) -> RawSection:
    import pandas as pd
    from scipy import sparse

    adata = open_anndata(path)
    matrix, spots, grid = anndata_parts(adata, path, options)
    if matrix is None:
        raise UserError(f"{path}: holds no counts in X; name their layer in options.layer.")
    counts = sparse.csr_matrix(matrix)
    refuse_duplicates(spots.index, pd.RangeIndex(1, len(spots) + 1), path)
    column = options.get("label")
    if column is not None and column not in adata.obs:
        raise UserError(f"{path}: obs has no column {column}, which options.label names; correct it.")
    label = adata.obs[column].astype(object) if column is not None else pd.Series("", index=adata.obs_names)
    spots["label"] = label.where(label.notna(), "").astype(str).to_numpy(dtype=object)
    ids = next((adata.var[name] for name in ("gene_id", "gene_ids") if name in adata.var), None)
    genes = pd.DataFrame(
        {"gene_id": "" if ids is None else ids.astype(str).to_numpy(dtype=object)},
        index=pd.Index(adata.var_names.astype(str), name="gene"),
    )
    dropped: dict[str, int] = {}
    if "in_tissue" in adata.obs:
        inside = adata.obs["in_tissue"].to_numpy().astype(float) != 0
        dropped["not_in_tissue"] = int((~inside).sum())
        counts, spots = counts[np.flatnonzero(inside)], spots[inside]
    return RawSection(
        counts,
        spots,
        genes,
        dropped,
        grid,
        pitch_um=PITCH_UM if "grid" not in options and set(_ARRAYS["hexagonal"]) <= set(adata.obs) else None,
        factors=anndata_scale_factors(adata.uns, path),
    )


def named_genes(genes: pd.DataFrame, path: str | Path, symbols_path: str | Path) -> pd.DataFrame:
    """Name Ensembl identifiers by their symbols, and refuse names that are no human genes.

    Raises
    ------
    UserError
        A name cannot be a gene's, or more than a tenth of the names is unknown.
    """
    from histobench.expression.symbols import load_symbols, name_genes

    symbols = load_symbols(symbols_path)
    names = genes.index.astype(str).tolist()
    found = check_genes(names, symbols)
    if found.impossible:
        place, reason = found.impossible[0]
        raise UserError(f'{path}: gene number {place + 1}, "{names[place]}": {reason}; correct the name.')
    if len(found.unknown) > MOST_UNKNOWN * len(names):
        raise UserError(f"{path}: {unknown_text(names, found.unknown)}")
    named = name_genes(names, symbols)
    given = genes["gene_id"].to_numpy(dtype=object)
    identified = [
        name if new != name else old for name, new, old in zip(names, named.index, given, strict=True)
    ]
    return named.assign(gene_id=np.array(identified, dtype=object))


def unknown_text(names: list[str], unknown: list[int]) -> str:
    """Say how many of the genes are not known, and what to do."""
    first = ", ".join(f"{names[place]} (number {place + 1})" for place in unknown[:3])
    return (
        f"{len(unknown)} of {len(names)} gene ids are unknown, such as {first}; give approved human symbols "
        "or Ensembl ids (ENSG...), or set `options: {genes: any}` for other species and features."
    )


def read_labels(path: str | Path) -> pd.Series:
    """Read labels by spot: tab- or comma-separated, with the columns ``spot`` and ``label``; blanks are none.

    Raises
    ------
    UserError
        A column is missing, or a spot is labelled twice; names the line.
    """
    import pandas as pd

    from histobench.cohorts.text import read_text

    first = read_text(path).split(b"\n", 1)[0]
    table = text_table(path, sep="\t" if b"\t" in first else ",")
    require_columns(table, ("spot", "label"), path)
    spots = pd.Index(table["spot"].str.strip().to_numpy(dtype=object), name="spot")
    refuse_duplicates(spots, table.index, path)
    label = pd.Series(table["label"].str.strip().to_numpy(dtype=object), index=spots)
    return label[label != ""]
