"""Losses of spots are judged where they happen: most spots of a section lost for one reason stop the run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from histobench.cohorts.types import SPOT_ID
from histobench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

MOST_LOST = 0.5
"""Largest share of spots that may go for one reason."""

FEWEST_JUDGED = 10
"""Spots below which a share says nothing."""

MOST_BARCODES_LOST = 0.1
"""Largest share of barcodes without a position: a table of positions lists every barcode of the slide."""

MOST_OUTSIDE = 0.2
"""Largest share of spots outside the image: an image that is cut off loses some, another one many."""

_SOME_RENAMED = 0.01
"""Share of names that may fit nowhere though all are named alike."""

REASONS: Mapping[str, str] = {
    "no_position": "have counts but no position",
    "no_counts": "have a position under tissue but no counts",
    "no_tissue_value": "do not say whether they lie under tissue",
    "zero_umi": "have no count of any gene",
    "outside_image": "lie outside the image",
}
"""Reasons that are judged, and what they say of the spots. Spots off the tissue are no loss."""

_CAUSES: Mapping[str, str] = {
    "no_position": "counts and positions seem to belong to different sections",
    "no_counts": "counts and positions seem to belong to different sections, or the counts are cut short",
    "no_tissue_value": "the column seems to come from a join that did not fit; fill in in_tissue or selected",
    "zero_umi": "the counts seem to be of another assay or filtered; give all genes, in raw counts",
    "outside_image": "image and positions seem not to belong together",
}


def judge_losses(
    lost: Mapping[str, int],
    n_left: int,
    where: str,
    *,
    allowed: Collection[str] = (),
    causes: Mapping[str, str] | None = None,
    names: Sequence[str] = (),
) -> None:
    """Stop if more than half of a section's spots are lost for one reason (of barcodes and images, fewer).

    Parameters
    ----------
    lost
        Reason -> number of spots; only :data:`REASONS` are judged.
    n_left
        Spots that are left after all of them.
    where
        The section, for messages.
    allowed
        Reasons that the cohort allows (``allow_losses``).
    causes
        Reason -> likely cause and remedy, where the files tell more than usual.
    names
        Names of the spots that are left. Where they are barcodes, a tenth without a position is too many:
        barcodes of one slide match all or none.

    Raises
    ------
    UserError
        Names the first such reason, with the likely cause and the key that allows it.
    """
    barcodes = bool(len(names)) and not any(SPOT_ID.fullmatch(str(name)) for name in names)
    seen = n_left + sum(lost.get(reason, 0) for reason in REASONS if reason != "no_counts")
    for reason, says in REASONS.items():
        number = lost.get(reason, 0)
        among = number + seen - lost.get("no_position", 0) if reason == "no_counts" else seen
        limit = MOST_BARCODES_LOST if barcodes and reason == "no_position" else MOST_LOST
        limit = MOST_OUTSIDE if reason == "outside_image" else limit
        if reason in allowed or among < FEWEST_JUDGED or not number > limit * among:
            continue
        cause = (causes or {}).get(reason) or _CAUSES[reason]
        part = "barcodes match only in part: " if barcodes and reason in ("no_position", "no_counts") else ""
        way_out = (
            f"allow it with `allow_losses: [{reason}]` in the cohort's YAML file"
            if n_left
            else "leave the section out of the cohort's configuration"
        )
        raise UserError(f"{where}: {part}{number} of {among} spots {says}; {cause}, or {way_out}.")


def name_cause(counted: pd.Index, placed: pd.Index) -> str:
    """Say why names of spots in the counts are not those in the positions.

    Parameters
    ----------
    counted, placed
        Names of spots of the two files.

    Returns
    -------
    str
        Cause and remedy; "" where all names of the counts have a position.
    """
    lost = counted[~counted.isin(placed)]
    if not len(lost):
        return ""
    matched = len(counted) - len(lost)
    if alike_names(counted, placed) > matched:
        if SPOT_ID.fullmatch(str(lost[0])):
            return "x and y are swapped in one of the two files: a spot is array column, x, array row"
        other = placed[_stems(placed) == _stems(lost)[0]] if len(placed) else placed
        pair = f" ({lost[0]} in the counts, {other[0]} in the positions)" if len(other) else ""
        return f"the names differ in their endings{pair}; name spots alike in both files"
    other = placed[~placed.isin(counted)]
    pair = f", such as {lost[0]} in the counts" + (f" and {other[0]} in the positions" if len(other) else "")
    return f"{_CAUSES['no_position']}{pair}; give the two files of one section"


def renamed(names: pd.Index, others: pd.Index) -> str:
    """Say how names of places on an array differ from others' of the same places; "" where they do not.

    Some of them are then names of others' places too, and their spots would silently be their neighbours.
    """
    import pandas as pd

    lost = ~names.isin(others)
    if lost.mean() <= _SOME_RENAMED or not all(SPOT_ID.fullmatch(str(name)) for name in names):
        return ""
    try:
        x, y = (pd.Series(part).astype(int) for part in zip(*names.str.split("x"), strict=True))
    except ValueError:  # positions between places
        return ""
    steps = [(across, down) for across in (-1, 0, 1) for down in (-1, 0, 1) if across or down]
    ways = [
        ("have zeros before the numbers in one file", x, y),
        ("are row and column in one file, and column and row in the other", y, x),
        *(("are counted from 0 in one file and from 1 in the other", x + i, y + j) for i, j in steps),
    ]
    for way, column, row in ways:
        if (column.astype(str) + "x" + row.astype(str)).isin(others).mean() > 1 - _SOME_RENAMED:
            return way
    return ""


def alike_names(names: pd.Index, others: pd.Index) -> int:
    """Count names that are among others but for x and y swapped, or, for barcodes, for their endings."""
    lost = names[~names.isin(others)]
    if len(lost) and len(others) and SPOT_ID.fullmatch(str(lost[0])):
        turned = names.str.split("x").map(lambda parts: "x".join(reversed(parts)))
        return int(turned.isin(others).sum())
    return int(_stems(names).isin(_stems(others)).sum())


def _stems(names: pd.Index) -> pd.Index:
    """Barcodes without what tools add: the well's ``-1``, a sample's name; other names without a number."""
    plain = names.astype(str).str.upper()
    barcode = plain.str.extract(r"([ACGTN]{10,})", expand=False)
    return barcode.where(barcode.notna(), plain.str.replace(r"[-_][0-9]+$", "", regex=True))


def image_cause(spots: pd.DataFrame, width: int, height: int, image: str = "") -> str:
    """Say why spots lie outside the image, from the pixels that they are given in."""
    x, y = spots["pixel_x"].to_numpy(), spots["pixel_y"].to_numpy()
    outside = (x < 0) | (y < 0) | (x >= width) | (y >= height)
    turned = (y < 0) | (x < 0) | (y >= width) | (x >= height)
    named = f" ({image})" if image else ""
    size = f"the image of {width} x {height} pixels{named}"
    if turned.sum() < outside.sum() / 2:
        return f"x and y look swapped for {size}; exchange the pixel columns"
    reach = max(float(x.max()) / width, float(y.max()) / height)
    if reach > REDUCED and not ((x < 0) | (y < 0)).any():
        return (
            f"positions reach {reach:.1f} times as far as {size}, which looks like a reduced copy; give the "
            "full-resolution image, or positions in the pixels of this one"
        )
    return f"check that {size} and the positions belong together"


REDUCED = 1.2
"""How many times as far as the image positions reach where it is taken for a reduced copy."""
