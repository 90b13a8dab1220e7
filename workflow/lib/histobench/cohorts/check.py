"""Checking a section of a user's own cohort: what is wrong, what is odd, and what to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.cohorts.depth_map import DepthMap, depth_map
from histobench.cohorts.gene_names import MOST_UNKNOWN, check_genes
from histobench.cohorts.geometry import GeometryError, Question, ScaleError, judge, limits_from
from histobench.cohorts.losses import FEWEST_JUDGED, MOST_OUTSIDE, REASONS, image_cause, judge_losses
from histobench.cohorts.readers.anndata_file import counts_and_genes, open_anndata
from histobench.cohorts.readers.legacy_st import split_header
from histobench.cohorts.readers.table_cohort import (
    anndata_spots,
    read_labels,
    read_section,
    unknown_text,
)
from histobench.cohorts.readers.visium import PITCH_UM
from histobench.cohorts.scan import findings, scan_counts, scan_positions, shorten
from histobench.cohorts.section import SectionInfo, assemble, question
from histobench.cohorts.sheet import ANNDATA, LEGACY_ST, Finding, layout_of, section_options
from histobench.cohorts.table import has_any_names
from histobench.errors import UserError
from histobench.imaging.slides import image_size

if TYPE_CHECKING:
    import pandas as pd

    from histobench.cohorts.types import RawSection


_LISTED = 3  # spots that a note names


@dataclass
class SectionCheck:
    """What was found.

    Attributes
    ----------
    section
        Name.
    problems, notes
        What must be mended; what is only worth knowing.
    spots
        Spots to draw: ``array_x``, ``array_y``, ``pixel_x``, ``pixel_y``; None if there are none.
    grid
        Kind of grid, see :mod:`histobench.imaging.grid`.
    um_per_px
        Scale; None if array, pixels and scale do not belong together.
    depth
        Map of the sequencing depth of a section that the pipeline would store, else None.
    genes
        Its genes: ``gene``, ``gene_id``, ``path`` of the counts; else None.
    """

    section: str
    problems: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    spots: pd.DataFrame | None = None
    grid: str = "square"
    um_per_px: float | None = None
    depth: DepthMap | None = None
    genes: pd.DataFrame | None = None


def check_section(
    section: str,
    record: Mapping[str, Any],
    files: Mapping[str, str],
    options: Mapping[str, Any],
    *,
    pitch_um: float | None,
    spot_um: float,
    declared_at: tuple[str, str],
    geometry: Mapping[str, Any] | None = None,
    allow_losses: Sequence[str] = (),
    genes_absent: str | None = None,
) -> SectionCheck:
    """Check everything about one section; only its image is not decoded.

    Parameters
    ----------
    section, record, files, options, pitch_um, spot_um, geometry
        As the cohort's configuration says them; see :func:`histobench.cohorts.section.write_section`.
    allow_losses, genes_absent
        As the cohort's configuration says them.
    declared_at
        File and place in which the section is declared, for messages.
    """
    check = SectionCheck(section)
    options = section_options(options, record)
    raw = _read(check, files, options)
    if raw is not None:
        check.notes += [Finding(files["counts"], "", f"{note}.", section) for note in raw.notes]
        try:
            judge_losses(
                raw.dropped,
                len(raw.spots),
                f"Section {section}",
                allowed=allow_losses,
                causes=raw.causes,
                names=list(raw.spots.index),
            )
        except UserError as error:
            check.problems.append(Finding(files["counts"], "", str(error).split(": ", 1)[1], section))
    if "image" not in files:
        text = "no image is named; the section serves what needs counts only, no method that sees images."
        check.notes.append(Finding(*declared_at, text, section))
    positions_file = files.get("positions", files["counts"])
    spots, wrong = scan_positions(files, options)
    check.problems += findings(positions_file, section, wrong)
    size = _image_size(check, files)
    info = SectionInfo(
        "",
        section,
        str(record["patient"]),
        pitch_um,
        spot_um,
        um_per_px=record.get("um_per_px"),
        limits=limits_from(geometry),
        allow_losses=allow_losses,
        genes_absent=genes_absent,
    )
    if raw is not None:
        about = question(raw, info, files, size)
    else:
        grid = _grid(files, options)
        maker = PITCH_UM if grid == "hexagonal" and "grid" not in options else None
        about = Question(section, size, grid, "grid" not in options, pitch_um, maker, info.um_per_px)
    check.grid = about.grid
    if spots is not None:
        spots = spots[spots["selected"]]
        if raw is not None:
            known = spots.index.isin(raw.spots.index)
            spots = spots[known] if known.any() else spots
        if len(spots):
            check.spots = spots
            _check_outside(check, spots, size, positions_file, files, allow_losses)
            _check_geometry(check, spots, positions_file, about, info, declared_at)
    if raw is not None and not check.problems:
        try:  # the checks of the pipeline itself have the last word
            adata, row = assemble(raw, info, files)
        except UserError as error:
            check.problems.append(Finding(*declared_at, str(error), section))
        else:
            check.genes = (
                adata.var.rename_axis("gene")
                .reset_index()
                .assign(path=files["counts"], any_names=has_any_names(adata))
            )
            check.depth = depth_map(adata.obs["array_x"], adata.obs["array_y"], adata.X)
            if number := row["n_genes_renamed"]:
                text = f"{number} columns share their gene's name with others and are called NAME.IDENTIFIER."
                check.notes.append(Finding(files["counts"], "", text, section))
            for reason in (*REASONS, "label_no_spot", "feature_other_type"):
                if reason == "outside_image":
                    continue  # told with the image
                if number := row.get(f"dropped_{reason}"):
                    text = f"{number} left out: {reason.replace('_', ' ')}."
                    check.notes.append(Finding(files["counts"], "", text, section))
    return check


def _read(check: SectionCheck, files: Mapping[str, str], options: Mapping[str, Any]) -> RawSection | None:
    """Read the section; if that fails, list everything that is wrong with its counts, genes and labels."""
    section = check.section
    try:
        raw = read_section(section, files, options)
    except UserError as error:
        found = findings(files["counts"], section, scan_counts(files["counts"], options))
        found += _check_genes(check, _gene_names(files["counts"], options), files, options)
        if "labels" in files:
            try:
                read_labels(files["labels"])
            except UserError as wrong:
                found.append(Finding("", "", str(wrong), section))
        check.problems += found
        _, positions = scan_positions(files, options)
        if not found and not positions:
            check.problems.append(Finding("", "", str(error), section))
        return None
    names = raw.genes["gene_id"].where(raw.genes["gene_id"] != "", raw.genes.index.to_series()).tolist()
    _check_genes(check, [str(name) for name in names], files, options)
    _check_words(check, raw, files, options)
    return raw


def _gene_names(path: str, options: Mapping[str, Any]) -> list[str]:
    """Names of genes of a file that its reader refuses; none if they cannot be read."""
    from histobench.cohorts.text import read_text

    try:
        if layout_of(path) == LEGACY_ST:
            lines = read_text(path).split(b"\n", 2)
            return split_header(lines[0], lines[1], path) if len(lines) > 1 else []
        if layout_of(path) == ANNDATA:
            adata = open_anndata(path, options)
            return list(counts_and_genes(adata, path, options)[1].index.astype(str))
        from histobench.cohorts.readers.visium import read_matrix

        return list(read_matrix(path)[2].index.astype(str))
    except UserError:
        return []


def _check_genes(
    check: SectionCheck, names: list[str], files: Mapping[str, str], options: Mapping[str, Any]
) -> list[Finding]:
    """Return names that cannot be human genes; note those that are merely unknown."""
    from histobench.expression.symbols import load_symbols

    if not names or "symbols" not in files or options.get("genes", "human") != "human":
        return []
    result = check_genes(names, load_symbols(files["symbols"]))
    line = "line 1, " if layout_of(files["counts"]) == LEGACY_ST else ""
    wrong = [
        (f"{line}gene number {place + 1}", f'"{names[place]}": {reason}; correct the name.')
        for place, reason in result.impossible
        if names[place]  # an empty name is told with its column
    ]
    found = findings(files["counts"], check.section, shorten(wrong, "genes"))
    if len(result.unknown) > MOST_UNKNOWN * len(names):
        found.append(
            Finding(files["counts"], line.strip(", "), unknown_text(names, result.unknown), check.section)
        )
    elif result.unknown:
        first = ", ".join(names[place] for place in result.unknown[:5])
        text = f"{len(result.unknown)} of {len(names)} gene ids are no approved symbols ({first}, ...)."
        check.notes.append(Finding(files["counts"], "", text, check.section))
    return found


def _check_words(
    check: SectionCheck, raw: RawSection, files: Mapping[str, str], options: Mapping[str, Any]
) -> None:
    """Note labels that say neither tumour nor not."""
    known = {*options.get("tumour", ()), *options.get("normal", ())}
    words = sorted(set(raw.spots["label"]) - known - {""})
    if words:
        where = files.get("labels", files["counts"])
        text = (
            f"labels {', '.join(words[:8])} count as neither tumour nor normal; see options.tumour, .normal."
        )
        check.notes.append(Finding(where, "", text, check.section))


def _grid(files: Mapping[str, str], options: Mapping[str, Any]) -> str:
    """Grid of a section whose reader failed."""
    layout = layout_of(files["counts"])
    if "grid" in options:
        return str(options["grid"])
    if layout == LEGACY_ST:
        return "square"
    try:
        return (
            anndata_spots(open_anndata(files["counts"], options), "", options)[1]
            if layout == ANNDATA
            else "hexagonal"
        )
    except UserError:
        return "square"


def _image_size(check: SectionCheck, files: Mapping[str, str]) -> tuple[int, int]:
    if "image" not in files:
        return 0, 0
    try:
        return image_size(files["image"])
    except UserError as error:
        check.problems.append(Finding("", "", str(error), check.section))
        return 0, 0


def _check_outside(
    check: SectionCheck,
    spots: pd.DataFrame,
    size: tuple[int, int],
    path: str,
    files: Mapping[str, str],
    allowed: Sequence[str],
) -> None:
    """Find spots outside the image: many are a problem, unless the cohort allows it, some are left out."""
    width, height = size
    if not width:
        return
    x, y = spots["pixel_x"].to_numpy(), spots["pixel_y"].to_numpy()
    outside = np.flatnonzero((x < 0) | (y < 0) | (x >= width) | (y >= height))
    if not len(outside):
        return
    image = f"the image of {width} x {height} pixels ({files['image']})"
    many = len(outside) > MOST_OUTSIDE * len(spots) and len(spots) >= FEWEST_JUDGED
    if len(outside) == len(spots) or (many and "outside_image" not in allowed):
        remedy = image_cause(spots, width, height, files["image"])
        if len(outside) < len(spots):
            remedy += ", or allow it with `allow_losses: [outside_image]` in the cohort's YAML file"
        place = f"{spots['place'].iloc[outside[0]]} and {len(outside) - 1} more"
        text = f"{len(outside)} of {len(spots)} spots lie outside the image; {remedy}."
        check.problems.append(Finding(path, place, text, check.section))
        return
    listed = ", ".join(
        f"{spots.index[row]} at pixel ({x[row]:g}, {y[row]:g}) in {spots['place'].iloc[row]}"
        for row in outside[:_LISTED].tolist()
    )
    more = f" and {len(outside) - _LISTED} more" if len(outside) > _LISTED else ""
    text = f"{len(outside)} of {len(spots)} spots lie outside {image} and are left out: {listed}{more}."
    check.notes.append(Finding(path, "", text, check.section))


def _check_geometry(
    check: SectionCheck,
    spots: pd.DataFrame,
    path: str,
    about: Question,
    info: SectionInfo,
    declared_at: tuple[str, str],
) -> None:
    """Ask the gate for geometry; single spots that are wrong are named, and left out of what else it says."""
    try:
        found = judge(spots, about, info.limits)
    except GeometryError as error:
        text = str(error).removeprefix(f"Section {check.section}: ")
        if error.spots:
            listed = [(spots["place"].iloc[row], wrong) for row, wrong in error.spots]
            check.problems += findings(path, check.section, shorten(listed, "spots"))
            usual = spots.drop(spots.index[[row for row, _ in error.spots]])
            _check_geometry(check, usual, path, about, info, declared_at)
        elif isinstance(error, ScaleError):
            check.problems.append(Finding(*declared_at, str(error), check.section))
        else:
            place = f"{spots['place'].iloc[0]} to {spots['place'].iloc[-1].split()[-1]}"
            check.problems.append(Finding(path, place, text, check.section))
        return
    check.grid, check.um_per_px = found.grid, found.scale.um_per_px
    check.notes += [Finding(path, "", f"{note}.", check.section) for note in found.notes]
