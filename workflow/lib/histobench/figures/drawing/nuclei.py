"""Nuclei of spots beside what was measured there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from histobench.figures.drawing.declare import Inputs
from histobench.figures.drawing.sources import Predicted, as_list, read_predictions
from histobench.files import read_table

# Column of a table of nuclei -> how it is printed.
FEATURES = {
    "n_nuclei": "number of nuclei",
    "density": "nuclei per mm²",
    "area_share": "share covered",
    "haematoxylin": "haematoxylin",
    "area": "mean area",
    "area_sd": "sd of areas",
    "major_axis": "major axis",
    "minor_axis": "minor axis",
    "axis_ratio": "major / minor axis",
    "mean_red": "red",
    "mean_green": "green",
    "mean_blue": "blue",
    "max_distance": "farthest neighbour",
    "mean_distance": "mean distance",
    "min_distance": "nearest neighbour",
}
LEAST = 10


def read_nuclei(inputs: Inputs) -> list[tuple[Predicted, pd.DataFrame]]:
    """Read sections and the nuclei of their spots, in the order of the spots; spots without are NaN.

    Inputs are ``predictions`` and ``nuclei``.
    """
    tables = {path.stem: path for path in as_list(inputs["nuclei"])}
    found = []
    for one in read_predictions(inputs["predictions"]):
        if one.section in tables:
            nuclei = read_table(tables[one.section]).astype({"spot": str}).set_index("spot")
            found.append((one, nuclei.reindex(one.spots.index.astype(str))))
    return found


def correlations(sections: Sequence[tuple[Predicted, pd.DataFrame]]) -> pd.DataFrame:
    """Return patient, section, gene, feature, r over the spots with both; sections of 10 spots at least."""
    blocks = []
    for one, nuclei in sections:
        for feature in FEATURES:
            values = nuclei[feature].to_numpy(float)
            keep = np.isfinite(values)
            if keep.sum() < LEAST or np.ptp(values[keep]) == 0:
                continue
            x = values[keep] - values[keep].mean()
            y = one.truth[keep] - one.truth[keep].mean(axis=0)
            size = np.sqrt((x**2).sum() * (y**2).sum(axis=0))
            with np.errstate(invalid="ignore", divide="ignore"):
                r = np.where(size > 0, (x @ y) / size, np.nan)
            patient = str(one.spots["patient"].iloc[0])
            blocks.append(pd.DataFrame({"patient": patient, "section": one.section, "gene": one.genes,
                                        "feature": feature, "r": r}))  # fmt: skip
    columns = ["patient", "section", "gene", "feature", "r"]
    return pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame(columns=columns)
