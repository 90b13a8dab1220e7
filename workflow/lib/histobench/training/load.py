"""Read sections from result files into what methods are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.cohorts.table import load_section as read_section
from histobench.cohorts.table import not_measured
from histobench.errors import UserError
from histobench.expression.transforms import Transform, transform_counts, usual_transform
from histobench.files import read_table, reading
from histobench.imaging.grid import stored_grid
from histobench.imaging.patchview import PatchView, window_pixels
from histobench.training.contract import Photos, SectionData

if TYPE_CHECKING:
    import pandas as pd
    from scipy import sparse

POSITIONS = ["array_x", "array_y", "pixel_x", "pixel_y"]


@dataclass(frozen=True)
class LoadedSection:
    """A section with its truth, and what only the bookkeeping needs.

    Attributes
    ----------
    data
        What a method is given when training.
    obs
        All spot columns of the section file, rows as in ``data.spots``.
    panel_counts
        Raw counts of the panel, int32, (spots, genes).
    um_per_px
        Micrometres per pixel of the full-resolution image (of the patches: ``data.um_per_px``).
    spatial
        ``uns["spatial"]`` of the section file: picture and size of a spot, as scanpy and squidpy look for it.
    gene_ids
        Identifiers of the genes of the section that have one, by name.
    unmeasured
        bool, (all genes,): genes of the training sections that this section's assay does not measure.
    """

    data: SectionData
    obs: pd.DataFrame
    panel_counts: np.ndarray
    um_per_px: float
    spatial: Mapping[str, Any]
    gene_ids: Mapping[str, str]
    unmeasured: np.ndarray


def read_genes(genes_tsv: str | Path) -> tuple[str, ...]:
    """Return the gene names of a ``genes.tsv`` or of a panel, in file order."""
    return tuple(read_table(genes_tsv, usecols=["gene"], dtype=str)["gene"])


def read_kept_spots(qc_tsv: str | Path, column: str = "keep") -> frozenset[str]:
    """Return the spots of one section that a QC profile keeps (``keep_train``: also for training)."""
    table = read_table(qc_tsv, usecols=["spot", column], dtype={"spot": str})
    return frozenset(table.loc[table[column] == 1, "spot"])


def read_photos(tiles_npy: str | Path, index_tsv: str | Path) -> Photos:
    """Open tiles of photographs; their index says which ones are kept for validation."""
    index = read_table(index_tsv, usecols=["role"], dtype=str)
    with reading(tiles_npy):
        tiles = np.load(tiles_npy, mmap_mode="r")
    if len(tiles) != len(index):
        raise UserError(
            f"{tiles_npy}: {len(tiles)} tiles, but {len(index)} in {index_tsv}; remove both and run again."
        )
    return Photos(tiles, (index["role"] == "valid").to_numpy())


def spread_genes(
    counts: sparse.csr_matrix, names: Sequence[str], universe: Sequence[str]
) -> sparse.csr_matrix:
    """Move the columns of one section to their places among all genes of the training sections.

    A gene that the section's file does not list counts as zero; sections of training measure all of them. A
    gene that no training section measures has no place: nothing could have been learnt about it.
    """
    from scipy import sparse

    place = {gene: column for column, gene in enumerate(universe)}
    known = np.fromiter((name in place for name in names), dtype=bool, count=len(names))
    columns = np.fromiter((place[name] for name in names if name in place), dtype=np.int64, count=known.sum())
    counts = counts.tocsr()[:, known]
    moved = sparse.csr_matrix(
        (counts.data, columns[counts.indices], counts.indptr), shape=(counts.shape[0], len(universe))
    )
    moved.sum_duplicates()
    return moved


def _rows_kept(spots: pd.Index, keep: frozenset[str] | None, path: str | Path) -> np.ndarray:
    if keep is None:
        return np.arange(len(spots))
    unknown = keep.difference(spots)
    if unknown:
        raise UserError(
            f"{path}: spot {min(unknown)!r} of the QC table is not in this section; "
            "run again so that the QC table is made from it."
        )
    return np.flatnonzero(spots.isin(list(keep)))


def _rows_file(path: str | Path, n_spots: int, what: str, remedy: str) -> np.ndarray:
    """Memory-map an array that must have one row per spot."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: the {what} are missing; {remedy}.")
    try:
        array: np.ndarray = np.load(path, mmap_mode="r")
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{path}: this is not a readable NumPy array; remove it and run again.") from error
    if len(array) != n_spots:
        raise UserError(
            f"{path}: has {len(array)} rows but the section has {n_spots} spots; remove it and run again."
        )
    return array


