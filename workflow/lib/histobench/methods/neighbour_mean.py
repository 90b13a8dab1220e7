"""Oracle: every spot gets the observed mean of its grid neighbours. What smoothness alone is worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np

from histobench.bounds import one_of
from histobench.errors import UserError
from histobench.imaging.grid import neighbour_pairs
from histobench.training.contract import Context, Prediction, SectionData, TrainingLog
from histobench.training.store import (
    column_means,
    constant,
    in_order,
    load_arrays,
    require,
    save_arrays,
    training_targets,
)


class NeighbourMean:
    """Predict the mean of the observed targets of neighbouring spots, without the spot itself.

    Parameters
    ----------
    neighbours
        4 (shared edges, as in ST-Net's released script) or 8 (shared corners, too). On other grids than a
        square one 4 stands for the neighbours at one pitch, of which a hexagonal array has six, and 8 for
        what corresponds to the block of 3 x 3 (:mod:`histobench.imaging.grid`). A spot without any gets the
        training mean.
    """

    def __init__(self, neighbours: Annotated[int, one_of((4, 8))] = 4) -> None:
        self.neighbours = neighbours

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Keep the training mean, for isolated spots."""
        if self.neighbours not in (4, 8):
            raise UserError(f"neighbours {self.neighbours}: choose 4 or 8.")
        self._mean = column_means(training_targets(in_order(train)))
        return TrainingLog(facts={"parameters": len(self._mean)})

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
        return Prediction(np.where(number[:, None] > 0, means, constant(self._mean, n)).astype(np.float32))

    def save(self, folder: Path) -> None:
        """Write the training mean."""
        save_arrays(folder, mean=self._mean)

    def load(self, folder: Path) -> None:
        """Read the training mean."""
        self._mean = load_arrays(folder)["mean"]
