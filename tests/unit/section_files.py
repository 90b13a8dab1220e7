"""Small stored sections for tests of the expression and evaluation stages."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
from scipy import sparse


def section_adata(counts, genes, *, section="S1", patient="P1", labels=None, image=(0, 0), pixels=None):
    """A section in the stored format, spots on a row-wise grid of six columns."""
    counts = sparse.csr_matrix(counts, dtype=np.int32)
    n = counts.shape[0]
    x, y = np.arange(n) % 6, np.arange(n) // 6
    pixels = (
        np.column_stack([300.0 + 290 * x, 300.0 + 290 * y]) if pixels is None else np.asarray(pixels, float)
    )
    labels = np.full(n, "", dtype=object) if labels is None else np.asarray(labels, dtype=object)
    obs = pd.DataFrame(
        {
            "array_x": x.astype(float),
            "array_y": y.astype(float),
            "pixel_x": pixels[:, 0],
            "pixel_y": pixels[:, 1],
            "patient": np.full(n, patient, dtype=object),
            "section": np.full(n, section, dtype=object),
            "label": labels,
            "tumour": np.where(labels == "", np.nan, labels == "invasive cancer").astype(np.float32),
            "label_source": np.where(labels == "", "none", "pathologist").astype(object),
        },
        index=pd.Index([f"{a}x{b}" for a, b in zip(x, y, strict=True)], name="spot"),
    )
    return anndata.AnnData(
        X=counts,
        obs=obs,
        var=pd.DataFrame({"gene_id": [""] * len(genes)}, index=pd.Index(genes, name="gene")),
        obsm={"spatial": pixels},
        uns={"um_per_px": 0.688, "cohort": "test", "section": section, "patient": patient, "image": "",
             "image_width": image[0], "image_height": image[1], "spot_um": 100.0, "pitch_um": 200.0},
    )  # fmt: skip


def write_section(folder, counts, genes, **about):
    """Write a section; returns its path."""
    path = folder / f"{about.get('section', 'S1')}.h5ad"
    section_adata(counts, genes, **about).write_h5ad(path, convert_strings_to_categoricals=False)
    return path
