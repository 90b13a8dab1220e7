"""Oracle: every spot gets the observed mean of its own section. What recognising the section is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from histobench.training.contract import Context, Prediction, SectionData, TrainingLog
from histobench.training.declared import ArrayMethod
from histobench.training.store import column_means, constant, require


@dataclass(frozen=True)
class SectionMean(ArrayMethod):
    """Predict the mean of the section's own targets; constant within a section, so r is 0 there."""

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Learn nothing."""
        return TrainingLog()

    def predict(self, section: SectionData) -> Prediction:
        """Repeat the observed mean of the section."""
        return Prediction(constant(column_means(require(section, "targets")), len(section)))
