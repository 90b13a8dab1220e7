"""CGL-Linear: affine regression on frozen features that weighs what varies within sections.

After the abstract of Nguyen et al. 2026; see :mod:`histobench.training.component_guided`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from histobench.bounds import Fractions, Penalties, one_of
from histobench.methods.ridge_probe import RidgeProbe
from histobench.training.component_guided import fit_component_guided
from histobench.training.contract import Context, SectionData, TrainingLog
from histobench.training.groups import inner_groups
from histobench.training.store import in_order, training_targets


@dataclass(frozen=True)
class CGLLinear(RidgeProbe):
    """Closed-form regression whose error between sections counts less than that within them.

    Parameters
    ----------
    alphas
        Penalties to choose from, on features divided by their standard deviation within sections.
    rhos
        Weights of the error between sections to choose from: 1 is ridge regression, 0 centres each section.
    group
        What the error is split by: "section" or "patient".
    weights
        "spots", as in the squared error, or "equal": each section counts once.
    """

    alphas: Penalties = (10.0, 100.0, 1e3, 1e4, 1e5, 1e6)
    rhos: Fractions = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
    group: Annotated[str, one_of(("section", "patient"))] = "section"
    weights: Annotated[str, one_of(("spots", "equal"))] = "spots"

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Fit on all training spots; weight and penalty come from leaving out training patients."""
        train = in_order(train)
        described = np.concatenate([self.describe(section) for section in train])
        names = [getattr(section, self.group) for section in train]
        split = np.repeat(names, [len(section) for section in train]).astype(str)
        unit, groups = inner_groups(train)
        fit, chosen = fit_component_guided(
            described,
            training_targets(train),
            split,
            groups,
            self.alphas,
            self.rhos,
            equal=self.weights == "equal",
        )
        self.keep(weight=fit.weight, bias=fit.bias, alpha=fit.alpha)
        return TrainingLog(
            [
                {"stage": "penalty", "rho": rho, "alpha": alpha, "valid_pearson": r}
                for (rho, alpha), r in chosen.scores.items()
            ],
            {
                "parameters": fit.weight.size + fit.bias.size,
                "alpha": fit.alpha,
                "rho": chosen.rho,
                "rho_is": "chosen" if chosen.free else "fixed, since there are too few sections to choose on",
                "selection_unit": unit,
            },
        )
