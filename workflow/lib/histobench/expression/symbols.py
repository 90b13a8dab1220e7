"""Gene symbols for Ensembl identifiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from histobench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("ensembl_id", "symbol")


def load_symbols(path: str | Path) -> dict[str, str]:
    """Read a table of Ensembl gene ids and approved symbols, plain or gzipped.

    HGNC gives two symbols to a few ids (CCL3L1 and CCL3L3); the first in the alphabet is taken, so that the
    name does not depend on the order of the table.

    Raises
    ------
    UserError
        The file is missing or has other columns.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such table of gene symbols; correct the path.") from None
    if tuple(table.columns) != COLUMNS:
        raise UserError(f"{path}: line 1 must hold the columns {', '.join(COLUMNS)}, separated by tabs.")
    table = table.sort_values(["ensembl_id", "symbol"]).drop_duplicates("ensembl_id")
    return dict(zip(table["ensembl_id"], table["symbol"], strict=True))


def name_genes(ids: Sequence[str], symbols: Mapping[str, str]) -> pd.DataFrame:
    """Name features by symbol; those that the table lacks keep their identifier.

    Parameters
    ----------
    ids
        Ensembl gene ids, with or without a version (``ENSG00000141510.12``), or anything else, such as the
        composites ``__ambiguous[ENSG...+ENSG...]`` of reads that fit several genes.
    symbols
        From :func:`load_symbols`.

    Returns
    -------
    pandas.DataFrame
        Index ``gene``: symbol, or the identifier as given; column ``gene_id``: the identifier as given.
    """
    import pandas as pd

    names = [symbols.get(_without_version(identifier), identifier) for identifier in ids]
    return pd.DataFrame({"gene_id": list(ids)}, index=pd.Index(names, name="gene", dtype=object))


def _without_version(identifier: str) -> str:
    stem, dot, version = identifier.partition(".")
    return stem if dot and version.isdigit() and stem.startswith("ENS") else identifier
