"""Control: nine colour moments of the patch and ridge regression. How much needs no deep learning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from histobench.bounds import Penalties
from histobench.training.contract import Context, Prediction, SectionData, TrainingLog
from histobench.training.groups import inner_groups
from histobench.training.ridge import Ridge, fit_ridge
from histobench.training.store import in_order, load_arrays, require, save_arrays, training_targets


def colour_moments(patches: Any, block: int = 64) -> np.ndarray:
    """Return mean, sd and skewness of each colour channel.

    Parameters
    ----------
    patches
        uint8, (spots, height, width, 3), an array or a view that reads lazily.
    block
        Patches to hold in memory at a time.

    Returns
    -------
    numpy.ndarray
        float64, (spots, 9): three means and three standard deviations in grey levels, then three
        skewnesses (0 for a channel without any contrast).
    """
    moments = np.empty((len(patches), 9))
    for start in range(0, len(patches), block):
        part = np.asarray(patches[start : start + block])
        pixels = part.reshape(len(part), -1, 3).astype(np.float32)
        mean = pixels.mean(axis=1, dtype=np.float64)
        pixels -= mean[:, None].astype(np.float32)
        squares = pixels * pixels
        sd = np.sqrt(squares.mean(axis=1, dtype=np.float64))
        third = (squares * pixels).mean(axis=1, dtype=np.float64)
        # Below a hundredth of a grey level there is no contrast to speak of, only rounding.
        skew = np.where(sd > 0.01, third / np.maximum(sd, 0.01) ** 3, 0.0)
        moments[start : start + len(part)] = np.concatenate([mean, sd, skew], axis=1)
    return moments


class ColourRidge:
    """Ridge regression from colour moments to expression.

    Parameters
    ----------
    alphas
        Penalties to choose from, on standardised moments, by leaving out patients.
    """

    def __init__(self, alphas: Penalties = (0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0)) -> None:
        self.alphas = alphas

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Fit on all training spots; the penalty comes from leaving out training patients."""
        train = in_order(train)
        moments = np.concatenate([colour_moments(require(section, "patches")) for section in train])
        unit, groups = inner_groups(train)
        self._fit, scores = fit_ridge(moments, training_targets(train), groups, self.alphas)
        history: list[dict[str, float | int | str]] = [
            {"stage": "penalty", "alpha": alpha, "valid_mse": mse} for alpha, mse in scores.items()
        ]
        parameters = self._fit.weight.size + self._fit.bias.size
        facts = {"parameters": parameters, "alpha": self._fit.alpha, "selection_unit": unit}
        return TrainingLog(history, facts)  # type: ignore[arg-type]

    def predict(self, section: SectionData) -> Prediction:
        """Predict from the colours of each patch."""
        moments = colour_moments(require(section, "patches"))
        return Prediction(self._fit.predict(moments), embedding=moments.astype(np.float32))

    def save(self, folder: Path) -> None:
        """Write the coefficients."""
        save_arrays(folder, weight=self._fit.weight, bias=self._fit.bias, alpha=np.array(self._fit.alpha))

    def load(self, folder: Path) -> None:
        """Read the coefficients."""
        stored = load_arrays(folder)
        self._fit = Ridge(stored["weight"], stored["bias"], float(stored["alpha"]))
