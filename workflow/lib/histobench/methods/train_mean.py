"""Control: every spot gets the mean of the training spots. The reference of RMSE."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from histobench.training.contract import Context, Prediction, SectionData, TrainingLog
from histobench.training.store import (
    column_means,
    constant,
    in_order,
    load_arrays,
    save_arrays,
    training_targets,
)


class TrainMean:
    """Predict the training mean of each gene, whatever the image shows."""

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Take the mean over all training spots."""
        self._mean = column_means(training_targets(in_order(train)))
        return TrainingLog(facts={"parameters": len(self._mean)})

    def predict(self, section: SectionData) -> Prediction:
        """Repeat the mean."""
        return Prediction(constant(self._mean, len(section)))

    def save(self, folder: Path) -> None:
        """Write the mean."""
        save_arrays(folder, mean=self._mean)

    def load(self, folder: Path) -> None:
        """Read the mean."""
        self._mean = load_arrays(folder)["mean"]
