"""Tables, figures and named analyses of the papers, and what makes each: ``resources/papers.tsv``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from histobench.errors import UserError
from histobench.files import read_table

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("paper", "item", "experiment", "artefact", "methods", "genes", "status", "reason")
FULL, PARTIAL, MISSING = "full", "partial", "missing"


def read_papers(path: str | Path) -> pd.DataFrame:
    """Read the items of the papers.

    ``experiment`` is an experiment or branch; ``artefact``, ``methods`` and ``genes`` are names with spaces
    between them, an artefact being a figure, or a table with ``.tsv``; ``status`` is full, partial or
    missing, and the last two have a reason.

    Raises
    ------
    UserError
        A column is missing, a status is unknown or has no reason, or an item names nothing that makes it;
        names the line.
    """
    table = read_table(path, dtype=str).fillna("")
    if lacking := [column for column in COLUMNS if column not in table]:
        raise UserError(f"{path}: column `{lacking[0]}` is missing in the header; add it (tab-separated).")
    for number, row in enumerate(table.to_dict("records"), start=2):
        where = f"{path}: line {number}, {row['item']}"
        if row["status"] not in (FULL, PARTIAL, MISSING):
            raise UserError(
                f"{where}: status `{row['status']}` must be full, partial or missing; correct it."
            )
        if row["status"] != FULL and not row["reason"]:
            raise UserError(f"{where}: status {row['status']} needs a reason; say what is missing.")
        if bool(row["experiment"]) != bool(row["artefact"]):
            raise UserError(f"{where}: an experiment and its artefact go together; name both or none.")
        if row["status"] == FULL and not row["artefact"]:
            raise UserError(f"{where}: status full needs an experiment and its artefact; name them.")
        if row["status"] == MISSING and row["artefact"]:
            raise UserError(f"{where}: what is missing has no artefact; correct one of the two.")
    return table
