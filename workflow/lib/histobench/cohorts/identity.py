"""Whether two sections, of one cohort or of two, are the same measurement.

Cohorts share tissue under other names: patients E to H of the HER2+ cohort are four of HBCIS. A section is
recognised by its spots, whose pattern follows the tissue, and by the counts on them; where spots or genes
have other names, by the map of its sequencing depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from histobench.cohorts.depth_map import DepthMap, depth_map, likeness
from histobench.cohorts.table import align_counts, load_section
from histobench.files import write_table

if TYPE_CHECKING:
    import anndata
    import pandas as pd

#: Share of the spots of both sections that must be common before counts are compared at all.
ENOUGH_SPOTS = 0.9
#: Correlation of the counts above which two sections with the same spots are one measurement; neighbouring
#: sections of one block reach 0.8 at most (HER2+), and another annotation of genes costs little.
SAME_COUNTS = 0.95
#: Correlation of two maps of sequencing depth above which they are of one measurement. Of the 630 pairs of
#: real HER2+ sections the most alike reach 0.87; a section and its copy 0.99 or more, with spots and genes
#: renamed, shifted, mirrored or exchanged axes, 60 % of the spots, half of the genes, a tenth of the reads,
#: or rounded logarithms for counts.
SAME_DEPTH = 0.96
COLUMNS = (
    "section",
    "other",
    "patient",
    "other_patient",
    "shared_spots",
    "equal_counts",
    "correlation",
    "depth_correlation",
    "same",
)


@dataclass(frozen=True)
class Overlap:
    """How alike two sections are.

    ``shared_spots``: spots in both over spots in either. ``equal_counts``: share of the spots in both whose
    total over the genes in both is the same. ``correlation``: of all counts on the spots and genes in both;
    NaN where there is nothing to compare. ``depth_correlation``: of the maps of sequencing depth, laid over
    each other as they fit best.
    """

    shared_spots: float
    equal_counts: float
    correlation: float
    depth_correlation: float = float("nan")

    @property
    def same(self) -> bool:
        """Whether the two are one measurement, allowing for other names and another annotation of genes."""
        by_name = self.shared_spots >= ENOUGH_SPOTS and self.correlation >= SAME_COUNTS
        return by_name or self.depth_correlation >= SAME_DEPTH


def compare_sections(one: anndata.AnnData, other: anndata.AnnData) -> Overlap:
    """Compare spots and counts of two stored sections.

    Genes are matched by name. Cohorts differ in annotation, so that counts of the same measurement need not
    be equal for every gene; their correlation is nearly 1 all the same, and that of two neighbouring sections
    far from it.
    """
    common = one.obs_names.intersection(other.obs_names)
    shared = len(common) / max(1, len(one.obs_names.union(other.obs_names)))
    genes = one.var_names.intersection(other.var_names)
    if not len(common) or not len(genes):
        return Overlap(shared, float("nan"), float("nan"))
    first, second = (
        align_counts(section[common], list(genes)).astype(np.float64) for section in (one, other)
    )
    totals = [np.asarray(counts.sum(axis=1)).ravel() for counts in (first, second)]
    n = first.shape[0] * first.shape[1]
    mean_1, mean_2 = first.sum() / n, second.sum() / n
    spread = np.sqrt(
        (first.multiply(first).sum() / n - mean_1**2) * (second.multiply(second).sum() / n - mean_2**2)
    )
    covariance = first.multiply(second).sum() / n - mean_1 * mean_2
    return Overlap(
        shared,
        float((totals[0] == totals[1]).mean()),
        float(covariance / spread) if spread > 0 else float("nan"),
    )


@dataclass(frozen=True)
class _Outline:
    """What is read of every section: the names of its spots and its map of depth."""

    spots: pd.Index
    depth: DepthMap


def _outline(path: str) -> _Outline:
    section = load_section(path)
    depth = depth_map(section.obs["array_x"], section.obs["array_y"], section.X)
    return _Outline(section.obs_names, depth)


def find_twins(cohort: Sequence[str | Path], other: Sequence[str | Path] | None = None) -> pd.DataFrame:
    """Find sections that share their spots or their map of depth, and say whether they are one measurement.

    Parameters
    ----------
    cohort, other
        Stored sections (``.h5ad``) of either cohort; without ``other`` the sections of one cohort are
        compared with each other, and only those that are one measurement are listed: neighbours share spots.

    Returns
    -------
    pandas.DataFrame
        :data:`COLUMNS`: one row per pair whose spots agree to :data:`ENOUGH_SPOTS` by name, or that is one
        measurement by its map of depth; counts are compared only for these.
    """
    import pandas as pd

    firsts = list(map(str, cohort))
    seconds = firsts if other is None else list(map(str, other))
    outlines = {path: _outline(path) for path in dict.fromkeys([*firsts, *seconds])}
    pairs = (
        [(first, second) for first in firsts for second in seconds]
        if other is not None
        else [(first, second) for i, first in enumerate(firsts) for second in firsts[i + 1 :]]
    )
    rows = []
    for first, second in pairs:
        one, two = outlines[first], outlines[second]
        shared = len(one.spots.intersection(two.spots)) / max(1, len(one.spots.union(two.spots)))
        alike, _ = likeness(one.depth, two.depth)
        if shared < ENOUGH_SPOTS and not alike >= SAME_DEPTH:
            continue
        section, twin = load_section(first), load_section(second)
        found = replace(compare_sections(section, twin), depth_correlation=alike)
        if other is None and not found.same:
            continue
        rows.append(
            (
                section.uns["section"],
                twin.uns["section"],
                section.uns["patient"],
                twin.uns["patient"],
                found.shared_spots,
                found.equal_counts,
                found.correlation,
                found.depth_correlation,
                found.same,
            )
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def write_twins(
    *, h5ads: Sequence[str | Path], output: str | Path, other_h5ads: Sequence[str | Path] | None = None
) -> None:
    """Compare the stored sections of two cohorts, or of one, and write what :func:`find_twins` finds."""
    write_table(find_twins(h5ads, other_h5ads), output)
