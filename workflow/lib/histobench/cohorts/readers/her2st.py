"""The HER2+ breast cancer cohort in the layout of its public repository (Andersson et al. 2021).

One section of each patient was annotated by a pathologist. The other sections of the patient get the
label of the nearest spot of that reference section, through the registered ("warped") coordinates that
the authors published with their clusters; such labels are marked "transferred".
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from histobench.cohorts.readers.legacy_st import join_spots, read_counts, read_spots, spot_names
from histobench.cohorts.text import field_columns, numbers, require_columns, text_table
from histobench.cohorts.types import LEGACY_FRAME, RawSection
from histobench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

TUMOUR = frozenset({"invasive cancer", "cancer in situ"})
# Immune infiltrate counts as not tumour: a choice, since the word says nothing about what it infiltrates.
NORMAL = frozenset({"breast glands", "connective tissue", "adipose tissue", "immune infiltrate"})
UNDETERMINED = frozenset({"undetermined"})


class Labels(NamedTuple):
    """Annotation by spot id, and how many of its rows had no coordinates."""

    by_spot: pd.Series
    no_coordinates: int


def read_section(section: str, files: Mapping[str, str], options: Mapping[str, Any]) -> RawSection:
    """Read one section.

    Parameters
    ----------
    section
        Name, such as "B4"; used in messages.
    files
        ``counts`` and ``spots``; ``labels``, the pathologist's table of this section; or, for a section
        without one, ``reference_spots``, ``reference_labels`` and ``warp`` (the cluster table with
        ``warped_x``, ``warped_y``). Others (``image``) are not used here.
    options
        None are known.

    Raises
    ------
    UserError
        A file is missing or malformed; an option is unknown.
    """
    import pandas as pd

    if options:
        raise UserError(
            f'Section {section}: the her2st reader has no option "{next(iter(options))}"; remove it.'
        )
    for kind in ("counts", "spots"):
        if kind not in files:
            raise UserError(f'Section {section}: the cohort\'s files lack "{kind}"; add its path template.')
    counts, spot_ids, genes = read_counts(files["counts"])
    counts, spots, dropped = join_spots(counts, spot_ids, read_spots(files["spots"]))

    label, source = pd.Series(dtype=object), "none"
    if "labels" in files:
        labels = read_labels(files["labels"])
        label, source = labels.by_spot, "pathologist"
        dropped["label_no_coordinates"] = labels.no_coordinates
        dropped["label_no_spot"] = int((~label.index.isin(spots.index)).sum())
    elif {"reference_spots", "reference_labels", "warp"} <= set(files):
        label = transfer_labels(files["warp"], files["reference_spots"], files["reference_labels"])
        source = "transferred"
    spots["label"] = label.reindex(spots.index).fillna("").astype(object)
    spots["tumour"] = [tumour_of(word) for word in spots["label"]]
    spots["label_source"] = np.where(spots["label"] != "", source, "none").astype(object)
    return RawSection(
        counts=counts,
        spots=spots,
        genes=pd.DataFrame({"gene_id": ""}, index=genes),  # the source publishes symbols only
        dropped=dropped,
        frame=LEGACY_FRAME,
    )


def tumour_of(label: str) -> float:
    """Binarise a label: 1 tumour, 0 not tumour, NaN undetermined or none."""
    if label in TUMOUR:
        return 1.0
    return 0.0 if label in NORMAL else float("nan")


def read_labels(path: str | Path) -> Labels:
    """Read a pathologist's table: ``x``, ``y`` (fractional grid position), ``label``.

    Positions are rounded, never cut: 9.994 is array column 10. Rows without coordinates are counted.
    The table's pixel columns refer to a smaller, upside-down image and are not used.

    Raises
    ------
    UserError
        A column is missing, a position is no number, a label is unknown, or a spot occurs twice.
    """
    import pandas as pd

    table = text_table(path)
    require_columns(table, ("x", "y", "label"), path)
    position = np.column_stack([numbers(table[axis], path, allow_missing=True) for axis in ("x", "y")])
    placed = np.isfinite(position).all(axis=1)
    kept, whole = table[placed], np.rint(position[placed]).astype(int)
    words = kept["label"].str.strip()
    unknown = ~words.isin(TUMOUR | NORMAL | UNDETERMINED)
    if unknown.any():
        line = words.index[unknown][0]
        raise UserError(
            f'{path}: line {line}: label "{words[line]}" is unknown, expected one of '
            f"{', '.join(sorted(TUMOUR | NORMAL | UNDETERMINED))}; correct it."
        )
    by_spot = pd.Series(
        words.to_numpy(dtype=object), index=pd.Index(spot_names(whole[:, 0], whole[:, 1]), name="spot")
    )
    repeated = by_spot.index.duplicated()
    if repeated.any():
        name = by_spot.index[repeated][0]
        lines = " and ".join(str(line) for line in words.index[by_spot.index == name][:2])
        raise UserError(f"{path}: spot {name} is labelled in lines {lines}; keep one of them.")
    return Labels(by_spot, int((~placed).sum()))


def read_warp(path: str | Path) -> pd.DataFrame:
    """Read registered positions: index spot id; ``x``, ``y``, pixels in the reference section's image."""
    import pandas as pd

    table = field_columns(path, ("x", "y", "warped_x", "warped_y"))
    whole = np.rint(table[["x", "y"]].to_numpy()).astype(int)
    warp = pd.DataFrame(
        {"x": table["warped_x"].to_numpy(), "y": table["warped_y"].to_numpy()},
        index=pd.Index(spot_names(whole[:, 0], whole[:, 1]), name="spot"),
    )
    repeated = warp.index.duplicated()
    if repeated.any():
        raise UserError(f"{path}: spot {warp.index[repeated][0]} occurs twice; keep one of its lines.")
    return warp


def transfer_labels(warp: str | Path, reference_spots: str | Path, reference_labels: str | Path) -> pd.Series:
    """Give each registered spot the label of the nearest spot of the reference section.

    A spot further than one pitch from every reference spot gets none; the pitch is the median distance of
    the reference spots to their nearest neighbours, in the pixels in which both are given.

    Returns
    -------
    pandas.Series
        Label by spot id of the section, for the spots that got one.
    """
    import pandas as pd
    from scipy.spatial import KDTree

    moved = read_warp(warp)
    spots = read_spots(reference_spots)
    labels = read_labels(reference_labels).by_spot
    reference = KDTree(spots[["pixel_x", "pixel_y"]].to_numpy())
    pitch = float(np.median(reference.query(reference.data, k=2)[0][:, 1]))
    distance, nearest = reference.query(moved.to_numpy())
    found = pd.Series(labels.reindex(spots.index).to_numpy()[nearest], index=moved.index, dtype=object)
    return found[(distance < pitch) & found.notna().to_numpy()]
