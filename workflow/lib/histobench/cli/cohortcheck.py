"""``histobench check-cohort``: everything that is wrong with a user's own cohort, and a look at it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.cohorts.check import SectionCheck, check_section
from histobench.cohorts.depth_map import DepthMap, likeness
from histobench.cohorts.geometry import nearest_distance
from histobench.cohorts.identity import SAME_DEPTH
from histobench.cohorts.orientation import check_orientation
from histobench.cohorts.readers.table_cohort import check_options
from histobench.cohorts.sheet import FILES, LEGACY_ST, Finding, layout_of, pitch_missing, read_sheet
from histobench.cohorts.table import refuse_ambiguous_genes, written_apart
from histobench.config.schemas import fill_defaults, problems, schema
from histobench.config.tables import SYMBOLS, TABLE_READER, check_local
from histobench.errors import UserError
from histobench.imaging.contrast import BLANK_ADVICE, nothing_to_see, remarks
from histobench.imaging.grid import GRIDS
from histobench.imaging.phash import describe_picture, same_images
from histobench.imaging.slides import image_size
from histobench.imaging.thumbnail import thumbnail
from histobench.yamlfiles import read_yaml

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

_SAFE = re.compile(r"[^A-Za-z0-9_.+-]")


@dataclass
class CohortCheck:
    """What was found in a cohort.

    Attributes
    ----------
    n_sections
        Rows of the table that could be looked into.
    problems, notes
        One sentence each: file, place, what, remedy. Problems must be mended.
    drawings
        Pictures of spots over tissue.
    """

    n_sections: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    drawings: list[Path] = field(default_factory=list)


def check_cohort(
    path: str | Path, project: Path, folder: str | Path, mirrors: Sequence[str | Path] = ()
) -> CohortCheck:
    """Check a cohort of a user's own and draw its sections.

    Parameters
    ----------
    path
        The cohort's YAML file, with ``origin: local`` and ``table``.
    project
        Root of the checkout, for schemas and gene symbols.
    folder
        Where the drawings go, one PNG per section.
    mirrors
        Folders in which files that are not beside the table are looked for.

    Raises
    ------
    UserError
        The YAML file is missing or no YAML; everything else is a finding.
    """
    path = Path(path)
    found = CohortCheck()
    if not path.is_file():
        raise UserError(f"{path}: no such file; name the YAML file of your cohort.")
    rules = schema(project, "cohort")
    cohort = read_yaml(path, rules)
    found.problems += problems(cohort, rules, str(path))
    if isinstance(cohort.get("table"), str):
        sheet = read_sheet(path.parent / cohort["table"], mirrors)
        found.problems += pitch_missing(sheet, cohort, str(path))
    if found.problems:
        return found
    fill_defaults(cohort, rules)
    found.problems += check_local(cohort, str(path))
    if cohort["reader"] != TABLE_READER:
        found.problems.append(f"{path}: `reader` is {cohort['reader']}, expected {TABLE_READER}; correct it.")
    try:
        check_options(cohort["options"])
    except UserError as error:
        found.problems.append(f"{path}: {error}")
    if cohort["table"] is None:
        return found
    table = path.parent / cohort["table"]
    sheet = read_sheet(table, mirrors)
    found.problems += map(str, sheet.problems)
    if any(str(path) in problem for problem in found.problems):
        return found  # sections cannot be read with options that mean nothing
    symbols = project / cohort["resources"].get("symbols", SYMBOLS)
    pictures: dict[str, dict[str, Any]] = {}
    depths: dict[str, DepthMap] = {}
    genes: list[pd.DataFrame] = []
    for line, section, record in sheet.rows:
        place = (str(table), f"line {line}")
        files = {kind: record[kind] for kind in FILES if kind in record} | {"symbols": str(symbols)}
        check = check_section(
            section, record, files, cohort["options"],
            pitch_um=cohort.get("pitch_um"), spot_um=cohort["spot_um"], declared_at=place,
            geometry=cohort["geometry"], allow_losses=cohort["allow_losses"],
            genes_absent=cohort["genes_absent"],
        )  # fmt: skip
        picture, size = _look(check, files)
        if picture is not None:
            pictures[f"line {line}"] = describe_picture(picture)
        if check.genes is not None:
            genes.append(check.genes)
        if check.depth is not None:
            depths[f"line {line}"] = check.depth
        repeated = line != sheet.lines.get(section)
        name = _SAFE.sub("_", f"{section}_line{line}" if repeated else section)
        found.drawings += _draw(check, cohort, picture, size, Path(folder) / f"{name}.png")
        found.problems += map(str, _unique(check.problems))
        found.notes += map(str, _unique(check.notes))
        found.n_sections += 1
    _compare_genes(genes, cohort["genes_absent"], found)
    twins: dict[str, str] = {}
    why: dict[str, str] = {}
    for one, other, how in same_images(pictures):
        twins.setdefault(other, one)
        why.setdefault(other, how)
    for other, one in twins.items():
        text = f"the image is the same as in {one} ({why[other]}); name each section's own."
        found.problems.append(str(Finding(str(table), other, text)))
    for one, other in itertools.combinations(depths, 2):
        alike, _ = likeness(depths[one], depths[other])
        if alike >= SAME_DEPTH:
            text = (
                f"the counts are those of {one} (depth correlates to {alike:.3f}); name each section's own."
            )
            found.problems.append(str(Finding(str(table), other, text)))
    return found


def _compare_genes(genes: list[pd.DataFrame], absent: str | None, found: CohortCheck) -> None:
    """See that a gene has one name in all sections, and say how many genes not all of them list."""
    import pandas as pd

    if not genes:
        return
    listed = pd.concat(genes, ignore_index=True)
    try:
        refuse_ambiguous_genes(listed)
    except UserError as error:
        found.problems.append(str(error))
        return
    clash = written_apart(listed)
    if clash:
        found.notes.append(f"{clash}; as names are taken as they are, each is another gene.")
    names = [set(section["gene"]) for section in genes]
    some = sorted(set.union(*names) - set.intersection(*names))
    # text tables leave out what has no count; what other layouts leave out is not measured
    text_tables = all(layout_of(str(section["path"].iloc[0])) == LEGACY_ST for section in genes)
    if some and (absent or ("zero" if text_tables else "unmeasured")) == "unmeasured":
        shown = ", ".join(some[:5]) + (", ..." if len(some) > 5 else "")
        found.notes.append(
            f"{len(some)} genes are listed by some sections only ({shown}); they count as not measured by "
            "the others, so that no panel that these decide on holds them (`genes_absent: zero` if they were "
            "looked for and never found)."
        )


def _unique(findings: Iterable[Finding]) -> list[Finding]:
    return list(dict.fromkeys(findings))


def _look(check: SectionCheck, files: dict[str, str]) -> tuple[npt.NDArray[np.uint8] | None, tuple[int, int]]:
    """Decode the section's image small, and compare spots with tissue."""
    from histobench.figures.drawing.spots import WIDTH

    if "image" not in files:
        return None, (0, 0)
    try:
        picture, size = thumbnail(files["image"], WIDTH), image_size(files["image"])
    except UserError as error:
        check.problems.append(Finding("", "", str(error), check.section))
        return None, (0, 0)
    why = nothing_to_see(picture)
    if why:
        check.problems.append(Finding(files["image"], "", f"{why}; {BLANK_ADVICE}", check.section))
        return picture, size
    check.notes += [
        Finding(files["image"], "", f"{text}.", check.section) for text in remarks(files["image"], picture)
    ]
    if check.um_per_px is not None:  # wrong positions lie anywhere
        check_orientation(check, picture, size, files["image"])
    return picture, size


def _draw(
    check: SectionCheck,
    cohort: dict[str, Any],
    picture: npt.NDArray[np.uint8] | None,
    size: tuple[int, int],
    file: Path,
) -> list[Path]:
    """Draw a section that has spots; returns the file."""
    from histobench.figures.drawing.spots import draw_spots, save_png

    if check.spots is None:
        return []
    points = check.spots[["pixel_x", "pixel_y"]].to_numpy()
    if check.um_per_px is not None:
        radius = cohort["spot_um"] / check.um_per_px / 2
    else:  # a drawing that shows what is wrong needs no true size
        radius = nearest_distance(points) / 4 or 25.0
    figure = draw_spots(
        picture,
        size,
        check.spots,
        radius_px=radius,
        title=f"{check.section}: {len(check.spots)} spots",
        staggered=GRIDS[check.grid].staggered,
    )
    save_png(figure, file)
    return [file]
