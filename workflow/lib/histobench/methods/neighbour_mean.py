"""Oracle: every spot gets the observed mean of its grid neighbours. What smoothness alone is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from histobench.bounds import one_of
from histobench.errors import UserError
from histobench.imaging.grid import neighbour_pairs
from histobench.training.contract import Context, Prediction, SectionData, TrainingLog
from histobench.training.declared import ArrayMethod
from histobench.training.store import column_means, constant, in_order, require, training_targets


@dataclass(frozen=True)
class NeighbourMean(ArrayMethod):
    """Predict the mean of the observed targets of neighbouring spots, without the spot itself.

    Parameters
    ----------
    neighbours
        4 (shared edges, as in ST-Net's released script) or 8 (shared corners, too). On other grids than a
        square one 4 stands for the neighbours at one pitch, of which a hexagonal array has six, and 8 for
        what corresponds to the block of 3 x 3 (:mod:`histobench.imaging.grid`). A spot without any gets the
        training mean.
    """

    neighbours: Annotated[int, one_of((4, 8))] = 4

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Keep the training mean, for isolated spots."""
        if self.neighbours not in (4, 8):
            raise UserError(f"neighbours {self.neighbours}: choose 4 or 8.")
        self.keep(mean=column_means(training_targets(in_order(train))))
        return TrainingLog(facts={"parameters": len(self.learnt["mean"])})

    def predict(self, section: SectionData) -> Prediction:
        """Average over the neighbours of each spot."""
        from scipy import sparse

        targets = require(section, "targets")
        n = len(section)
        x, y = (section.spots[name].to_numpy(float) for name in ("array_x", "array_y"))
        spots, others = neighbour_pairs(section.grid, x, y, block=self.neighbours == 8)
        links = sparse.csr_matrix((np.ones(len(spots)), (spots, others)), shape=(n, n))
        number = np.asarray(links.sum(axis=1)).ravel()
        means = (links @ targets.astype(np.float64)) / np.maximum(number, 1)[:, None]
        alone = constant(self.learnt["mean"], n)
        return Prediction(np.where(number[:, None] > 0, means, alone).astype(np.float32))
