"""Oracle: each gene is regressed on the spot's log total UMI. What sequencing depth alone is worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from histobench.training.contract import Context, Prediction, SectionData, TrainingLog
from histobench.training.store import in_order, load_arrays, require, save_arrays, training_targets


def log_depth(section: SectionData) -> np.ndarray:
    """Return ln of the UMIs of each spot, (spots,); a spot without any counts as one."""
    depth: np.ndarray = np.log(np.maximum(require(section, "total_counts"), 1.0))
    return depth


class Depth:
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
        self._slope = centred @ y / spread if spread > 0 else np.zeros(y.shape[1])
        self._intercept = y.mean(axis=0) - self._slope * x.mean()
        return TrainingLog(facts={"parameters": 2 * y.shape[1]})

    def predict(self, section: SectionData) -> Prediction:
        """Evaluate the lines at the observed depth of each spot."""
        return Prediction((log_depth(section)[:, None] * self._slope + self._intercept).astype(np.float32))

    def save(self, folder: Path) -> None:
        """Write slopes and intercepts."""
        save_arrays(folder, slope=self._slope, intercept=self._intercept)

    def load(self, folder: Path) -> None:
        """Read slopes and intercepts."""
        stored = load_arrays(folder)
        self._slope, self._intercept = stored["slope"], stored["intercept"]
