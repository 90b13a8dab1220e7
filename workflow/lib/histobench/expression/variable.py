"""Highly variable genes, as scanpy finds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import anndata
import numpy as np
import scanpy

from histobench.cohorts.table import load_section

SIZE_FACTOR_TARGET = 1e4  # of Satija et al. and scanpy


def variable_genes(
    h5ads: Sequence[str | Path],
    kept: Mapping[str, frozenset[str]] | None,
    candidates: Sequence[str],
    size: int,
) -> dict[str, float]:
    """Return the most variable of some genes, the most variable first.

    Dispersions of ln(1 + counts per ten thousand) against genes of like mean (Satija et al. 2015, scanpy's
    flavour ``seurat``), within each section, so that differences between sections make no gene variable.
    Genes are ordered by the number of sections in which they are among the most variable, then by dispersion.
    All kept spots are in memory, sparse.

    Parameters
    ----------
    h5ads
        Stored sections.
    kept
        Section -> kept spots; None keeps all. A section of which none is kept has no say.
    candidates
        Genes to choose from, which every section measures; counts of others still count for depth.
    size
        How many to choose, at most as many as there are candidates.

    Returns
    -------
    dict
        Gene -> normalised dispersion, averaged over sections.
    """
    tables = []
    for path in h5ads:
        section = load_section(path)
        name = str(section.uns["section"])
        rows = np.ones(section.n_obs, bool) if kept is None else section.obs_names.isin(list(kept[name]))
        counts = section[rows, :].X.astype(np.float32)
        if not counts.shape[0]:
            continue
        table = anndata.AnnData(counts, var=section.var[[]], obs={"section": [name] * counts.shape[0]})
        scanpy.pp.normalize_total(table, target_sum=SIZE_FACTOR_TARGET)
        scanpy.pp.log1p(table)
        tables.append(table[:, list(candidates)])
    joined = anndata.concat(tables, index_unique="/", keys=[str(number) for number in range(len(tables))])
    joined.obs["section"] = joined.obs["section"].astype("category")
    batch = "section" if len(tables) > 1 else None
    found = scanpy.pp.highly_variable_genes(
        joined, n_top_genes=size, flavor="seurat", batch_key=batch, inplace=False
    )
    found.index = joined.var_names
    chosen = found[found["highly_variable"]].rename_axis("gene").reset_index()
    columns = [column for column in ("highly_variable_nbatches", "dispersions_norm") if column in chosen]
    chosen = chosen.sort_values([*columns, "gene"], ascending=[*[False] * len(columns), True])[:size]
    return dict(zip(chosen["gene"], chosen["dispersions_norm"].astype(float), strict=True))
