"""Tables of the report: which columns of a result table are shown, under which title and how."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from histobench.figures.drawing.settings import MethodStyle
from histobench.files import read_table
from histobench.report.embed import Download
from histobench.results.catalogue import Entry
from histobench.results.columns import Column as Declared

MISSING = "–"
LARGEST_TABLE = 5000


@dataclass(frozen=True)
class Loaded:
    """A result table, or the reason why there is none."""

    table: pd.DataFrame | None
    reason: str = ""

    def __bool__(self) -> bool:
        return self.table is not None


def load(path: str | Path | None, what: str) -> Loaded:
    """Read a result table; what is absent or unreadable becomes a reason that the page prints."""
    if not path:
        return Loaded(None, f"{what}: not part of this run")
    path = Path(path)
    if not path.is_file():
        return Loaded(None, f"{what}: {path} does not exist")
    try:
        table = read_table(path)
    except (
        ValueError,
        OSError,
    ) as error:  # pandas raises subclasses of ValueError for empty and broken tables
        return Loaded(None, f"{what}: {path} cannot be read ({type(error).__name__})")
    return Loaded(table)


# -- values for people ------------------------------------------------------------------------------


def known(value: Any) -> bool:
    """Tell whether a value of a table is there."""
    return value is not None and value != "" and not (isinstance(value, float) and math.isnan(value))


def number(digits: int) -> Callable[[Any], str]:
    """Return a formatter with fixed digits and a true minus sign."""

    def show(value: Any) -> str:
        text = f"{float(value):,.{digits}f}"
        return text.lstrip("-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")

    return show


r3 = number(3)


def whole(value: Any) -> str:
    """Return an integer with thousands separated."""
    return f"{round(float(value)):,}".replace("-", "−")


def percent(value: Any) -> str:
    """Return a fraction in percent."""
    return f"{number(0)(100 * float(value))} %"


def probability(value: Any) -> str:
    """Return a p-value: three digits, or a power of ten below 0.001."""
    value = float(value)
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"


def seconds(value: Any) -> str:
    """Return a duration in the unit that suits it."""
    value = float(value)
    if value < 1:
        return "< 1 s"
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def megabytes(value: Any) -> str:
    """Return an amount of memory given in MB."""
    value = float(value)
    return f"{value:.0f} MB" if value < 1000 else f"{value / 1000:.1f} GB"


def plain(value: Any) -> str:
    """Return a value as text; whole numbers without a decimal point, truth values as yes and no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return whole(value) if value.is_integer() else f"{value:.4g}".replace("-", "−")
    return str(value)


# -- tables -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """One shown column: the table's ``key`` under ``title``; ``choose`` offers a filter of its values."""

    key: str
    title: str
    show: Callable[[Any], str] = plain
    hint: str = ""
    choose: bool = False
    numeric: bool = True


# How values of a unit are printed.
_SHOW: dict[str, Callable[[Any], str]] = {
    "r": r3,
    "target": r3,
    "share of ceiling": percent,
    "p": probability,
    "s": seconds,
    "MB": megabytes,
}


def declared_columns(
    entry: Entry, *, choose: Sequence[str] = (), show: Mapping[str, Callable[[Any], str]] | None = None
) -> tuple[Column, ...]:
    """Return the columns of a table that the page shows, as the catalogue declares them.

    Parameters
    ----------
    entry
        The table.
    choose
        Columns whose values can be chosen from.
    show
        How values of a column are printed, where the unit does not say it.
    """
    show = show or {}
    return tuple(
        Column(
            column.name,
            column.title or column_title(column.name),
            show.get(column.name) or shown_as(column),
            column.meaning,
            column.name in choose,
            column.type in ("number", "integer"),
        )
        for column in (entry.column(name) for name in entry.shown or entry.column_names)
        if column is not None
    )


def shown_as(column: Declared) -> Callable[[Any], str]:
    """Return how values of a declared column are printed."""
    return _SHOW.get(column.unit) or (whole if column.type == "integer" else plain)


