"""Reader of a user's own cohort: sections listed in a table, in the layouts that people have.

The layout of a section is told by its counts: a tab-separated table (legacy ST), Space Ranger's feature
matrix (Visium), or an AnnData file. Genes are checked against the approved symbols, so that another species
or an index column is not taken for a human panel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.cohorts.gene_names import LOUD, MOST_UNKNOWN, check_genes, names_no_gene
from histobench.cohorts.labels import refuse_strangers, tumour_values
from histobench.cohorts.losses import MOST_LOST, name_cause, renamed
from histobench.cohorts.readers.anndata_file import (
    ARRAYS,
    checked_counts,
    open_anndata,
    positions_of,
    spots_in_tissue,
)
from histobench.cohorts.readers.legacy_st import join_spots, parse_table, read_spots, refuse_duplicates
from histobench.cohorts.readers.scalefactors import anndata_scale_factors
from histobench.cohorts.readers.visium import PITCH_UM
from histobench.cohorts.readers.visium import read_section as read_visium
from histobench.cohorts.sheet import ANNDATA, LEGACY_ST, layout_of
from histobench.cohorts.text import (
    MISSING_WORDS,
    plain_index,
    plain_words,
    read_text,
    require_columns,
    text_table,
)
from histobench.cohorts.types import LABEL_SOURCES, UNMEASURED, RawSection
from histobench.errors import UserError
from histobench.imaging.grid import GRIDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import anndata
    import numpy.typing as npt
    import pandas as pd

PATIENT_COLUMNS = ("patient", "patient_id", "donor", "donor_id", "individual", "subject", "subject_id")
"""Columns of obs that say of whom a spot is."""

OPTIONS = (
    "genes", "grid", "label", "label_source", "layer", "library", "library_key", "names", "normal", "tumour",
)  # fmt: skip


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
        ("names", ("given", "approved")),
    ):
        if key in options and options[key] not in choices:
            raise UserError(f"options.{key} is {options[key]!r}, expected one of {', '.join(choices)}.")
    if options.get("names") == "approved" and options.get("genes", "human") != "human":
        raise UserError("options.names: approved symbols are known of human genes only; leave it out.")
    for key in ("label", "layer", "library_key"):
        if not isinstance(options.get(key, ""), str):
            raise UserError(f"options.{key} is {options[key]!r}, expected one name.")
    for key in ("normal", "tumour"):
        words = options.get(key, [])
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise UserError(f"options.{key} is {words!r}, expected a list of labels such as [invasive].")
        if nothing := [word for word in words if word.strip().lower() in MISSING_WORDS]:
            raise UserError(f'options.{key} names "{nothing[0]}", which means that a spot has no label.')
    if both := sorted(set(options.get("tumour", ())) & set(options.get("normal", ()))):
        raise UserError(f'options: "{both[0]}" is both tumour and normal; name it once.')


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
        :mod:`histobench.imaging.grid`), where neither layout nor positions tell the right one; ``names``:
        "approved" calls every gene by the approved symbol of its identifier, for cohorts whose sections use
        different annotations, "given" (default) as the file does. For AnnData: ``layer`` with the raw counts
        (default: X, which "X" insists on; "raw": adata.raw), ``label``, the column of obs with the labels,
        ``library``, which section of a file with several, and ``library_key``, the column of obs that names
        them.

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
    raw.spots.index, raw.genes.index = plain_index(raw.spots.index), plain_index(raw.genes.index)
    _leave_out_controls(raw)
    raw.grid, raw.grid_guessed = options.get("grid", raw.grid), "grid" not in options
    raw.any_names = options.get("genes", "human") == "any"
    if "symbols" in files and not raw.any_names:
        if options.get("names") == "approved":
            raw.genes = raw.genes.set_axis(
                raw.genes["gene_id"].where(raw.genes["gene_id"] != "", raw.genes.index)
            )
        totals = np.asarray(raw.counts.sum(axis=0)).ravel()
        raw.genes = named_genes(raw.genes, files["counts"], files["symbols"], totals)
    if "labels" in files:
        label = read_labels(files["labels"])
        refuse_strangers(label.index, raw.spots.index, files["labels"])
        raw.dropped["label_no_spot"] = int((~label.index.isin(raw.spots.index)).sum())
        raw.spots["label"] = label.reindex(raw.spots.index).fillna("").astype(object)
    raw.spots["tumour"] = tumour_values(raw.spots["label"], options, files.get("labels", files["counts"]))
    source = options.get("label_source", "pathologist")
    raw.spots["label_source"] = np.where(raw.spots["label"] != "", source, "none").astype(object)
    return raw


_NO_END = "the last line of the counts has no end, so its last number may be cut short"


def _read_legacy(files: Mapping[str, str]) -> RawSection:
    import pandas as pd

    text = read_text(files["counts"])
    counts, spot_ids, genes = parse_table(text, files["counts"])
    positions = read_spots(files["positions"], measured=False)
    way = renamed(spot_ids, positions.index)
    if way and spot_ids.isin(positions.index).mean() >= MOST_LOST:  # else the loss is judged, with its cause
        raise UserError(
            f"{files['counts']}: spots {way}, of counts and of positions, so that counts would lie on wrong "
            "spots; name spots alike."
        )
    counts, spots, dropped = join_spots(counts, spot_ids, positions)
    return RawSection(
        counts,
        spots.assign(label=""),
        pd.DataFrame({"gene_id": ""}, index=genes),
        dropped,
        causes=dict.fromkeys(("no_position", "no_counts"), name_cause(spot_ids, positions.index)),
        notes=[] if text.endswith(b"\n") else [_NO_END],
    )


def anndata_spots(
    adata: anndata.AnnData, path: str | Path, options: Mapping[str, Any]
) -> tuple[pd.DataFrame, str]:
    """Find the positions of spots in an AnnData object.

    Returns
    -------
    spots, grid
        ``array_x``, ``array_y``, ``pixel_x``, ``pixel_y`` by spot, float, as they are (missing values
        included); the kind of grid that the options name, or that is usual for the names of array columns,
        "irregular" without any (array positions are then NaN).

    Raises
    ------
    UserError
        The pixel positions, or the grid positions that a named grid needs, are missing or no numbers; names
        all that is missing.
    """
    import pandas as pd

    missing = []
    usual = next((name for name, columns in ARRAYS.items() if set(columns) <= set(adata.obs)), "irregular")
    grid = options.get("grid", usual)
    has_pixels = {"pixel_x", "pixel_y"} <= set(adata.obs) or "spatial" in adata.obsm
    if usual == "irregular" and not (has_pixels and grid == "irregular"):
        missing.append("obs holds neither array_x, array_y (a square grid) nor array_col, array_row (Visium)")
    if not has_pixels:
        missing.append("there is no obsm['spatial'] with pixel positions (x, y), and no obs pixel_x, pixel_y")
    if missing:
        raise UserError(f"{path}: {'; '.join(missing)}; add what is missing.")
    index = pd.Index(adata.obs_names.astype(str), name="spot")
    columns = ["array_x", "array_y", "pixel_x", "pixel_y"]
    return pd.DataFrame(
        positions_of(adata, () if grid == "irregular" else ARRAYS[usual], path), columns=columns, index=index
    ), grid


def _read_anndata(path: str, options: Mapping[str, Any]) -> RawSection:
    import pandas as pd

    adata = open_anndata(path, options)
    spots, grid = anndata_spots(adata, path, options)
    refuse_duplicates(spots.index, pd.RangeIndex(1, len(spots) + 1), path)
    counts, genes, n_other = checked_counts(adata, path, options)
    for said in (name for name in PATIENT_COLUMNS if name in adata.obs):
        people = [word for word in dict.fromkeys(plain_words(adata.obs[said])) if word]
        if len(people) > 1:
            raise UserError(
                f"{path}: obs['{said}'] names several people ({', '.join(people[:3])}), but a section is "
                "of one; make a file of each, or choose by `options: {library: ..., library_key: ...}`."
            )
    column = options.get("label")
    if column is not None and column not in adata.obs:
        raise UserError(f"{path}: obs has no column {column}, which options.label names; correct it.")
    spots["label"] = "" if column is None else plain_words(adata.obs[column]).to_numpy(dtype=object)
    dropped = {"feature_other_type": n_other} if n_other else {}
    if "in_tissue" in adata.obs:
        inside, unknown = spots_in_tissue(adata, path)
        dropped["not_in_tissue"] = int((~inside & ~unknown).sum())
        if unknown.any():
            dropped["no_tissue_value"] = int(unknown.sum())
        counts, spots = counts[np.flatnonzero(inside)], spots[inside]
    return RawSection(
        counts,
        spots,
        genes,
        dropped,
        grid,
        pitch_um=PITCH_UM if "grid" not in options and set(ARRAYS["hexagonal"]) <= set(adata.obs) else None,
        factors=anndata_scale_factors(adata.uns, path),
        genes_absent=UNMEASURED,
    )


def _leave_out_controls(raw: RawSection) -> None:
    """Leave out, and count, antibodies and controls that only their names tell from genes."""
    other = raw.genes.index.map(lambda name: names_no_gene(str(name))).to_numpy(dtype=bool)
    if other.any() and not other.all():
        raw.dropped["feature_other_type"] = raw.dropped.get("feature_other_type", 0) + int(other.sum())
        raw.counts, raw.genes = raw.counts[:, np.flatnonzero(~other)], raw.genes[~other]


def named_genes(
    genes: pd.DataFrame, path: str | Path, symbols_path: str | Path, totals: npt.NDArray[np.int64]
) -> pd.DataFrame:
    """Name Ensembl identifiers by their symbols, and refuse names that are no human genes.

    Parameters
    ----------
    totals
        Counts of each gene over all spots.

    Raises
    ------
    UserError
        A name cannot be a gene's, more than a tenth of the names is unknown, or unknown ones hold more than
        half of the counts.
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
    loud, everything = int(totals[found.unknown].sum()), int(totals.sum())
    if loud >= LOUD * everything > 0:
        most = [names[place] for place in sorted(found.unknown, key=lambda place: -totals[place])[:3]]
        raise UserError(
            f"{path}: {len(found.unknown)} features that are no approved genes, such as {', '.join(most)}, "
            f"hold {loud / everything:.0%} of the counts, as antibodies and controls do; leave them out, or "
            "say in var['feature_types'] that they are no Gene Expression."
        )
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

    first = read_text(path).split(b"\n", 1)[0]
    table = text_table(path, sep="\t" if b"\t" in first else ",")
    require_columns(table, ("spot", "label"), path)
    spots = plain_index(pd.Index(table["spot"], name="spot"))
    refuse_duplicates(spots, table.index, path)
    label = pd.Series(plain_words(table["label"]).to_numpy(dtype=object), index=spots)
    if not (label != "").any():
        raise UserError(
            f"{path}: none of its {len(label)} lines has a label; separate spot and label as the header "
            "does, or leave the file out."
        )
    return label[label != ""]
