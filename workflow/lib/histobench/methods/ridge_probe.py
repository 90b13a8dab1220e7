"""Linear probe in closed form: ridge regression on frozen features.

The second arm of the linear probe of Chen et al. 2024 (HE2Gene); the first, trained by gradient descent,
is :mod:`histobench.methods.linear_probe`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from histobench.bounds import Penalties
from histobench.training.contract import Context, Prediction, SectionData, TrainingLog
from histobench.training.groups import inner_groups
from histobench.training.ridge import Ridge, fit_ridge
from histobench.training.store import in_order, load_arrays, require, save_arrays, training_targets


class RidgeProbe:
    """Ridge regression on frozen features.

    Parameters
    ----------
    alphas
        Penalties to choose from, on standardised features, by leaving out training patients.
    """

    def __init__(self, alphas: Penalties = (10.0, 100.0, 1e3, 1e4, 1e5, 1e6)) -> None:
        self.alphas = alphas

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Fit on all training spots; the penalty comes from leaving out training patients."""
        train = in_order(train)
        features = np.concatenate([require(section, "features") for section in train])
        unit, groups = inner_groups(train)
        self._fit, scores = fit_ridge(features, training_targets(train), groups, self.alphas)
        parameters = self._fit.weight.size + self._fit.bias.size
        return TrainingLog(
            [{"stage": "penalty", "alpha": alpha, "valid_mse": mse} for alpha, mse in scores.items()],
            {"parameters": parameters, "alpha": self._fit.alpha, "selection_unit": unit},
        )

    def predict(self, section: SectionData) -> Prediction:
        """Predict from the features of each spot."""
        return Prediction(self._fit.predict(require(section, "features")))

    def save(self, folder: Path) -> None:
        """Write the coefficients."""
        save_arrays(folder, weight=self._fit.weight, bias=self._fit.bias, alpha=np.array(self._fit.alpha))

    def load(self, folder: Path) -> None:
        """Read the coefficients."""
        stored = load_arrays(folder)
        self._fit = Ridge(stored["weight"], stored["bias"], float(stored["alpha"]))
