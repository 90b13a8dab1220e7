"""Target transforms: from raw counts of the panel to the values that methods learn.

Published methods disagree on the size factor and the logarithm, and correlations under different
transforms cannot be compared: with ST-Net's pseudo-count the target still follows sequencing depth.
The transform is therefore a named setting of an experiment and travels with every prediction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.errors import UserError

if TYPE_CHECKING:
    from scipy import sparse

SIZE_FACTOR_TARGET = 1e4


@dataclass(frozen=True)
class Transform:
    """What a transform is called in text.

    Attributes
    ----------
    label
        Short label for axes.
    formula
        The formula; c is the count of the gene, Z the UMIs of the spot over all measured genes,
        Z' the UMIs over the panel only, n the number of measured genes.
    source
        Who uses it.
    """

    label: str
    formula: str
    source: str


TRANSFORMS: Mapping[str, Transform] = MappingProxyType(
    {
        "log1p_cp10k": Transform(
            "ln(1 + CP10k)", "ln(1 + 10000 c / Z)", "Chen et al. 2024 (HE2Gene), Methods; scanpy's default"
        ),
        "stnet": Transform(
            "ln((1 + c) / (n + Z))", "ln((1 + c) / (n + Z))", "He et al. 2020 (ST-Net), Methods"
        ),
        "log1p": Transform("ln(1 + c)", "ln(1 + c)", "Rahaman et al. 2023 (BrST-Net), Methods"),
        "log10_cp10k": Transform(
            "log10(1 + CP10k)", "log10(1 + 10000 c / Z)", "Kumar & Chatterjee 2024 (HistoSPACE)"
        ),
        "log10_cp10k_panel": Transform(
            "log10(1 + CP10k of the panel)",
            "log10(1 + 10000 c / Z')",
            "Pang et al. 2021 (HisToGene), Zeng et al. 2022 (Hist2ST), Jia et al. 2023 (THItoGene)",
        ),
    }
)


def log_depth(total: np.ndarray) -> np.ndarray:
    """Return ln(max(total, 1)) of the UMIs per spot: sequencing depth as controls and metrics use it."""
    return np.log(np.maximum(np.asarray(total, dtype=np.float64), 1.0))


def check_transform(name: str) -> None:
    """Raise a UserError unless ``name`` is one of :data:`TRANSFORMS`."""
    if name not in TRANSFORMS:
        raise UserError(
            f"transform: {name!r} is not a target transform; choose one of {', '.join(sorted(TRANSFORMS))}."
        )


def transform_counts(
    name: str,
    counts: np.ndarray | sparse.csr_matrix,
    total: np.ndarray,
    panel_total: np.ndarray | None = None,
    n_genes: int = 0,
) -> np.ndarray:
    """Transform raw counts of the panel into targets.

    Parameters
    ----------
    name
        One of :data:`TRANSFORMS`.
    counts
        (spots, genes) raw counts of the panel, dense or sparse; fractional where they are averages of
        raw counts over neighbouring spots.
    total
        (spots,) UMIs of each spot over all measured genes.
    panel_total
        (spots,) UMIs of each spot over the panel; the row sums of ``counts`` when left out.
    n_genes
        Number of measured genes, ST-Net's pseudo-count. Must be positive for "stnet".

    Returns
    -------
    numpy.ndarray
        float32, (spots, genes), finite. A spot without any UMI becomes a row of zeros (of ln(1/n) under
        "stnet"), never NaN.

    Raises
    ------
    UserError
        Unknown name.
    ValueError
        Shapes do not fit, or ``n_genes`` is missing where it is needed.
    """
    check_transform(name)
    values: Any = counts.toarray() if hasattr(counts, "toarray") else np.asarray(counts)
    values = values.astype(np.float64)
    depth = np.asarray(total, dtype=np.float64).reshape(-1)
    if values.ndim != 2 or len(depth) != len(values):
        raise ValueError(f"counts {values.shape} and totals {depth.shape} do not describe the same spots")
    if name == "log1p":
        return np.log1p(values, out=values).astype(np.float32)
    if name == "stnet":
        if n_genes <= 0:
            raise ValueError("the stnet transform needs the number of measured genes")
        values += 1.0
        values /= (n_genes + depth)[:, None]
        return np.log(values, out=values).astype(np.float32)
    if name == "log10_cp10k_panel":
        depth = values.sum(axis=1) if panel_total is None else np.asarray(panel_total, dtype=np.float64)
    # scanpy's normalize_total and log1p give the same to float32 rounding, as a test holds. They know one of
    # the transforms, and their import takes 3 s of processor time in every job, these lines 0.06 s.
    # A spot without a UMI has no counts either: any positive divisor gives its zeros.
    values *= (SIZE_FACTOR_TARGET / np.where(depth > 0, depth, np.inf))[:, None]
    np.log1p(values, out=values)
    if name.startswith("log10"):
        values /= np.log(10.0)
    return values.astype(np.float32)
