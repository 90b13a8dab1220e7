"""Tables of the first-generation Spatial Transcriptomics arrays: counts by spot, spots by position."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from scipy import sparse


def read_counts(path: str | Path) -> tuple[sparse.csr_matrix, pd.Index, pd.Index]:
    """Read a table of counts: CSR int32 (spots, genes), spot ids, gene names."""
    raise NotImplementedError


def read_spots(path: str | Path) -> pd.DataFrame:
    """Read a spot file: index spot id; array_x, array_y, pixel_x, pixel_y."""
    raise NotImplementedError


def join_spots(
    counts: sparse.csr_matrix, spot_ids: pd.Index, spots: pd.DataFrame
) -> tuple[sparse.csr_matrix, pd.DataFrame, dict[str, int]]:
    """Keep the spots that have counts and a position; count the others by reason."""
    raise NotImplementedError
