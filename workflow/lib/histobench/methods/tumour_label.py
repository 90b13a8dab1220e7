"""Oracle: the training mean of tumour or of other spots, by the spot's own label.

ST-Net's pathologist baseline (He et al. 2020): how much is the contrast of tumour and normal tissue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from histobench.training.contract import Context, Prediction, SectionData, TrainingLog
from histobench.training.declared import ArrayMethod
from histobench.training.store import column_means, in_order, require, stacked, training_targets


@dataclass(frozen=True)
class TumourLabel(ArrayMethod):
    """Predict the mean of the training spots that carry the same label.

    A spot without a label gets the mean of all training spots; so does a label that no training spot
    carries.
    """

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Average training spots by label."""
        train = in_order(train)
        targets = training_targets(train)
        labels = stacked(train, "labels")
        everything = column_means(targets)
        rows = [
            column_means(targets[labels == value]) if (labels == value).any() else everything
            for value in (0, 1)
        ]
        self.keep(means=np.stack([*rows, everything]))  # other, tumour, unknown
        return TrainingLog(
            facts={
                "parameters": self.learnt["means"].size,
                "n_train_tumour": int((labels == 1).sum()),
                "n_train_other": int((labels == 0).sum()),
                "n_train_unlabelled": int(np.isnan(labels).sum()),
            }
        )

    def predict(self, section: SectionData) -> Prediction:
        """Look up the mean of each spot's label."""
        labels = require(section, "labels")
        row = np.where(labels == 1, 1, np.where(labels == 0, 0, 2))
        return Prediction(self.learnt["means"][row].astype(np.float32))
