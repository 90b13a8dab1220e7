"""The list of sections that a fold trains on: one file that stands for hundreds.

Trainings of all methods of a fold read the counts of the same sections. If each declared every one of these
files, planning would cost more than all the rest: 28 methods x 23 folds x 65 sections x 2 files. They declare
this list instead; it says when each file was last written, so that it changes with any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from histobench.files import read_table, write_table


def write_training_list(
    sections: Iterable[str], h5ads: Sequence[str | Path], qc_tables: Sequence[str | Path], output: str | Path
) -> None:
    """Write section, h5ad, qc and when the two were written (ns since the epoch).

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
        (name, stored[name], kept[name], *(Path(file[name]).stat().st_mtime_ns for file in (stored, kept)))
        for name in sorted(sections)
    ]
    write_table(pd.DataFrame(rows, columns=["section", "h5ad", "qc", "h5ad_written", "qc_written"]), output)


def read_training_list(path: str | Path) -> dict[str, dict[str, str]]:
    """Return what :func:`write_training_list` wrote: section -> paths of ``h5ad`` and ``qc``."""
    table = read_table(path, dtype=str)
    return {row["section"]: {"h5ad": row["h5ad"], "qc": row["qc"]} for row in table.to_dict("records")}
