"""Real spot positions of every cohort of the default run, excerpts that say in their heads where they are from."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).parents[1] / "data" / "coordinates"
CSCC = ("P2_rep1", "P5_rep1", "P9_rep1", "P10_rep1")
VISIUM = ("visium_breast_S1", "dlpfc_151507", "dlpfc_151673")


def read(name: str, **options) -> pd.DataFrame:
    """Read an excerpt without its head."""
    lines = [line for line in (FOLDER / name).read_text().splitlines() if not line.startswith("#")]
    return pd.read_csv(io.StringIO("\n".join(lines)), **options)


def cscc(section: str) -> pd.DataFrame:
    """Positions of a section of the skin cancer cohort, by spot."""
    table = read(f"cscc_{section}.tsv", sep="\t", index_col="spot")
    names = table.index.str.split("x", expand=True).to_frame(index=False).astype(float)
    return table.assign(array_x=names[0].to_numpy(), array_y=names[1].to_numpy())


def her2st(section: str, *, whole: bool = False) -> pd.DataFrame:
    """Positions of a section of the HER2+ cohort; ``whole``: numbers of the array, as HBCIS publishes them."""
    table = read(f"her2st_{section}.tsv", sep="\t")
    table.index = [f"{x}x{y}" for x, y in zip(table.x, table.y, strict=True)]
    columns = ("x", "y") if whole else ("new_x", "new_y")
    return table.assign(array_x=table[columns[0]].astype(float), array_y=table[columns[1]].astype(float))


def visium(name: str) -> pd.DataFrame:
    """Positions of a Visium section, by barcode."""
    table = read(f"{name}.csv", header=None, index_col=0)
    table.columns = ["in_tissue", "array_y", "array_x", "pixel_y", "pixel_x"]
    return table.astype(float)
