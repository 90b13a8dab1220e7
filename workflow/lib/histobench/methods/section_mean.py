"""Oracle: every spot gets the observed mean of its own section. What recognising the section is worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from histobench.training.contract import Context, Prediction, SectionData, TrainingLog
from histobench.training.store import column_means, constant, require, save_arrays


class SectionMean:
    """Predict the mean of the section's own targets; constant within a section, so r is 0 there."""

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Learn nothing."""
        return TrainingLog()

    def predict(self, section: SectionData) -> Prediction:
        """Repeat the observed mean of the section."""
        return Prediction(constant(column_means(require(section, "targets")), len(section)))

    def save(self, folder: Path) -> None:
        """Write an empty archive: there is nothing to keep."""
        save_arrays(folder)

    def load(self, folder: Path) -> None:
        """Read nothing."""
