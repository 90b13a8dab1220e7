"""k nearest neighbours on frozen features, a baseline of Chen et al. 2024 (HE2Gene)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from histobench.bounds import Count, Counts, Folds
from histobench.errors import UserError
from histobench.training.contract import Context, Extent, Prediction, SectionData, TrainingLog
from histobench.training.declared import ArrayMethod
from histobench.training.groups import inner_folds, inner_groups
from histobench.training.store import in_order, require, stacked, training_targets

_BLOCK = 512


def nearest(queries: np.ndarray, references: np.ndarray, k: int) -> np.ndarray:
    """Return the ``k`` nearest references by Euclidean distance, (queries, k), nearest first."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=k, algorithm="brute", metric="euclidean").fit(references)
    found: np.ndarray = search.kneighbors(queries, return_distance=False)
    return found


@dataclass(frozen=True)
class KNN(ArrayMethod):
    """Average the expression of the k training spots whose features are nearest.

    Parameters
    ----------
    k
        Number of neighbours.
    k_choices
        If given, ``k`` is chosen among these by leaving out training patients.
    inner_folds
        Folds of that choice.
    """

    k: Count = 5
    k_choices: Counts | None = None
    inner_folds: Folds = 4

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Keep all training spots; choose k if asked to."""
        choices = sorted(self.k_choices or [self.k])
        if choices[0] < 1:
            raise UserError(f"k {choices[0]}: choose at least 1 neighbour.")
        train = in_order(train)
        features, targets = stacked(train, "features").astype(np.float32), training_targets(train)
        unit, groups = inner_groups(train)
        told = TrainingLog(facts={"parameters": 0})
        if len(choices) > 1:
            folds = inner_folds(groups, self.inner_folds)
            if not folds:
                raise UserError("k_choices: a single group of spots leaves nothing to choose k on; give k.")
            errors = sum(_errors(features, targets, learn, held, choices) for learn, held in folds)
            told.history = [
                {"stage": "neighbours", "k": k, "valid_mse": float(error) / targets.size}
                for k, error in zip(choices, np.atleast_1d(errors), strict=True)
            ]
            told.facts["selection_unit"] = unit
            chosen = choices[int(np.argmin(errors))]
        else:
            chosen = choices[0]
        told.facts["k"] = chosen = min(chosen, len(targets))
        self.keep(features=features, targets=targets, k=chosen)
        return told

    def stored_per_spot(self, extent: Extent) -> int:
        """Return the bytes of features and targets."""
        return 4 * (extent.features + extent.genes)

    def predict(self, section: SectionData) -> Prediction:
        """Average the targets of the nearest training spots."""
        features, targets = require(section, "features"), self.learnt["targets"]
        out = np.empty((len(section), targets.shape[1]), np.float32)
        for first in range(0, len(section), _BLOCK):
            block = slice(first, first + _BLOCK)
            found = nearest(features[block], self.learnt["features"], int(self.learnt["k"]))
            out[block] = targets[found].mean(axis=1, dtype=np.float64)
        return Prediction(out)


def _errors(
    features: np.ndarray, targets: np.ndarray, learn: np.ndarray, held: np.ndarray, choices: Sequence[int]
) -> np.ndarray:
    """Sum of squared errors on held-out spots for each k, from one search."""
    errors = np.zeros(len(choices))
    for first in range(0, len(held), _BLOCK):
        rows = held[first : first + _BLOCK]
        largest = min(choices[-1], len(learn))
        found = learn[nearest(features[rows], features[learn], largest)]
        running = np.cumsum(targets[found], axis=1, dtype=np.float64)
        for place, k in enumerate(choices):
            last = min(k, largest)
            errors[place] += ((running[:, last - 1] / last - targets[rows]) ** 2).sum()
    return errors
