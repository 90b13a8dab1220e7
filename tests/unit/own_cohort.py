"""A small cohort of a user's own, in each layout that the importer reads."""

from __future__ import annotations

from pathlib import Path

import anndata
import cv2
import imagecodecs
import numpy as np
import pandas as pd
from scipy import sparse
from unit.visium_files import write_matrix, write_positions

GENES = ["ACTB", "GNAS", "FASN", "XBP1", "ERBB2", "ENSG00000141510"]
YAML = """\
title: Mine
origin: local
reader: histobench.cohorts.readers.table_cohort:read_section
table: mine.tsv
pitch_um: {pitch}
spot_um: {spot}
"""
PITCH = 60  # pixels
SIZE = (700, 640)  # width, height


def tissue(seed: int) -> np.ndarray:
    """An image whose tissue is a disc around the spots, with a pattern of its own."""
    rng = np.random.default_rng(seed)
    field = cv2.GaussianBlur(rng.normal(size=SIZE[::-1]), (0, 0), 15)
    dark = (60 + 40 * (field / field.std()).clip(-1, 2))[..., None] * [0.6, 1.0, 0.5]
    inside = np.hypot(np.arange(SIZE[0])[None, :] - 320, np.arange(SIZE[1])[:, None] - 330) < 290
    return np.where(inside[..., None], 240 - dark, 245).clip(0, 255).astype(np.uint8)


class OwnCohort:
    """Files of one to several sections; tests change the frames and write them again."""

    def __init__(self, folder: Path, sections=("S1", "S2")) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "mine.yaml").write_text(YAML.format(pitch=200, spot=100))
        self.rows = [
            {"section": s, "patient": f"P{s[-1]}", "image": f"{s}.jpg", "counts": f"{s}.tsv.gz", "positions": f"{s}_spots.tsv"}
            for s in sections
        ]  # fmt: skip
        for i, section in enumerate(sections):
            self.write_spots(section, self.spots())
            self.write_counts(section, self.counts(i))
            (folder / f"{section}.jpg").write_bytes(imagecodecs.jpeg_encode(tissue(i), level=90))
        self.write_table()

    @staticmethod
    def grid():
        return [(x, y) for x in range(2, 9) for y in range(3, 9)]

    def spots(self) -> pd.DataFrame:
        spots = pd.DataFrame(self.grid(), columns=["x", "y"])
        spots = spots.assign(new_x=spots.x + 0.02, new_y=spots.y - 0.03)
        return spots.assign(pixel_x=spots.new_x * PITCH + 20, pixel_y=spots.new_y * PITCH, selected=1)

    def counts(self, seed: int = 0) -> pd.DataFrame:
        values = np.random.default_rng(seed).poisson(5, (len(self.grid()), len(GENES)))
        return pd.DataFrame(values, index=[f"{x}x{y}" for x, y in self.grid()], columns=GENES)

    def write_spots(self, section: str, spots: pd.DataFrame) -> None:
        spots.to_csv(self.folder / f"{section}_spots.tsv", sep="\t", index=False)

    def write_counts(self, section: str, counts: pd.DataFrame) -> None:
        counts.to_csv(self.folder / f"{section}.tsv.gz", sep="\t")

    def write_table(self, rows=None) -> None:
        pd.DataFrame(self.rows if rows is None else rows).to_csv(
            self.folder / "mine.tsv", sep="\t", index=False
        )

    def use_visium(self, section: str, *, header: bool = True) -> Path:
        """Replace the files of a section by a Space Ranger folder; returns it."""
        outs = self.folder / f"{section}_outs"
        (outs / "spatial").mkdir(parents=True)
        (self.folder / "mine.yaml").write_text(YAML.format(pitch=100, spot=55))
        places = [(row, column) for row in range(8) for column in range(row % 2, 16, 2)]
        barcodes = [f"BC{i:03d}-1" for i in range(len(places))]
        rows = [
            (b, 1, row, column, 60 + row * PITCH * np.sqrt(3) / 2, 80 + column * PITCH / 2)
            for b, (row, column) in zip(barcodes, places, strict=True)
        ]
        name = "tissue_positions.csv" if header else "tissue_positions_list.csv"
        write_positions(outs / "spatial" / name, rows, header=header)
        counts = np.random.default_rng(1).poisson(4, (len(barcodes), 4))
        ids = [f"ENSG0000000000{i}" for i in range(4)]
        write_matrix(outs / "filtered_feature_bc_matrix.h5", counts, barcodes, GENES[:4], ids)
        self.row(section).update(counts=outs.name, positions="")
        self.write_table()
        return outs

    def use_anndata(self, section: str, change=None) -> Path:
        """Replace the files of a section by an AnnData file; ``change`` edits it before it is written."""
        spots, counts = self.spots(), self.counts()
        adata = anndata.AnnData(
            X=sparse.csr_matrix(counts.to_numpy(dtype=np.float32)),
            obs=pd.DataFrame(
                {"array_x": spots.x.to_numpy(float), "array_y": spots.y.to_numpy(float), "region": "tumour"},
                index=counts.index,
            ),
            var=pd.DataFrame(index=counts.columns),
            obsm={"spatial": spots[["pixel_x", "pixel_y"]].to_numpy()},
        )
        if change is not None:
            adata = change(adata) or adata
        path = self.folder / f"{section}.h5ad"
        adata.write_h5ad(path)
        self.row(section).update(counts=path.name, positions="")
        self.write_table()
        return path

    def row(self, section: str) -> dict[str, str]:
        return next(row for row in self.rows if row["section"] == section)
