"""The probe of HEST-bench: principal components of frozen features, and ridge regression on them.

Jaume et al. 2024 (HEST-1k) compare encoders by it. As published the penalty is fixed and practically zero,
and there is no intercept; the harmonised form has one and chooses the penalty by leaving out patients.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from histobench.bounds import Count, Penalties
from histobench.methods.ridge_probe import RidgeProbe
from histobench.training.contract import Context, SectionData, TrainingLog
from histobench.training.groups import inner_groups
from histobench.training.ridge import Solver, fit_ridge, solve, solve_components
from histobench.training.store import in_order, training_targets


def published_penalty(width: int, genes: int) -> float:
    """Return the penalty of HEST-bench for so many components (or features) and genes."""
    return 100.0 / (width * genes)


@dataclass(frozen=True)
class HestProbe(RidgeProbe):
    """Ridge regression on principal components of standardised features.

    Parameters
    ----------
    components
        Components that are kept, at most; None for ridge regression on the features themselves.
    alphas
        Penalties to choose from, by leaving out training patients; None for the published rule, 100 divided
        by components (features, without components) and genes.
    intercept
        Without it predictions have the mean zero over training spots, which leaves correlations as they are.
    """

    alphas: Penalties | None = (1e-2, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6)  # type: ignore[assignment]
    components: Count | None = 256
    intercept: bool = True

    def kept(self, width: int) -> int:
        """Return how many components of so many features are kept, at most."""
        return min(self.components or width, width)

    def solver(self, width: int) -> Solver:
        """Return ridge regression on components, or on features themselves where all is as usual."""
        if self.components is None and self.intercept:
            return solve
        return functools.partial(solve_components, components=self.kept(width), intercept=self.intercept)

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Fit on all training spots, which alone decide scaling and components."""
        train = in_order(train)
        described = np.concatenate([self.describe(section) for section in train])
        targets = training_targets(train)
        width = self.kept(described.shape[1])
        alphas = self.alphas or (published_penalty(width, targets.shape[1]),)
        unit, groups = inner_groups(train)
        fit, scores = fit_ridge(described, targets, groups, alphas, self.solver(described.shape[1]))
        self.keep(weight=fit.weight, bias=fit.bias, alpha=fit.alpha)
        return TrainingLog(
            [{"stage": "penalty", "alpha": alpha, "valid_mse": mse} for alpha, mse in scores.items()],
            {
                "parameters": fit.weight.size + fit.bias.size,
                "alpha": fit.alpha,
                "components": min(width, max(len(described) - 1, 1)),
                "selection_unit": unit if scores else "none",
            },
        )
