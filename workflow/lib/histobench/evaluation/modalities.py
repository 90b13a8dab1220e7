"""Which description of a spot tells tumour: its image, its measured or its predicted expression.

Chen et al. 2024 (HE2Gene, Supp. Fig. S7) split the spots of the test patients 8 to 2 at random, so that a
spot is judged by its neighbours: that leaks. Beside it stands the same with whole patients held out.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.errors import UserError
from histobench.seeds import seed_for

if TYPE_CHECKING:
    import pandas as pd

TREES = 100  # not published; scikit-learn's default
COLUMNS = ("modalities", "held_out", "accuracy", "auroc", "n_spots", "n_learnt")
FIFTH = "a fifth of the spots"


def compare_within_patients(
    parts: Mapping[str, np.ndarray], labels: np.ndarray, *, seed: int = 0, trees: int = TREES
) -> pd.DataFrame:
    """Repeat the paper's comparison on the spots of test patients, split 8 to 2 at random.

    It leaks: spots of the fifth lie between spots of the other four. Use it to compare with the paper only.

    Parameters
    ----------
    parts
        Descriptions of the same spots by name, (spots, numbers) each.
    labels
        (spots,): 1, 0, or NaN, which leaves a spot out.
    seed, trees
        Of split and forest.

    Returns
    -------
    pandas.DataFrame
        :data:`COLUMNS`, one row per combination of descriptions; accuracy is at 0.5.

    Raises
    ------
    UserError
        One of the parts of the split lacks one of the labels.
    """
    known = np.flatnonzero(np.isfinite(labels))
    order = np.random.default_rng(seed_for(seed, "eight to two")).permutation(known)
    held, learn = np.split(order, [len(order) // 5])
    if not (_both(labels[held]) and _both(labels[learn])):
        raise UserError("tumour comparison: too few labelled spots of both kinds; label more spots.")
    return _table([_row(parts, names, labels, learn, held, FIFTH, seed, trees) for names in _choices(parts)])


def compare_between_patients(
    parts: Mapping[str, np.ndarray],
    labels: np.ndarray,
    patients: np.ndarray,
    *,
    seed: int = 0,
    trees: int = TREES,
) -> pd.DataFrame:
    """Compare the same descriptions on each patient in turn, by forests that learn from the others.

    Parameters
    ----------
    parts, labels, seed, trees
        As for :func:`compare_within_patients`.
    patients
        (spots,) names.

    Returns
    -------
    pandas.DataFrame
        :data:`COLUMNS`, one row per held-out patient and combination. A patient without both kinds of spots
        is not held out, and none is where the others have one kind only.
    """
    known = np.isfinite(labels)
    rows = []
    for patient in sorted(set(patients[known])):
        own = patients == patient
        held, learn = np.flatnonzero(known & own), np.flatnonzero(known & ~own)
        if _both(labels[held]) and _both(labels[learn]):
            rows += [
                _row(parts, names, labels, learn, held, patient, seed, trees) for names in _choices(parts)
            ]
    return _table(rows)


def _both(labels: np.ndarray) -> bool:
    return len(set(labels)) == 2


def _choices(parts: Mapping[str, np.ndarray]) -> list[tuple[str, ...]]:
    """Return every combination of descriptions, single ones first."""
    return [names for size in range(1, len(parts) + 1) for names in combinations(parts, size)]


def _row(
    parts: Mapping[str, np.ndarray],
    names: tuple[str, ...],
    labels: np.ndarray,
    learn: np.ndarray,
    held: np.ndarray,
    held_out: str,
    seed: int,
    trees: int,
) -> dict[str, Any]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import roc_auc_score

    table = np.concatenate([parts[name] for name in names], axis=1).astype(np.float32)
    forest = RandomForestClassifier(trees, random_state=seed_for(seed, held_out, *names), n_jobs=1)
    score = forest.fit(table[learn], labels[learn].astype(int)).predict_proba(table[held])[:, 1]
    return {
        "modalities": "+".join(names),
        "held_out": held_out,
        "accuracy": float(np.mean((score >= 0.5) == (labels[held] == 1))),
        "auroc": float(roc_auc_score(labels[held], score)),
        "n_spots": len(held),
        "n_learnt": len(learn),
    }


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=list(COLUMNS))
