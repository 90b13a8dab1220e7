"""What tumour classifiers share: labelled training spots in, a probability of tumour out.

They have no opinion on expression and predict the training mean of every gene, so that the contract holds;
their results are the tumour metrics.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from histobench.training.contract import Context, Prediction, SectionData, TrainingLog
from histobench.training.declared import ArrayMethod
from histobench.training.groups import inner_groups
from histobench.training.store import column_means, constant, in_order, require, stacked, training_targets


class TumourClassifier(ArrayMethod, ABC):
    """Base of classifiers on one row of numbers per spot.

    A subclass says how to learn from rows with both labels, and how to score rows. Without any label there
    is no probability; with one kind of label only it is that label, everywhere.
    """

    def describe(self, section: SectionData) -> np.ndarray:
        """Return float32 (spots, numbers); the frozen features unless a subclass says otherwise."""
        return np.asarray(require(section, "features"), np.float32)

    def prepare(self, train: Sequence[SectionData], context: Context) -> list[np.ndarray]:
        """Return what :meth:`describe` gives of each training section; a place to learn it first."""
        return [self.describe(section) for section in train]

    @abstractmethod
    def learn(
        self, rows: np.ndarray, labels: np.ndarray, groups: np.ndarray, context: Context
    ) -> TrainingLog:
        """Learn from rows of both labels, and add it to ``learnt``; no inner split may tear a group apart."""

    @abstractmethod
    def score(self, rows: np.ndarray) -> np.ndarray:
        """Return the probability of tumour, (spots,)."""

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Learn from the labelled training spots."""
        train = in_order(train)
        labels = stacked(train, "labels")
        known = np.isfinite(labels)
        share = float(labels[known].mean()) if known.any() else float("nan")
        self.keep(tumour_mean=column_means(training_targets(train)), tumour_share=share)
        told = TrainingLog()
        if self._has_learnt():
            unit, groups = inner_groups(train)
            rows = np.concatenate(self.prepare(train, context))
            told = self.learn(rows[known], labels[known].astype(np.int64), groups[known], context)
            told.facts["selection_unit"] = unit
        told.facts.setdefault("parameters", 0)
        told.facts["n_labelled"] = int(known.sum())
        told.facts["n_tumour"] = int((labels == 1).sum())
        return told

    def _has_learnt(self) -> bool:
        return bool(0.0 < self.learnt["tumour_share"] < 1.0)  # False for NaN

    def predict(self, section: SectionData) -> Prediction:
        """Score each spot; expression is the training mean."""
        probability = None
        if self._has_learnt():
            scored = self.score(self.describe(section))
            probability = np.clip(scored, 0.0, 1.0).astype(np.float32)
        elif np.isfinite(share := float(self.learnt["tumour_share"])):
            probability = np.full(len(section), share, np.float32)
        return Prediction(constant(self.learnt["tumour_mean"], len(section)), tumour_probability=probability)
