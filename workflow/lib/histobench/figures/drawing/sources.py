"""Reading what figures are drawn from besides tables: predictions, metric files and spot files of runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from histobench.errors import UserError
from histobench.figures.drawing.settings import base_name
from histobench.figures.drawing.style import NothingToDraw
from histobench.files import read_results, read_table, reading
from histobench.imaging.patchview import PatchView, window_pixels

NO_LABEL = ("", "undetermined", "nan")


@dataclass(frozen=True)
class Predicted:
    """One predicted section: (spots, genes) arrays on the scale of the targets, and what is known of spots.

    ``spots`` is indexed by spot and has ``pixel_x``, ``pixel_y``, ``patient``, ``section``, ``label``
    ("" where there is none) and ``tumour`` (1, 0, NaN).
    """

    method: str
    genes: list[str]
    truth: np.ndarray
    prediction: np.ndarray
    spots: pd.DataFrame
    um_per_px: float
    embedding: np.ndarray | None = None

    @property
    def section(self) -> str:
        """Name of the section."""
        return str(self.spots["section"].iloc[0])

    def column(self, gene: str) -> int:
        """Place of a gene in the panel."""
        return self.genes.index(gene)

    def of_gene(self, gene: str) -> pd.DataFrame:
        """Return one gene ``measured`` and ``predicted`` on the scale of the targets, a row per spot.

        Beside it stand method, patient, section, gene, spot, pixel_x, pixel_y (pixels of the image), label.
        """
        place, spots = self.column(gene), self.spots
        return pd.DataFrame(
            {
                "method": self.method,
                "patient": spots["patient"].to_numpy(),
                "section": self.section,
                "gene": gene,
                "spot": spots.index.astype(str),
                "pixel_x": spots["pixel_x"].to_numpy(float),
                "pixel_y": spots["pixel_y"].to_numpy(float),
                "label": spots["label"].to_numpy(dtype=str),
                "measured": self.truth[:, place],
                "predicted": self.prediction[:, place],
            }
        )


def as_list(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Return one path or several as a list."""
    return [Path(paths)] if isinstance(paths, (str, Path)) else [Path(path) for path in paths]


def read_predictions(
    folders: str | Path | Iterable[str | Path], sections: Sequence[str] | None = None
) -> list[Predicted]:
    """Read the prediction files of runs, by default of all sections; those without spots are left out.

    Raises
    ------
    UserError
        A section that was asked for is not among the files.
    """
    found = []
    for folder in as_list(folders):
        paths = [folder / f"{name}.h5ad" for name in sections] if sections else sorted(folder.glob("*.h5ad"))
        for path in paths:
            if not path.is_file():
                raise UserError(f"{path}: there is no such prediction; predict the section again.")
            section = _read(path)
            if len(section.spots):
                found.append(section)
    return found


def _read(path: Path) -> Predicted:

    data = read_results(path)
    spots = data.obs.copy()
    label = spots["label"].astype(str) if "label" in spots else pd.Series("", index=spots.index)
    spots["label"] = label.where(~label.isin(NO_LABEL), "")
    spots["tumour"] = spots["tumour"].astype(float) if "tumour" in spots else np.nan
    for name in ("patient", "section"):
        spots[name] = spots[name].astype(str) if name in spots else str(data.uns.get(name, ""))
    return Predicted(
        method=base_name(str(data.uns["method"])),
        genes=list(map(str, data.var_names)),
        truth=np.asarray(data.layers["truth"], dtype=float),
        prediction=np.asarray(data.X, dtype=float),
        spots=spots,
        um_per_px=float(data.uns.get("um_per_px", np.nan)),
        embedding=np.asarray(data.obsm["embedding"], dtype=float) if "embedding" in data.obsm else None,
    )


def read_window(
    path: str | Path, spots: Sequence[str], record: Mapping[str, Any], um_per_px: float
) -> np.ndarray:
    """Read patches of some spots as a trained method sees them, without resizing.

    Parameters
    ----------
    path
        The section's patch array, with its spot index beside it.
    spots
        Names of the spots, in the order that is wanted.
    record
        The training's ``run.json``, which says which window the method is given, at which scale.
    um_per_px
        Scale of the section, for patches that are not resampled.

    Returns
    -------
    np.ndarray
        uint8 (spots, width, width, 3).

    Raises
    ------
    NothingToDraw
        There are no spots, or the array does not hold one of them.
    """
    path = Path(path)
    names = read_table(path.with_suffix(".tsv"))["spot"].astype(str)
    place = {name: row for row, name in enumerate(names)}
    if not len(spots) or not set(spots) <= set(place):
        raise NothingToDraw("the patches do not hold the spots that were predicted.")
    with reading(path):
        stored = np.load(path, mmap_mode="r")
    scale = (record.get("image") or {}).get("um_per_px")
    size = window_pixels(
        record.get("window"),
        float(scale) if isinstance(scale, (int, float)) else um_per_px,
        stored.shape[1],
        path,
    )
    return PatchView(stored, np.array([place[name] for name in spots]), size)[:]


def read_picture(path: str | Path) -> np.ndarray:
    """Read a small picture: uint8 (height, width, 3)."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def read_metrics(folders: str | Path | Iterable[str | Path], metrics: Sequence[str]) -> pd.DataFrame:
    """Read some metrics from the metric folders of runs, a file per fold.

    Returns method (the folder's name without its seed), fold, patient, section ("*" where the sections of a
    patient are pooled), gene ("" where a metric is not about a gene), metric, value, n_spots; seeds of a
    method are averaged.
    """
    keys = ["method", "fold", "patient", "section", "gene", "metric"]
    blocks = []
    for folder in as_list(folders):
        for path in sorted(folder.glob("*.parquet")):
            table = read_table(path, filters=[("metric", "in", list(metrics))])
            blocks.append(table.assign(method=base_name(folder.name), fold=path.stem))
    if not blocks:
        return pd.DataFrame(columns=[*keys, "value", "n_spots"])
    table = pd.concat(blocks, ignore_index=True)
    for name in keys:
        table[name] = table[name].astype(str)
    return table.groupby(keys, sort=False)[["value", "n_spots"]].mean().reset_index()


def read_spots(folders: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """Read the spot folders of runs: the files' columns, method, fold; labels that say nothing are ""."""
    blocks = [
        read_table(path).assign(method=base_name(folder.name), fold=path.stem)
        for folder in as_list(folders)
        for path in sorted(folder.glob("*.parquet"))
    ]
    table = pd.concat(blocks, ignore_index=True)
    label = table["label"].astype(str)
    return table.assign(label=label.where(~label.isin(NO_LABEL), ""))


def choose_gene(predicted: Predicted, wanted: Sequence[str]) -> str:
    """Return the first wanted gene that is in the panel, else the one with the highest mean."""
    for gene in wanted:
        if gene in predicted.genes:
            return gene
    return predicted.genes[int(np.argmax(np.nan_to_num(predicted.truth.mean(axis=0), nan=-np.inf)))]
