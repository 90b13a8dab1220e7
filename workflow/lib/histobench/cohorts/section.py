"""From a reader's section to a stored one: what holds for every cohort is checked here."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.cohorts.counts import refuse_levelled, require_counts, row_matrix
from histobench.cohorts.entry import load_entry
from histobench.cohorts.gene_names import gene_key
from histobench.cohorts.geometry import Geometry, Limits, Question, judge, limits_from
from histobench.cohorts.library import Image, library, with_conventions
from histobench.cohorts.losses import image_cause, judge_losses
from histobench.cohorts.types import ANY_NAMES, LABEL_SOURCES, SPOT_COLUMNS, UNMEASURED, RawSection
from histobench.errors import UserError
from histobench.files import atomic_path, sha256, write_json
from histobench.imaging.grid import GRIDS
from histobench.imaging.scale import frame_offset

if TYPE_CHECKING:
    import anndata
    import pandas as pd
    from scipy import sparse


log = logging.getLogger(__name__)

FRAME_TOLERANCE = 0.25
"""Offset from the frame of the array, in spot pitches, above which a section is flagged."""


@dataclass(frozen=True)
class SectionInfo:
    """What the configuration says about a section.

    ``patient_alias`` is the patient's name in another cohort ("" for none), ``um_per_px`` the declared scale
    (None for none), ``pitch_um`` and ``spot_um`` are the distance (None where the array's maker says it) and
    diameter of spots in micrometres, ``limits`` what geometry is let through, ``allow_losses`` the reasons
    for which most spots may go; ``genes_absent`` says what a gene means that the counts do not list (None:
    what is usual in their layout).
    """

    cohort: str
    section: str
    patient: str
    pitch_um: float | None
    spot_um: float
    patient_alias: str = ""
    um_per_px: float | None = None
    limits: Limits = field(default_factory=Limits)
    allow_losses: Sequence[str] = ()
    genes_absent: str | None = None


def write_section(
    *,
    reader: str,
    cohort: str,
    section: str,
    record: Mapping[str, Any],
    files: Mapping[str, str],
    options: Mapping[str, Any],
    output_h5ad: str | Path,
    output_json: str | Path,
    spot_um: float,
    pitch_um: float | None = None,
    geometry: Mapping[str, Any] | None = None,
    alias: str = "",
    allow_losses: Sequence[str] = (),
    genes_absent: str | None = None,
) -> None:
    """Read a section, check it, and store it with its row of the cohort table.

    Parameters
    ----------
    reader
        Entry string ``package.module:function`` of a :class:`~histobench.cohorts.types.Reader`.
    record
        The section's entry in the cohort's configuration: ``patient``, optionally ``um_per_px``.
    files
        Kind -> path; ``image`` and ``counts`` are also measured and hashed here.
    options
        The cohort's reader options.
    pitch_um, spot_um
        Distance (None where the array's maker says it) and diameter of spots in micrometres.
    geometry
        The cohort's limits, see :class:`~histobench.cohorts.geometry.Limits`; None for the defaults.
    alias
        The patient's name in another cohort, "" for none.
    allow_losses, genes_absent
        See :class:`SectionInfo`.
    output_h5ad, output_json
        The section as AnnData, and its row of ``sections.tsv``. Both appear whole or not at all.

    Raises
    ------
    UserError
        Anything wrong with the input, in one sentence.
    """
    info = SectionInfo(
        cohort=cohort,
        section=section,
        patient=str(record["patient"]),
        pitch_um=pitch_um,
        spot_um=spot_um,
        patient_alias=alias,
        um_per_px=record.get("um_per_px"),
        limits=limits_from(geometry),
        allow_losses=allow_losses,
        genes_absent=genes_absent,
    )
    raw: RawSection = load_entry(reader, "reader")(section, files, options)
    adata, row = assemble(raw, info, files)
    if "image" in files:
        from histobench.imaging.contrast import LOOK_PX
        from histobench.imaging.thumbnail import thumbnail

        picture = thumbnail(files["image"], LOOK_PX)
        row["flag"] = "; ".join(filter(None, [row["flag"], *_look_at(files["image"], picture, section)]))
        drawn = adata.uns["spatial"][section]["scalefactors"]["spot_diameter_fullres"]
        extent = row["image_width"], row["image_height"]
        adata.uns["spatial"] = {section: library(extent, drawn, picture)}
    store_section(adata, row, output_h5ad, output_json)


def assemble(
    raw: RawSection, info: SectionInfo, files: Mapping[str, str]
) -> tuple[anndata.AnnData, dict[str, Any]]:
    """Check a reader's section and turn it into AnnData and its row of the cohort table.

    Left out and counted: spots without any transcript, and spots whose centre lies outside the image. What
    was lost, here or by the reader, is judged (:mod:`histobench.cohorts.losses`).

    Raises
    ------
    UserError
        Spots, their places or genes are not unique, a count is no whole number from 0 on or too large, a
        position is missing, array, pixels and scale do not belong together (see
        :func:`histobench.cohorts.geometry.judge`), the image is unreadable, or most spots are lost for one
        reason.
    """
    where = f"Section {info.section}"
    counts, spots, genes = _checked(raw, where)
    genes, n_renamed = _unique_genes(genes, where)
    width, height = _image_size(files)
    keep, removed = _kept_spots(counts, spots, width, height)
    lost = {**raw.dropped, **removed}
    causes = dict(raw.causes)
    if removed["outside_image"]:
        causes["outside_image"] = image_cause(spots, width, height, files["image"])
    judge_losses(
        lost,
        int(keep.sum()),
        where,
        allowed=info.allow_losses,
        causes=causes,
        names=list(spots.index[keep]),
    )
    if not keep.any():
        reasons = ", ".join(f"{reason}: {number}" for reason, number in lost.items())
        most = max(lost, key=lambda reason: lost[reason], default="")
        cause = causes.get(most) or "check the files of this section"
        raise UserError(
            f"{where}: no spot is left of {len(spots)} with counts and a position ({reasons}); {cause}, or "
            "leave the section out of the cohort's configuration."
        )
    about = question(raw, info, files, (width, height))
    if removed["outside_image"] and "outside_image" not in info.allow_losses:
        judge(spots, about, info.limits)  # a spot that lies outside because it lies wrong is no loss
    left_out = {str(spot): reason for reason in removed for spot in spots.index[spots["_removed"] == reason]}
    counts, spots = counts[np.flatnonzero(keep)], spots.loc[keep, list(SPOT_COLUMNS)]
    geometry = judge(spots, about, info.limits)
    _refuse_shared_places(
        spots, "pixel", where
    )  # positions that were mixed up are told better by the geometry
    scale = geometry.scale
    spots[["array_x", "array_y"]] = geometry.array
    adata = _anndata(counts, spots, genes, info, geometry, files.get("image", ""), (width, height))
    if (info.genes_absent or raw.genes_absent) == UNMEASURED:
        adata.uns["genes_absent"] = UNMEASURED
    if raw.any_names:
        adata.uns["gene_names"] = ANY_NAMES
    n_kept = int(keep.sum())
    row = {
        "section": info.section,
        "patient": info.patient,
        "patient_alias": info.patient_alias,
        "n_spots_raw": len(keep) + sum(n for reason, n in raw.dropped.items() if _is_count_row(reason)),
        "n_spots_kept": n_kept,
        **{f"dropped_{reason}": n for reason, n in lost.items()},
        "dropped_spots": left_out,
        "median_umi": float(np.median(np.asarray(counts.sum(axis=1)))),
        "grid": geometry.grid,
        "um_per_px": scale.um_per_px,
        "um_per_px_x": scale.um_per_px_x,
        "um_per_px_y": scale.um_per_px_y,
        "scale_residual_px": None if math.isnan(scale.residual_px) else scale.residual_px,
        "rotation_deg": None if math.isnan(scale.rotation_deg) else scale.rotation_deg,
        **_frame_check(raw, spots, (width, height), geometry, where),
        "image_width": width,
        "image_height": height,
        "sha256_image": sha256(files["image"]) if "image" in files else "",
        "sha256_counts": sha256(files["counts"]) if Path(files.get("counts", "")).is_file() else "",
        "n_genes": len(genes),
        "n_genes_renamed": n_renamed,
        **_label_summary(spots),
    }
    return adata, row


def question(raw: RawSection, info: SectionInfo, files: Mapping[str, str], size: tuple[int, int]) -> Question:
    """Put together what is known of a section's geometry besides its spots."""
    from histobench.imaging.statements import stated_scales

    return Question(
        section=info.section,
        size=size,
        grid=raw.grid,
        guessed=raw.grid_guessed,
        pitch_um=info.pitch_um,
        maker_pitch_um=raw.pitch_um,
        declared=info.um_per_px,
        factors=raw.factors,
        stated=stated_scales(files["image"]) if size[0] else (),
        framed=raw.frame is not None,
    )


def _is_count_row(reason: str) -> bool:
    """Whether a reader's reason counts rows of the count table (not positions, labels or features)."""
    return reason != "no_counts" and not reason.startswith(("label_", "feature_"))


def _checked(raw: RawSection, where: str) -> tuple[sparse.csr_matrix, pd.DataFrame, pd.DataFrame]:
    """Check shapes, names, counts and positions."""
    counts, spots, genes = row_matrix(raw.counts, where), raw.spots.copy(), raw.genes
    if counts.shape != (len(spots), len(genes)):
        raise ValueError(f"{where}: counts {counts.shape} for {len(spots)} spots and {len(genes)} genes")
    missing = [name for name in SPOT_COLUMNS if name not in spots]
    if missing or "gene_id" not in genes:
        raise ValueError(f"{where}: the reader gave no {', '.join(missing) or 'gene_id'}")
    if not set(spots["label_source"]) <= set(LABEL_SOURCES):
        raise ValueError(f"{where}: label_source must be one of {LABEL_SOURCES}")
    if not (spots["tumour"].isin([0.0, 1.0]) | spots["tumour"].isna()).all():
        raise ValueError(f"{where}: tumour must be 1, 0 or NaN")
    repeated = spots.index.duplicated()
    if repeated.any():
        raise UserError(f"{where}: spot {spots.index[repeated][0]} occurs twice; keep one of them.")
    require_counts(counts, list(spots.index), list(genes.index), where)
    refuse_levelled(counts, where)
    position = spots[["array_x", "array_y", "pixel_x", "pixel_y"]].to_numpy(dtype=np.float64)
    if raw.grid in GRIDS and not GRIDS[raw.grid].regular:
        position[:, :2] = 0.0  # there is no array
    if not np.isfinite(position).all():
        row, column = np.argwhere(~np.isfinite(position))[0]
        raise UserError(
            f"{where}: {SPOT_COLUMNS[column]} of spot {spots.index[row]} is missing; "
            "correct or remove that row of the positions."
        )
    _refuse_shared_places(spots, "grid position", where)
    counts = counts.astype(np.int32)
    counts.eliminate_zeros()
    counts.sort_indices()
    return counts, spots, genes


_PLACES = {"grid position": ["array_x", "array_y"], "pixel": ["pixel_x", "pixel_y"]}


def _refuse_shared_places(spots: pd.DataFrame, what: str, where: str) -> None:
    """Stop if two spots lie at one place of the array, or at one pixel (the keys of ``_PLACES``)."""
    columns = _PLACES[what]
    known = spots[columns].notna().all(axis=1)  # an irregular section has no array
    shared = (spots.duplicated(columns, keep=False) & known).to_numpy()
    if shared.any():
        first = spots[columns].to_numpy()[shared][0]
        two = spots.index[(spots[columns].to_numpy() == first).all(axis=1)]
        raise UserError(
            f"{where}: spots {two[0]} and {two[1]} lie at one {what} ({first[0]:g}, {first[1]:g}), and "
            f"{int(shared.sum())} of {len(spots)} spots share theirs; if the files hold several "
            "sections, give one file for each, and otherwise keep one spot per place."
        )


def _unique_genes(genes: pd.DataFrame, where: str) -> tuple[pd.DataFrame, int]:
    """Make gene names unique: genes that share a symbol are called ``SYMBOL.ID``.

    Numbering the repetitions, as many tools do, would depend on the order of each file. That a gene has the
    same name in all sections is seen to where they come together
    (:func:`histobench.cohorts.table.write_gene_table`).
    """
    ids = genes["gene_id"].to_numpy(dtype=object)
    names = genes.index.to_numpy(dtype=object).copy()
    _refuse_repeated_genes(names.tolist(), ids.tolist(), where)
    repeated = genes.index.duplicated(keep=False)
    if not repeated.any():
        return genes, 0
    names[repeated] = [f"{n}.{i}" for n, i in zip(names[repeated], ids[repeated], strict=True)]
    return genes.set_axis(names, axis=0), int(repeated.sum())


def _refuse_repeated_genes(names: Sequence[str], ids: Sequence[str], where: str) -> None:
    """Stop if a gene has two columns: one identifier twice, or one name of which not both have one."""
    first: dict[str, int] = {}
    nameless = {name: place for place, (name, given) in enumerate(zip(names, ids, strict=True)) if not given}
    for place, (name, given) in enumerate(zip(names, ids, strict=True)):
        other = first.setdefault(gene_key(name, given), place)
        if other == place and given:
            other = nameless.get(name, place)
        if other != place:
            one, two = sorted((other, place))
            shown = [f"{names[n]} ({ids[n]})" if ids[n] else str(names[n]) for n in (one, two)]
            raise UserError(
                f"{where}: gene {name} occurs twice, as {shown[0]} in column {one + 1} and as {shown[1]} in "
                f"column {two + 1}; keep one of the columns, or sum them before the import."
            )


def _look_at(image: str, picture: Image, section: str) -> list[str]:
    """Stop for an image on which there is nothing to see; return what is worth knowing of it."""
    from histobench.imaging.contrast import refuse_blank, remarks

    refuse_blank(image, picture)
    found = remarks(image, picture)
    for remark in found:
        log.warning("Section %s: %s", section, remark)
    return found


def _image_size(files: Mapping[str, str]) -> tuple[int, int]:
    """Size of the section's image, (0, 0) for a section without one."""
    if "image" not in files:
        return 0, 0
    from histobench.imaging.slides import image_size

    return image_size(files["image"])


def _kept_spots(
    counts: sparse.csr_matrix, spots: pd.DataFrame, width: int, height: int
) -> tuple[np.ndarray, dict[str, int]]:
    """Mark the spots to keep; note in ``spots["_removed"]`` why the others go, and count them."""
    reason = np.full(len(spots), "", dtype=object)
    reason[np.asarray(counts.sum(axis=1)).ravel() == 0] = "zero_umi"
    if width and height:
        x, y = spots["pixel_x"].to_numpy(), spots["pixel_y"].to_numpy()
        reason[(x < 0) | (x >= width) | (y < 0) | (y >= height)] = "outside_image"
    spots["_removed"] = reason
    return reason == "", {name: int((reason == name).sum()) for name in ("zero_umi", "outside_image")}


def _frame_check(
    raw: RawSection, spots: pd.DataFrame, size: tuple[int, int], geometry: Geometry, where: str
) -> dict[str, float | str | None]:
    """Compare positions with the frame of the array, to which some cohorts' images are cropped.

    A section whose spots lie off the frame is kept and flagged: positions or image may be shifted, and only
    a look at the spots over the tissue can tell which. What the gate for geometry and the reader note is
    flagged too.
    """
    flags = [*geometry.notes, *raw.notes]
    for note in flags:
        log.warning("%s: %s; look at the spots over the tissue", where, note)
    if raw.frame is None:
        return {"frame_offset_px": None, "flag": "; ".join(flags)}
    columns, rows = raw.frame
    width, height = size
    offset = frame_offset(
        spots["array_x"],
        spots["array_y"],
        spots["pixel_x"],
        spots["pixel_y"],
        width,
        height,
        columns=columns,
        rows=rows,
    )
    if offset.pitches > FRAME_TOLERANCE:
        flag = f"off the array frame by {offset.dx:+.0f}, {offset.dy:+.0f} px"
        log.warning("%s: spots are %s; look at them over the tissue", where, flag)
        flags.append(flag)
    return {"frame_offset_px": math.hypot(offset.dx, offset.dy), "flag": "; ".join(flags)}


def _label_summary(spots: pd.DataFrame) -> dict[str, Any]:
    sources = sorted(set(spots["label_source"]) - {"none"})
    return {
        "n_labelled": int((spots["label"] != "").sum()),
        "n_tumour": int((spots["tumour"] == 1).sum()),
        "n_normal": int((spots["tumour"] == 0).sum()),
        "label_source": "+".join(sources) or "none",
    }


def _anndata(
    counts: sparse.csr_matrix,
    spots: pd.DataFrame,
    genes: pd.DataFrame,
    info: SectionInfo,
    geometry: Geometry,
    image: str,
    size: tuple[int, int],
) -> anndata.AnnData:
    import anndata
    import pandas as pd

    n = len(spots)
    obs = pd.DataFrame(
        {
            **{name: spots[name].to_numpy(dtype=np.float64) for name in SPOT_COLUMNS[:4]},
            "patient": np.full(n, info.patient),
            "section": np.full(n, info.section),
            "label": spots["label"].to_numpy(dtype=object),
            "tumour": spots["tumour"].to_numpy(dtype=np.float32),
            "label_source": spots["label_source"].to_numpy(dtype=object),
        },
        index=spots.index.astype(str).rename("spot"),
    )
    var = pd.DataFrame(
        {"gene_id": genes["gene_id"].to_numpy(dtype=object)}, index=genes.index.astype(str).rename("gene")
    )
    return anndata.AnnData(
        X=counts,
        obs=with_conventions(obs, geometry.grid),
        var=var,
        obsm={"spatial": obs[["pixel_x", "pixel_y"]].to_numpy(dtype=np.float64)},
        uns={
            "um_per_px": float(geometry.scale.um_per_px),
            "cohort": info.cohort,
            "section": info.section,
            "patient": info.patient,
            "image": str(image),
            "image_width": int(size[0]),
            "image_height": int(size[1]),
            "spot_um": float(info.spot_um),
            "pitch_um": float(geometry.pitch_um),
            "grid": geometry.grid,
            # of a section without an image; write_section has a picture to show
            "spatial": {info.section: library(_extent(spots, size), info.spot_um / geometry.scale.um_per_px)},
        },
    )


def _extent(spots: pd.DataFrame, size: tuple[int, int]) -> tuple[float, float]:
    """Width and height of the image, or of what the spots take up where there is none."""
    if min(size) > 0:
        return float(size[0]), float(size[1])
    return float(spots["pixel_x"].max()), float(spots["pixel_y"].max())


def store_section(
    adata: anndata.AnnData, row: Mapping[str, Any], output_h5ad: str | Path, output_json: str | Path
) -> None:
    """Write a section and its row; the number of stored spots is checked before the files appear."""
    import h5py

    with atomic_path(output_h5ad) as temporary:
        # Level 1 packs to a third in 0.1 s, and every HDF5 reader knows gzip.
        adata.write_h5ad(
            temporary, compression="gzip", compression_opts=1, convert_strings_to_categoricals=False
        )
        with h5py.File(temporary) as stored:
            written = len(stored["obs/spot"]), len(stored["X/indptr"]) - 1
        if written != (row["n_spots_kept"], row["n_spots_kept"]):
            raise RuntimeError(f"{output_h5ad}: {written} spots stored instead of {row['n_spots_kept']}")
        write_json(dict(row), output_json)
