"""The list of sections that a fold trains on: one file that stands for hundreds.

Trainings of all methods of a fold read the counts of the same sections. If each declared every one of these
files, planning would cost more than all the rest: 28 methods x 23 folds x 65 sections x 2 files. They declare
this list instead; it holds the checksum of each file, so that it changes with the content of any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from histobench.files import read_table, sha256, write_table


def write_training_list(
    sections: Iterable[str], h5ads: Sequence[str | Path], qc_tables: Sequence[str | Path], output: str | Path
) -> None:
    """Write section, h5ad, qc and the SHA-256 of the two.

    Parameters
    ----------
    sections
        The sections that are trained on, or validate.
    h5ads, qc_tables
        Stored sections and their tables of kept spots, named after the section, of these and maybe others.
    output
        The list.
    """
    import pandas as pd

    stored, kept = ({Path(path).stem: str(path) for path in paths} for paths in (h5ads, qc_tables))
    rows = [
        (name, stored[name], kept[name], *(sha256(file[name]) for file in (stored, kept)))
        for name in sorted(sections)
    ]
    write_table(pd.DataFrame(rows, columns=["section", "h5ad", "qc", "h5ad_sha256", "qc_sha256"]), output)


def read_training_list(path: str | Path) -> dict[str, dict[str, str]]:
    """Return what :func:`write_training_list` wrote: section -> paths of ``h5ad`` and ``qc``."""
    table = read_table(path, dtype=str)
    return {row["section"]: {"h5ad": row["h5ad"], "qc": row["qc"]} for row in table.to_dict("records")}
