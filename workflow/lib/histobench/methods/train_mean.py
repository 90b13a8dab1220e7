"""Control: every spot gets the mean of the training spots. The reference of RMSE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from histobench.training.contract import Context, Prediction, SectionData, TrainingLog
from histobench.training.declared import ArrayMethod
from histobench.training.store import column_means, constant, in_order, training_targets


@dataclass(frozen=True)
class TrainMean(ArrayMethod):
    """Predict the training mean of each gene, whatever the image shows."""

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Take the mean over all training spots."""
        self.keep(mean=column_means(training_targets(in_order(train))))
        return TrainingLog(facts={"parameters": len(self.learnt["mean"])})

    def predict(self, section: SectionData) -> Prediction:
        """Repeat the mean."""
        return Prediction(constant(self.learnt["mean"], len(section)))
