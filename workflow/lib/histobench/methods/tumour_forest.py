"""Tumour by random forest on the image, on observed and on predicted expression (Chen et al. 2024, HE2Gene).

The paper asks which of the three tells tumour from other tissue. It splits the spots of the test patients
8 to 2 at random, so that a spot is judged by its neighbours; :mod:`histobench.evaluation.modalities` repeats
that. The class here keeps patients apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import pandas as pd

from histobench.bounds import Count, Folds, Penalties, some_of
from histobench.errors import UserError
from histobench.methods.random_forest import RandomForest
from histobench.training.classifier import TumourClassifier
from histobench.training.contract import Context, Extent, SectionData, TrainingLog
from histobench.training.groups import inner_folds, inner_groups
from histobench.training.ridge import Ridge, fit_ridge
from histobench.training.store import require, stacked, training_targets

MODALITIES = ("image", "observed", "predicted")
PREFIX = "forest."


def _forest(rows: np.ndarray, labels: np.ndarray, trees: int, seed: int) -> tuple[RandomForest, TrainingLog]:
    """Grow a forest on labels 0 and 1.

    Splitting by variance is splitting by Gini impurity, which is twice the variance of such labels, and the
    mean of a leaf is its share of tumour; so this is a forest of classification trees. As in those, a split
    chooses among the square root of the number of features.
    """
    forest = RandomForest(trees, max_features=max(1, round(rows.shape[1] ** 0.5)) / rows.shape[1])
    section = SectionData("", "", "", pd.DataFrame(index=range(len(rows))), features=rows)
    labelled = replace(section, targets=labels[:, None].astype(np.float32))
    return forest, forest.fit([labelled], [], Context((), seed=seed))


def _ask(forest: RandomForest, rows: np.ndarray) -> np.ndarray:
    spots = pd.DataFrame(index=range(len(rows)))
    return forest.predict(SectionData("", "", "", spots, features=rows)).expression[:, 0]


@dataclass(frozen=True, kw_only=True)
class TumourForest(TumourClassifier):
    """A random forest on one or several descriptions of a spot.

    Parameters
    ----------
    modalities
        Any of "image" (frozen features), "predicted" (expression predicted from them by ridge regression;
        for training spots by one that did not see their patient) and "observed" (the measured expression,
        which makes the method an oracle).
    trees
        Number of trees.
    alphas
        Penalties of the ridge regression to choose from.
    folds
        Inner folds over training patients that predict the expression of training spots.
    """

    modalities: Annotated[Sequence[str], some_of(MODALITIES)] = ("image",)
    trees: Count = 100
    alphas: Penalties = (10.0, 100.0, 1e3, 1e4, 1e5, 1e6)
    folds: Folds = 4

    def prepare(self, train: Sequence[SectionData], context: Context) -> list[np.ndarray]:
        """Predict the expression of every training spot without its patient, where that is asked for.

        Raises
        ------
        UserError
            Unknown modality, or none.
        """
        unknown = set(self.modalities) - set(MODALITIES)
        if unknown or not self.modalities:
            found = min(unknown, default="(none)")
            raise UserError(f"modalities {found!r}: choose from {', '.join(MODALITIES)}.")
        predicted = None
        if "predicted" in self.modalities:
            features = stacked(train, "features")
            targets = training_targets(train)
            _, groups = inner_groups(train)
            predicted = np.empty_like(targets)
            # with a single group there is nobody else to predict it from
            everyone = np.arange(len(targets))
            for learn, held in inner_folds(groups, self.folds) or [(everyone, everyone)]:
                fit, _ = fit_ridge(features[learn], targets[learn], groups[learn], self.alphas)
                predicted[held] = fit.predict(features[held])
            fit, _ = fit_ridge(features, targets, groups, self.alphas)
            self.learnt.update(weight=fit.weight, bias=fit.bias, alpha=np.array(fit.alpha))
        ends = np.cumsum([len(section) for section in train])[:-1]
        parts = [None] * len(train) if predicted is None else np.split(predicted, ends)
        return [self._join(section, part) for section, part in zip(train, parts, strict=True)]

    def stored(self, extent: Extent) -> int:
        """Return the bytes of the regression that predicts expression, where that is asked for."""
        return 8 * extent.features * extent.genes if "predicted" in self.modalities else 0

    def stored_per_spot(self, extent: Extent) -> float:
        """Return the bytes of trees on two labels, which take fewer leaves than expression does."""
        return self.trees * (20 * 0.4 + 6)

    def _join(self, section: SectionData, predicted: np.ndarray | None) -> np.ndarray:
        fields = {"image": "features", "observed": "targets"}
        parts = [
            predicted if name == "predicted" else require(section, fields[name])
            for name in MODALITIES
            if name in self.modalities
        ]
        return np.concatenate(parts, axis=1).astype(np.float32)  # type: ignore[arg-type]

    def describe(self, section: SectionData) -> np.ndarray:
        """Join the descriptions of each spot."""
        predicted = None
        if "predicted" in self.modalities:
            learnt = self.learnt
            ridge = Ridge(learnt["weight"], learnt["bias"], float(learnt["alpha"]))
            predicted = ridge.predict(require(section, "features"))
        return self._join(section, predicted)

    def learn(
        self, rows: np.ndarray, labels: np.ndarray, groups: np.ndarray, context: Context
    ) -> TrainingLog:
        """Grow the forest."""
        forest, told = _forest(rows, labels, self.trees, context.seed)
        self.learnt.update({f"{PREFIX}{name}": values for name, values in forest.learnt.items()})
        told.facts["n_numbers"] = rows.shape[1]
        return told

    def score(self, rows: np.ndarray) -> np.ndarray:
        """Ask the forest."""
        forest = RandomForest(self.trees)
        forest.keep(**{k.removeprefix(PREFIX): v for k, v in self.learnt.items() if k.startswith(PREFIX)})
        return _ask(forest, rows)
