"""Which spots may validate which: inner splits that keep a patient together.

The unit is the patient. A cohort with a single training patient has none to hold out; then its sections
take their place, and in a single section four vertical strips do. The unit that was used is returned, so
that a run can say so: strips of one section are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from histobench.training.contract import SectionData

N_STRIPS = 4


def inner_groups(sections: Sequence[SectionData]) -> tuple[str, np.ndarray]:
    """Name the unit of inner validation and the group of every spot.

    Parameters
    ----------
    sections
        Training sections; spots are numbered through them in this order.

    Returns
    -------
    str
        "patient", "section" or "strip".
    numpy.ndarray
        Group name of each spot (str), (spots,).
    """
    patients = np.repeat([s.patient for s in sections], [len(s) for s in sections]).astype(str)
    if len(set(patients)) > 1:
        return "patient", patients
    names = np.repeat([s.section for s in sections], [len(s) for s in sections]).astype(str)
    if len(set(names)) > 1:
        return "section", names
    across = np.concatenate([np.asarray(s.spots["array_x"], float) for s in sections])
    strips = np.searchsorted(np.quantile(across, np.linspace(0, 1, N_STRIPS + 1)[1:-1]), across, side="left")
    return "strip", strips.astype(str)


def inner_folds(groups: np.ndarray, n_folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split spots into (learn, hold out) index pairs; fold f holds out every n-th group of the sorted list.

    This is how ST-Net forms its inner folds (He et al. 2020). With fewer groups than folds there are as
    many folds as groups; with a single group there is no fold.
    """
    names = sorted(set(groups))
    n_folds = min(n_folds, len(names))
    if n_folds < 2:
        return []
    held = [np.isin(groups, names[fold::n_folds]) for fold in range(n_folds)]
    return [(np.flatnonzero(~out), np.flatnonzero(out)) for out in held]
