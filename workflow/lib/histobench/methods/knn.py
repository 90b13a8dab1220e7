"""k nearest neighbours on frozen features, a baseline of Chen et al. 2024 (HE2Gene)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from histobench.bounds import Count, Counts, Folds
from histobench.errors import UserError
from histobench.training.contract import Context, Prediction, SectionData, TrainingLog
from histobench.training.groups import inner_folds, inner_groups
from histobench.training.store import in_order, load_arrays, require, save_arrays, training_targets

_BLOCK = 512


def nearest(queries: np.ndarray, references: np.ndarray, k: int) -> np.ndarray:
    """Return the ``k`` nearest references by Euclidean distance, (queries, k), nearest first."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=k, algorithm="brute", metric="euclidean").fit(references)
    found: np.ndarray = search.kneighbors(queries, return_distance=False)
    return found


class KNN:
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

    def __init__(self, k: Count = 5, k_choices: Counts | None = None, inner_folds: Folds = 4) -> None:
        self.k = k
        self.k_choices = k_choices
        self.inner_folds = inner_folds

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Keep all training spots; choose k if asked to."""
        choices = sorted(self.k_choices or [self.k])
        if choices[0] < 1:
            raise UserError(f"k {choices[0]}: choose at least 1 neighbour.")
        train = in_order(train)
        self._features = np.concatenate([require(section, "features") for section in train]).astype(
            np.float32
        )
        self._targets = training_targets(train)
        unit, groups = inner_groups(train)
        told = TrainingLog(facts={"parameters": 0})
        if len(choices) > 1:
            folds = inner_folds(groups, self.inner_folds)
            if not folds:
                raise UserError("k_choices: a single group of spots leaves nothing to choose k on; give k.")
            errors = sum(self._errors(learn, held, choices) for learn, held in folds)
            told.history = [
                {"stage": "neighbours", "k": k, "valid_mse": float(error) / self._targets.size}
                for k, error in zip(choices, np.atleast_1d(errors), strict=True)
            ]
            told.facts["selection_unit"] = unit
            self._k = choices[int(np.argmin(errors))]
        else:
            self._k = choices[0]
        self._k = min(self._k, len(self._targets))
        told.facts["k"] = self._k
        return told

    def _errors(self, learn: np.ndarray, held: np.ndarray, choices: Sequence[int]) -> np.ndarray:
        """Sum of squared errors on held-out spots for each k, from one search."""
        errors = np.zeros(len(choices))
        for first in range(0, len(held), _BLOCK):
            rows = held[first : first + _BLOCK]
            largest = min(choices[-1], len(learn))
            found = learn[nearest(self._features[rows], self._features[learn], largest)]
            running = np.cumsum(self._targets[found], axis=1, dtype=np.float64)
            for place, k in enumerate(choices):
                last = min(k, largest)
                errors[place] += ((running[:, last - 1] / last - self._targets[rows]) ** 2).sum()
        return errors

    def predict(self, section: SectionData) -> Prediction:
        """Average the targets of the nearest training spots."""
        features = require(section, "features")
        out = np.empty((len(section), self._targets.shape[1]), np.float32)
        for first in range(0, len(section), _BLOCK):
            found = nearest(features[first : first + _BLOCK], self._features, self._k)
            out[first : first + _BLOCK] = self._targets[found].mean(axis=1, dtype=np.float64)
        return Prediction(out)

    def save(self, folder: Path) -> None:
        """Write all training spots: they are the model."""
        save_arrays(folder, features=self._features, targets=self._targets, k=np.array(self._k))

    def load(self, folder: Path) -> None:
        """Read the training spots."""
        stored = load_arrays(folder)
        self._features, self._targets, self._k = stored["features"], stored["targets"], int(stored["k"])
