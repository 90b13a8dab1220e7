"""Oracle: every spot gets the observed mean of its grid neighbours. What smoothness alone is worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from histobench.errors import UserError
from histobench.methods.contract import Context, Prediction, SectionData, TrainingLog
from histobench.methods.store import (
    column_means,
    constant,
    in_order,
    load_arrays,
    require,
    save_arrays,
    training_targets,
)

_EDGES = ((-1, 0), (1, 0), (0, -1), (0, 1))
_CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))


def grid_neighbours(
    array_x: np.ndarray, array_y: np.ndarray, count: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs (spot, neighbour) of spots that touch on the square grid.

    Parameters
    ----------
    array_x, array_y
        Grid coordinates, (spots,); rounded, because adjusted coordinates are fractional.
    count
        4 for shared edges, 8 for shared corners too.
    """
    place = {(x, y): row for row, (x, y) in enumerate(zip(np.rint(array_x), np.rint(array_y), strict=True))}
    steps = _EDGES if count == 4 else _EDGES + _CORNERS
    pairs = [
        (row, place[x + dx, y + dy])
        for (x, y), row in place.items()
        for dx, dy in steps
        if (x + dx, y + dy) in place
    ]
    found = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


class NeighbourMean:
    """Predict the mean of the observed targets of neighbouring spots, without the spot itself.

    Parameters
    ----------
    neighbours
        4 (shared edges, as in ST-Net's released script) or 8. A spot without any gets the training mean.
    """

    def __init__(self, neighbours: int = 4) -> None:
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
        spots, others = grid_neighbours(
            section.spots["array_x"].to_numpy(float),
            section.spots["array_y"].to_numpy(float),
            self.neighbours,
        )
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
