"""Linear probe in closed form: ridge regression on frozen features.

The second arm of the linear probe of Chen et al. 2024 (HE2Gene); the first, trained by gradient descent,
is :mod:`histobench.methods.linear_probe`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from histobench.bounds import Penalties
from histobench.training.contract import Context, Extent, Prediction, SectionData, TrainingLog
from histobench.training.declared import ArrayMethod
from histobench.training.groups import inner_groups
from histobench.training.ridge import Ridge, Solver, fit_ridge, refit, solve
from histobench.training.store import in_order, require, training_targets


@dataclass(frozen=True)
class RidgeProbe(ArrayMethod):
    """Ridge regression on frozen features.

    Parameters
    ----------
    alphas
        Penalties to choose from, on standardised features, by leaving out training patients.
    """

    alphas: Penalties = (10.0, 100.0, 1e3, 1e4, 1e5, 1e6)

    def describe(self, section: SectionData) -> np.ndarray:
        """Return numbers of each spot, (spots, numbers): the frozen features."""
        return require(section, "features")

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Fit on all training spots; the penalty comes from leaving out training patients."""
        train = in_order(train)
        described = np.concatenate([self.describe(section) for section in train])
        unit, groups = inner_groups(train)
        fit, scores = fit_ridge(described, training_targets(train), groups, self.alphas)
        self.keep(weight=fit.weight, bias=fit.bias, alpha=fit.alpha)
        return TrainingLog(
            [{"stage": "penalty", "alpha": alpha, "valid_mse": mse} for alpha, mse in scores.items()],
            {"parameters": fit.weight.size + fit.bias.size, "alpha": fit.alpha, "selection_unit": unit},
        )

    def stored(self, extent: Extent) -> int:
        """Return the bytes of the coefficients, which are float64."""
        return 8 * (extent.features + 1) * extent.genes

    def solver(self, width: int) -> Solver:
        """Return what fits a ridge of so many numbers per spot to sums over spots."""
        return solve

    def refit(self, train: Sequence[SectionData], targets: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Fit other targets of the same spots, at the penalty that ``fit`` chose.

        Parameters
        ----------
        train
            Training sections.
        targets
            Each (spots, genes), spots numbered through the sections in the order given.

        Yields
        ------
        numpy.ndarray
            Weights of each, (numbers, genes).
        """
        described = np.concatenate([self.describe(section) for section in train])
        alpha, solver = float(self.learnt["alpha"]), self.solver(described.shape[1])
        return (fit.weight for fit in refit(described, targets, alpha, solver))

    def predict(self, section: SectionData) -> Prediction:
        """Predict from the numbers of each spot."""
        return Prediction(self.apply(self.describe(section)))

    def apply(self, described: np.ndarray) -> np.ndarray:
        """Apply the regression: float32, (spots, genes)."""
        learnt = self.learnt
        return Ridge(learnt["weight"], learnt["bias"], float(learnt["alpha"])).predict(described)
