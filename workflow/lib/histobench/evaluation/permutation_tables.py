"""The null distribution: what a control scores over permutations of images, and which methods lie outside.

One permutation is one number: all genes share it, so that an interval over patients or genes of a single one
says how far that one is from zero, and not how far a null control may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from histobench.evaluation.gather import ScoredMethod
from histobench.results.catalogue import columns_of

if TYPE_CHECKING:
    import pandas as pd

# The part of permutations outside the envelope, half of it on each side.
OUTSIDE = 0.05


def envelope(scores: np.ndarray) -> tuple[float, float]:
    """Return the 2.5 % and 97.5 % quantiles of the scores of permutations; NaN without any.

    They are such that a further permutation falls outside with a probability of 5 %. Fewer than 39 do not
    tell them: the envelope is then their whole range, outside of which one falls with 2 / (n + 1).

    Parameters
    ----------
    scores
        (permutations,).
    """
    known = scores[np.isfinite(scores)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.quantile(known, [OUTSIDE / 2, 1 - OUTSIDE / 2], method="weibull")
    return float(low), float(high)


def null_envelope(methods: Sequence[ScoredMethod]) -> tuple[float, float]:
    """Return the ends of all envelopes of an experiment's null controls, NaN without one."""
    ends = np.array([envelope(method.permutations) for method in methods]).reshape(-1, 2)
    ends = ends[np.isfinite(ends).all(axis=1)]
    return (float(ends[:, 0].min()), float(ends[:, 1].max())) if len(ends) else (np.nan, np.nan)


def against(score: float, ends: tuple[float, float]) -> str:
    """Say where a score lies: above, within or below an envelope; "" where either is not known."""
    low, high = ends
    if not np.isfinite([score, low, high]).all():
        return ""
    return "above" if score > high else "below" if score < low else "within"


def permutation_table(method: ScoredMethod) -> pd.DataFrame:
    """Return the score of every permutation of a null control; no row for another method."""
    import pandas as pd

    scores = method.permutations
    known = np.isfinite(method.by_patient)
    return pd.DataFrame(
        {
            "method": method.name,
            "permutation": np.arange(1, len(scores) + 1),
            "pearson": scores,
            "n_patients": int(known.any(axis=1).sum()),
            "n_genes": int(known.any(axis=0).sum()),
        },
        columns=list(columns_of("permutations")),
    )