# Words of column names that are not written in small letters.
_WORDS = {
    **{
        word: word.upper()
        for word in ("ari", "auprc", "auroc", "bh", "mae", "mb", "mse", "nmi", "rmse", "ssim", "umi")
    },
    "holm": "Holm",
    "um": "µm",
    "wilcoxon": "Wilcoxon",
}


def column_title(key: str) -> str:
    """Return a heading from a column's name: ``n_genes`` -> "Genes", ``p_wilcoxon`` -> "p Wilcoxon"."""
    words = [_WORDS.get(word, word) for word in key.removeprefix("n_").split("_")]
    if len(words[0]) > 1 and words[0] != "µm":
        words[0] = words[0][:1].upper() + words[0][1:]
    return " ".join(words)


@dataclass(frozen=True)
class Cell:
    """Text to read and value to sort by; empty ``sort`` sorts last."""

    text: str
    sort: str = ""
    numeric: bool = False
    css: str = ""
    look: MethodStyle | None = None


@dataclass
class View:
    """A table ready for the template, or the reason why it is missing or empty."""

    anchor: str
    title: str
    note: str = ""
    columns: Sequence[Column] = ()
    rows: list[list[Cell]] = field(default_factory=list)
    row_classes: list[str] = field(default_factory=list)
    download: Download | None = None
    missing: str = ""
    empty: str = ""
    default_choice: Mapping[str, str] = field(default_factory=dict)
    search: bool = False


def cell(value: Any, column: Column) -> Cell:
    """Return the cell of a value; a missing one is a dash and sorts last."""
    if not known(value):
        return Cell(MISSING, "", column.numeric, "absent")
    text = column.show(value)
    if not column.numeric or isinstance(value, str):
        return Cell(text, str(value), column.numeric)
    # A value that is printed well enough to sort by is not stored twice.
    sort = text if _reads_as(text, float(value)) else f"{float(value):.6g}"
    return Cell(text, sort, column.numeric)


def _reads_as(text: str, value: float) -> bool:
    """Tell whether the page's script, which knows minus signs and thousands, reads the value so."""
    try:
        read = float(text.replace("−", "-").replace(",", ""))
    except ValueError:
        return False
    return abs(read - value) <= max(5e-4, 1e-3 * abs(value))


def view(
    anchor: str,
    title: str,
    loaded: Loaded,
    columns: Sequence[Column],
    *,
    note: str = "",
    download: Download | None = None,
    search: bool = False,
    rest: bool = False,
    largest: int = LARGEST_TABLE,
) -> View:
    """Make a table of the wanted columns, as far as they exist.

    Parameters
    ----------
    anchor, title, note
        Where it is and what is printed above it.
    loaded
        The result table, or why there is none.
    columns
        What to show, in this order; unknown keys are left out.
    download
        The whole table, where it is embedded.
    search
        Offer a search box.
    rest
        Also show the columns that are not named, as they are.
    largest
        Rows beyond this are left to the download.
    """
    if loaded.table is None:
        return View(anchor, title, note, missing=loaded.reason)
    table = loaded.table
    shown = [column for column in columns if column.key in table]
    if rest:
        named = {column.key for column in columns}
        shown += [
            Column(key, key.replace("_", " "), numeric=table[key].dtype.kind in "biuf")
            for key in map(str, table.columns)
            if key not in named
        ]
    if len(table) > largest:
        cut = f"The first {largest:,} of {len(table):,} rows are shown; the download has all."
        note = f"{note} {cut}".strip()
        table = table.head(largest)
    rows = [
        [cell(value, column) for value, column in zip(record, shown, strict=True)]
        for record in table[[column.key for column in shown]].itertuples(index=False, name=None)
    ]
    empty = "" if rows else "no rows: nothing of this kind occurred in this run"
    return View(anchor, title, note, shown, rows, [""] * len(rows), download, empty=empty, search=search)