def load_section(
    h5ad: str | Path,
    *,
    panel: Sequence[str],
    all_genes: Sequence[str],
    transform: Transform | str | None = None,
    patches: str | Path | None = None,
    features: str | Path | None = None,
    window: Mapping[str, float] | None = None,
    patch_um_per_px: float | None = None,
    keep: frozenset[str] | None = None,
) -> LoadedSection:
    """Read one section.

    Parameters
    ----------
    h5ad
        ``data/{cohort}/sections/{section}.h5ad``.
    panel
        Genes to predict, in output order.
    all_genes
        All genes that the training sections measure.
    transform
        The target transform; None for that of experiments that name none.
    patches, features
        ``.npy`` files with one row per spot of ``h5ad``; None where not needed.
    window
        Central part of the patches to show: ``{"um": 150}`` or ``{"px": 224}``; None for all.
    patch_um_per_px
        Scale of the patches where they were resampled; None for the scale of the section's image.
    keep
        Spot ids to keep; None for all.

    Returns
    -------
    LoadedSection
        Spots in the order of the file, without those that QC drops. Targets of genes that the section does
        not measure are NaN.

    Raises
    ------
    UserError
        A file is missing, its rows do not match the spots, or a gene is unknown.
    """
    path = Path(h5ad)
    if not path.is_file():
        raise UserError(f"{path}: the section is missing; build the sections first.")
    table = read_section(path)
    rows = _rows_kept(table.obs_names, keep, path)
    uns = table.uns
    section_um = float(uns.get("um_per_px", float("nan")))
    um_per_px = section_um if patch_um_per_px is None else float(patch_um_per_px)

    place = {gene: column for column, gene in enumerate(all_genes)}
    missing = [gene for gene in panel if gene not in place]
    if missing:
        raise UserError(
            f"panel gene {missing[0]!r} ({len(missing)} in all) is not measured in the training sections; "
            "take it out of the gene list of the experiment."
        )
    measured = table.X.tocsr()[rows]
    # over every gene that the section measures, also those that no training section does
    total = np.asarray(measured.sum(axis=1), dtype=np.float64).ravel()
    counts = spread_genes(measured, list(table.var_names), all_genes)
    panel_counts = counts[:, [place[gene] for gene in panel]].toarray()
    panel_total = panel_counts.sum(axis=1, dtype=np.float64)
    targets = transform_counts(
        transform or usual_transform(), panel_counts, total, panel_total, len(all_genes)
    )

    # nothing is known of a gene that this section's assay does not measure, least of all that it is zero
    unmeasured = not_measured(table, all_genes)
    lacking = unmeasured[[place[gene] for gene in panel]]
    if lacking.any():
        targets = np.where(lacking, np.nan, targets).astype(targets.dtype)

    view = None
    if patches is not None:
        array = _rows_file(patches, table.n_obs, "patches", "run the patch stage")
        size = window_pixels(dict(window) if window else None, um_per_px, array.shape[1], patches)
        view = PatchView(array, rows, size)
    vectors = None
    if features is not None:
        stored = _rows_file(features, table.n_obs, "features", "run the feature stage")
        vectors = np.asarray(stored[rows], dtype=np.float32)

    obs = table.obs.iloc[rows]
    tumour = obs["tumour"] if "tumour" in obs else np.full(len(obs), np.nan)
    data = SectionData(
        cohort=str(uns.get("cohort", "")),
        section=str(uns.get("section", path.stem)),
        patient=str(uns.get("patient", obs["patient"].iloc[0] if len(obs) else "")),
        spots=obs[POSITIONS].astype(np.float64),
        um_per_px=um_per_px,
        # an array to every method: it indexes and reports its shape like one, but reads lazily
        patches=view,  # type: ignore[arg-type]
        features=vectors,
        targets=targets,
        counts=counts,
        labels=np.asarray(tumour, dtype=np.float32),
        total_counts=total,
        grid=stored_grid(uns, table.obs["array_x"], table.obs["array_y"], str(path)),
    )
    return LoadedSection(
        data=data,
        obs=obs,
        panel_counts=panel_counts.astype(np.int32),
        um_per_px=section_um,
        spatial=uns.get("spatial", {}),
        gene_ids={gene: str(known) for gene, known in table.var.get("gene_id", {}).items() if known},
        unmeasured=unmeasured,
    )


def load_sections(
    files: Mapping[str, Mapping[str, Any]],
    *,
    panel: Sequence[str],
    all_genes: Sequence[str],
    transform: Transform | str,
    window: Mapping[str, float] | None = None,
    patch_um_per_px: float | None = None,
    qc_column: str = "keep",
) -> list[LoadedSection]:
    """Read several sections, sorted by name.

    Parameters
    ----------
    files
        Section name -> ``{"h5ad": ..., "qc": ..., "patches": ..., "features": ...}``; without "qc" all
        spots are kept, the last two where needed.
    qc_column
        Which verdict of the QC tables counts: ``keep``, or ``keep_train`` for training.
    panel, all_genes, transform, window, patch_um_per_px
        See :func:`load_section`.
    """
    loaded = []
    for name in sorted(files):
        entry = files[name]
        loaded.append(
            load_section(
                entry["h5ad"],
                panel=panel,
                all_genes=all_genes,
                transform=transform,
                patches=entry.get("patches"),
                features=entry.get("features"),
                window=window,
                patch_um_per_px=patch_um_per_px,
                keep=read_kept_spots(entry["qc"], qc_column) if entry.get("qc") else None,
            )
        )
    return loaded
