"""Which spots lie beside which on the array, and carry the same label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from histobench.imaging.grid import GRIDS, neighbour_pairs

if TYPE_CHECKING:
    from histobench.training.contract import SectionData


@dataclass(frozen=True)
class NeighbourTable:
    """The neighbours of every spot.

    Attributes
    ----------
    numbers
        int64, (spots, places): numbers of the neighbours, -1 where there is none. There are eight places (the
        block of 3 x 3), six where all sections are hexagonal, or more where spots share a place or crowd.
    alike
        bool, (spots, places): there is a neighbour, and spot and neighbour have the same known label.
    """

    numbers: np.ndarray
    alike: np.ndarray


def neighbour_table(sections: Sequence[SectionData], labels: np.ndarray) -> NeighbourTable:
    """Find the neighbours within each section; spots are numbered through the sections.

    Parameters
    ----------
    sections
        Neighbours follow from their array positions and their kind of grid.
    labels
        (spots,) of all sections: 1, 0, or NaN for unknown, which is like nothing.
    """
    rows, columns, first = [], [], 0
    for section in sections:
        x, y = (section.spots[name].to_numpy() for name in ("array_x", "array_y"))
        spot, other = neighbour_pairs(section.grid, x, y, block=True)
        rows.append(spot + first)
        columns.append(other + first)
        first += len(section)
    row, column = np.concatenate(rows), np.concatenate(columns)
    order = np.lexsort((column, row))
    row, column = row[order], column[order]
    degree = np.bincount(row, minlength=first)
    place = np.arange(len(row)) - np.repeat(np.cumsum(degree) - degree, degree)
    places = max(len(GRIDS[section.grid].block) for section in sections)
    numbers = np.full((first, max(places, int(degree.max(initial=0)))), -1, np.int64)
    numbers[row, place] = column
    values = np.asarray(labels, np.float64)
    alike = (numbers >= 0) & (values[numbers] == values[:, None])  # NaN equals nothing
    return NeighbourTable(numbers, alike)
