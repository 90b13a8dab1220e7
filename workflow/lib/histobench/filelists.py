"""Lists of files by section, each with its checksum: one file that stands for hundreds.

Trainings of all methods read the same sections. If each declared every one of their files, planning would
cost more than all the rest: 2,400 trainings x 60 sections x 3 files. They declare lists instead; a list
changes with the content of any of its files, and only then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from histobench.errors import UserError
from histobench.files import read_table, sha256, write_table

Listed = dict[str, dict[str, str]]
_SUM = "_sha256"


def write_list(files: Mapping[str, Mapping[str, str | Path]], output: str | Path) -> None:
    """Write files by section and kind, with the SHA-256 of each.

    Parameters
    ----------
    files
        Section -> kind -> path, the same kinds for all.
    output
        A table: section, a column for each kind, and KIND_sha256.
    """
    _write({name: {**own, **_checksums(own)} for name, own in files.items()}, output)


def write_part(lists: Iterable[str | Path], sections: Iterable[str], output: str | Path) -> None:
    """Write the rows of some sections of one or several lists as a list of its own."""
    rows = _rows(lists)
    _write({name: _of(rows, name) for name in sections}, output)


def read_lists(lists: str | Path | Iterable[str | Path]) -> Listed:
    """Return section -> kind -> path of one list, or of several, which may be about different kinds.

    Raises
    ------
    UserError
        A list is missing or damaged.
    """
    paths = [lists] if isinstance(lists, str | Path) else lists
    return {
        name: {kind: path for kind, path in row.items() if not kind.endswith(_SUM)}
        for name, row in _rows(paths).items()
    }


def files_of(listed: Listed, sections: Iterable[str]) -> Listed:
    """Return the files of some sections, in their order.

    Raises
    ------
    UserError
        A section is not listed.
    """
    return {name: _of(listed, name) for name in sections}


def _of(listed: Listed, name: str) -> dict[str, str]:
    if name not in listed:
        raise UserError(
            f"section {name}: no list of files names it; remove the lists of its cohort and run again."
        )
    return dict(listed[name])


def _checksums(files: Mapping[str, str | Path]) -> dict[str, str]:
    return {f"{kind}{_SUM}": sha256(path) for kind, path in files.items()}


def _rows(lists: Iterable[str | Path]) -> Listed:
    found: Listed = {}
    for path in lists:
        for row in read_table(path, dtype=str).to_dict("records"):
            name = str(row.pop("section"))
            found.setdefault(name, {}).update({str(key): str(value) for key, value in row.items()})
    return found


def _write(rows: Mapping[str, Mapping[str, str | Path]], output: str | Path) -> None:
    import pandas as pd

    listed = [
        {"section": name, **{key: str(value) for key, value in rows[name].items()}} for name in sorted(rows)
    ]
    write_table(pd.DataFrame(listed), output)
