"""Oracle: each gene is regressed on the spot's log total UMI. What sequencing depth alone is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from histobench.training.contract import Context, Prediction, SectionData, TrainingLog
from histobench.training.declared import ArrayMethod
from histobench.training.store import in_order, require, training_targets


def log_depth(section: SectionData) -> np.ndarray:
    """Return ln of the UMIs of each spot, (spots,); a spot without any counts as one."""
    depth: np.ndarray = np.log(np.maximum(require(section, "total_counts"), 1.0))
    return depth


@dataclass(frozen=True)
class Depth(ArrayMethod):
    """A straight line per gene: slope and intercept from training patients, depth from the test spot."""

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Fit by least squares over all training spots."""
        train = in_order(train)
        x = np.concatenate([log_depth(section) for section in train])
        y = training_targets(train).astype(np.float64)
        centred = x - x.mean()
        spread = centred @ centred
        slope = centred @ y / spread if spread > 0 else np.zeros(y.shape[1])
        self.keep(slope=slope, intercept=y.mean(axis=0) - slope * x.mean())
        return TrainingLog(facts={"parameters": 2 * y.shape[1]})

    def predict(self, section: SectionData) -> Prediction:
        """Evaluate the lines at the observed depth of each spot."""
        values = log_depth(section)[:, None] * self.learnt["slope"] + self.learnt["intercept"]
        return Prediction(values.astype(np.float32))
