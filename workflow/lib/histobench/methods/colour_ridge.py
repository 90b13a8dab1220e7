"""Control: nine colour moments of the patch and ridge regression. How much needs no deep learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from histobench.bounds import Penalties
from histobench.methods.ridge_probe import RidgeProbe
from histobench.training.contract import Prediction, SectionData
from histobench.training.store import require


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


@dataclass(frozen=True)
class ColourRidge(RidgeProbe):
    """Ridge regression from colour moments to expression.

    Parameters
    ----------
    alphas
        Penalties to choose from, on standardised moments, by leaving out patients.
    """

    alphas: Penalties = (0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0)

    def describe(self, section: SectionData) -> np.ndarray:
        """Return the colour moments of each patch, (spots, 9)."""
        return colour_moments(require(section, "patches"))

    def predict(self, section: SectionData) -> Prediction:
        """Predict from the colours of each patch, which are the embedding."""
        moments = self.describe(section)
        return Prediction(self.apply(moments), embedding=moments.astype(np.float32))
