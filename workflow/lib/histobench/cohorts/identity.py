"""Whether two sections, of whatever cohorts, are the same measurement.

Cohorts share tissue under other names: patients E to H of the HER2+ cohort are four of HBCIS. A section is
recognised by its spots, whose pattern follows the tissue, and by the counts on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from histobench.cohorts.table import align_counts, load_section, load_spots
from histobench.files import write_table

if TYPE_CHECKING:
    import anndata
    import pandas as pd

#: Share of the spots of both sections that must be common before counts are compared at all.
ENOUGH_SPOTS = 0.9
#: Correlation of the counts above which two sections with the same spots are one measurement; neighbouring
#: sections of one block reach 0.8 at most (HER2+), and another annotation of genes costs little.
SAME_COUNTS = 0.95
COLUMNS = (
    "section",
    "other",
    "patient",
    "other_patient",
    "shared_spots",
    "equal_counts",
    "correlation",
    "same",
)


@dataclass(frozen=True)
class Overlap:
    """How alike two sections are.

    ``shared_spots``: spots in both over spots in either. ``equal_counts``: share of the spots in both whose
    total over the genes in both is the same. ``correlation``: of all counts on the spots and genes in both;
    NaN where there is nothing to compare.
    """

    shared_spots: float
    equal_counts: float
    correlation: float

    @property
    def same(self) -> bool:
        """Whether the two are one measurement, allowing for another annotation of genes."""
        return self.shared_spots >= ENOUGH_SPOTS and self.correlation >= SAME_COUNTS


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


def find_twins(cohort: Sequence[str | Path], other: Sequence[str | Path]) -> pd.DataFrame:
    """Find sections of two cohorts that share their spots, and say whether they are the same measurement.

    Parameters
    ----------
    cohort, other
        Stored sections (``.h5ad``) of either.

    Returns
    -------
    pandas.DataFrame
        :data:`COLUMNS`: one row per pair whose spots agree to :data:`ENOUGH_SPOTS`; counts are read only for
        these.
    """
    import pandas as pd

    spots = {str(path): load_spots(path).index for path in [*cohort, *other]}
    rows = []
    for first in map(str, cohort):
        for second in map(str, other):
            common = len(spots[first].intersection(spots[second]))
            if common < ENOUGH_SPOTS * len(spots[first].union(spots[second])):
                continue
            one, two = load_section(first), load_section(second)
            found = compare_sections(one, two)
            rows.append(
                (
                    one.uns["section"],
                    two.uns["section"],
                    one.uns["patient"],
                    two.uns["patient"],
                    found.shared_spots,
                    found.equal_counts,
                    found.correlation,
                    found.same,
                )
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def write_twins(
    *, h5ads: Sequence[str | Path], other_h5ads: Sequence[str | Path], output: str | Path
) -> None:
    """Compare the stored sections of two cohorts and write what :func:`find_twins` finds."""
    write_table(find_twins(h5ads, other_h5ads), output)
