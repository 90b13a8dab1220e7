"""The cutaneous squamous cell carcinoma cohort (Ji et al. 2020; GEO GSE144240).

The layout is that of the HER2+ cohort, with three differences: names in the archive begin with a GEO
accession, counts cover the whole array, of which the selection lists the spots under tissue, and the array is
one of 2,000 spots, whose rows are staggered: a diamond grid.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.cohorts.readers.legacy_st import join_spots, read_counts, read_spots
from histobench.cohorts.types import RawSection
from histobench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# What follows the accession in the names of the archive; {} is the section as published, such as P2_ST_rep1.
_PUBLISHED = {
    "counts": r"{}_stdata\.tsv",
    "spots": r"spot_data-selection-{}\.tsv",
    "image": r"{}\.jpe?g",
}


def locate_member(member: str, names: Sequence[str], read: Callable[[str], bytes]) -> str:
    """Find the published name of ``SECTION/KIND.suffix``, such as ``P2_rep1/counts.tsv.gz``.

    KIND is counts, spots or image; the section's patient and replicate are told apart by "_". ``read`` is
    not used: names tell all.

    Raises
    ------
    UserError
        The archive has no such file, or several.
    """
    section, _, file = member.partition("/")
    kind = file.partition(".")[0]
    if kind not in _PUBLISHED:
        return member
    published = re.escape("_ST_".join(section.rsplit("_", 1)))
    wanted = re.compile(rf"(.*/)?GSM[0-9]+_{_PUBLISHED[kind].format(published)}(\.gz)?")
    found = [name for name in names if wanted.fullmatch(name)]
    if len(found) != 1:
        raise UserError(
            f"The archive holds {len(found)} files of {kind} for section {section}, expected one "
            f"like GSM0000000_{_PUBLISHED[kind].format(published)}; check the section's name."
        )
    return found[0]


def read_section(section: str, files: Mapping[str, str], options: Mapping[str, Any]) -> RawSection:
    """Read one section; it has no labels.

    Parameters
    ----------
    section
        Name, such as "P2_rep1"; used in messages.
    files
        ``counts`` and ``spots``. Others (``image``) are not used here.
    options
        None are known.

    Raises
    ------
    UserError
        A file is missing or malformed; an option is unknown.
    """
    import pandas as pd

    if options:
        raise UserError(f'Section {section}: the cscc reader has no option "{min(options)}"; remove it.')
    for kind in ("counts", "spots"):
        if kind not in files:
            raise UserError(f'Section {section}: the cohort\'s files lack "{kind}"; add its path template.')
    counts, spot_ids, genes = read_counts(files["counts"])
    counts, spots, dropped = join_spots(counts, spot_ids, read_spots(files["spots"]))
    dropped["not_under_tissue"] = dropped.pop("no_position")
    spots["label"], spots["tumour"], spots["label_source"] = "", np.nan, "none"
    return RawSection(
        counts=counts,
        spots=spots,
        genes=pd.DataFrame({"gene_id": ""}, index=genes),  # the source publishes symbols only
        dropped=dropped,
        grid="diamond",
    )
