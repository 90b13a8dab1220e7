"""The tables of an experiment: which columns are shown, how methods are marked, what stands above them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from histobench.figures.drawing.settings import FAMILY_TITLES, Settings, base_name
from histobench.report.tables import (
    LARGEST_TABLE,
    Cell,
    Column,
    Loaded,
    View,
    column_title,
    declared_columns,
    known,
    number,
    plain,
    probability,
    r3,
    view,
)
from histobench.report.verdict import verdict
from histobench.results.catalogue import catalogue

# Tables without a place of their own are for the download; the page shows their start.
LARGEST_OTHER = 400
# The row of measured expression in tables of methods.
OBSERVED = "observed"


_STATUSES = {"ok": "passed", "declared": "declared leak", "fail": "finding"}
_TABLES = catalogue()
LEADERBOARD = declared_columns(
    _TABLES["leaderboard"], choose=["family"], show={"family": lambda value: FAMILY_TITLES.get(value, value)}
)
GENES = declared_columns(_TABLES["genes"], choose=["method"])
AUDIT = declared_columns(
    _TABLES["leakage"],
    choose=["status"],
    show={
        "status": lambda value: _STATUSES.get(value, value),
        "check": lambda value: str(value).replace("_", " "),
    },
)


def method_cell(method: str, settings: Settings) -> Cell:
    """Return a method's name beside the swatch that it has in the figures; what is measured has none."""
    if method == OBSERVED:
        return Cell("measured", "measured")
    look = settings.look(method)
    seed = method.removeprefix(base_name(method)).replace(".seed", " seed ")
    return Cell(settings.title(method) + seed, settings.title(method), look=look)


def mark_methods(table: View, settings: Settings) -> None:
    """Replace the method names of a table by cells with swatches."""
    for place, column in enumerate(table.columns):
        if column.key in ("method", "method_a", "method_b"):
            for row in table.rows:
                row[place] = method_cell(row[place].sort, settings)


def leaderboard_view(name: str, loaded: Loaded, settings: Settings, download: Any) -> View:
    """Show the leader board, best first, below a row for the noise ceiling."""
    ordered = loaded
    if loaded.table is not None:
        ordered = Loaded(
            loaded.table.sort_values("pearson", ascending=False, kind="stable", na_position="last")
        )
    board = view(
        f"{name}-leaderboard",
        _TABLES["leaderboard"].title,
        ordered,
        LEADERBOARD,
        download=download,
        search=True,
        note=_TABLES["leaderboard"].caption,
    )
    if ordered.table is None:
        return board
    board.row_classes = [f"family-{family}" for family in ordered.table["family"]]
    mark_methods(board, settings)
    ceiling = _ceiling(ordered.table)
    if known(ceiling):
        texts = {
            "method": "Noise ceiling",
            "family": "ceiling",
            "pearson": r3(ceiling),
            "ceiling_fraction": "100 %",
        }
        sorts = {
            "method": "Noise ceiling",
            "family": "ceiling",
            "pearson": f"{ceiling:.6g}",
            "ceiling_fraction": "1",
        }
        row = [
            Cell(texts.get(column.key, "–"), sorts.get(column.key, ""), column.numeric)
            for column in board.columns
        ]
        board.rows.insert(0, row)
        board.row_classes.insert(0, "ceiling")
    return board


def _ceiling(board: pd.DataFrame) -> float | None:
    """Return the ceiling that the fractions of the leader board refer to."""
    if "ceiling" in board and board["ceiling"].notna().any():
        return float(board["ceiling"].dropna().iloc[0])
    if "ceiling_fraction" not in board:
        return None
    usable = board[(board["ceiling_fraction"] > 0) & board["pearson"].notna()].nlargest(1, "pearson")
    return float((usable["pearson"] / usable["ceiling_fraction"]).iloc[0]) if len(usable) else None


def genes_view(name: str, loaded: Loaded, board: Loaded, settings: Settings, download: Any) -> View:
    """Show every gene of every method, best first, opened at the leading method."""
    title, note = _TABLES["genes"].title, _TABLES["genes"].caption
    if loaded.table is not None and len(loaded.table) > LARGEST_TABLE:
        each = max(1, LARGEST_TABLE // loaded.table["method"].nunique())
        table = loaded.table.sort_values("median_pearson", ascending=False, kind="stable")
        note += (
            f" The {each:,} genes with the highest median r of each method are shown; the download has all."
        )
        loaded = Loaded(table.groupby("method", sort=False).head(each))
    if loaded.table is not None:
        loaded = Loaded(
            loaded.table.sort_values(["method", "median_pearson"], ascending=[True, False], kind="stable")
        )
    genes = view(f"{name}-genes", title, loaded, GENES, note=note, download=download, search=True)
    mark_methods(genes, settings)
    leader = verdict({"leaderboard": board}, settings).best if board else ""
    if leader:
        genes.default_choice = {"method": settings.title(leader)}
    return genes


def audit_view(name: str, loaded: Loaded, download: Any) -> View:
    """Show the findings of the leakage audit; what failed is marked."""
    note = _TABLES["leakage"].caption
    audit = view(
        f"{name}-audit", _TABLES["leakage"].title, loaded, AUDIT, download=download, rest=True, note=note
    )
    if loaded.table is not None and "status" in loaded.table:
        audit.row_classes = [f"status-{status}" for status in loaded.table["status"]]
    return audit


def failures_view(name: str, loaded: Loaded, download: Any, settings: Settings) -> View:
    """Show what failed, or say that nothing did."""
    failures = any_view(name, "failures", loaded, download, settings)
    if loaded.table is not None and loaded.table.empty:
        failures.empty = "nothing failed and nothing was excluded in this run"
    return failures


def planted_view(name: str, loaded: Loaded, download: Any, settings: Settings) -> View:
    """Show the rates of found genes on a simulated cohort, or say that there is no known truth."""
    planted = any_view(name, "planted", loaded, download, settings)
    if loaded.table is not None and loaded.table.empty:
        planted.empty = "only a simulated cohort has a known truth"
    return planted


def any_view(name: str, key: str, loaded: Loaded, download: Any, settings: Settings) -> View:
    """Show a table as it is, with the title and caption that it has, and formats by column name."""
    entry = _TABLES.get(key)
    columns: list[Column] = []
    if loaded.table is not None:
        for column in map(str, loaded.table.columns):
            if column == "statement":  # printed below the table, whole
                continue
            declared = entry.column(column) if entry else None
            numeric = loaded.table[column].dtype.kind in "biuf"
            real = loaded.table[column].dtype.kind == "f"
            whole_only = real and (loaded.table[column].dropna() % 1 == 0).all()
            show = number(3) if real and not whole_only else plain
            if numeric and declared is not None and declared.unit == "p":
                show = probability
            values = loaded.table[column].nunique()
            choose = not numeric and 1 < values <= 40 and values < len(loaded.table)
            title = (declared.title if declared else "") or column_title(column)
            hint = declared.meaning if declared else ""
            columns.append(Column(column, title, show, hint, choose=choose, numeric=numeric))
    table = view(
        f"{name}-{key}",
        entry.title if entry else column_title(key),
        loaded,
        columns,
        note=entry.caption if entry else "",
        download=download,
        largest=LARGEST_OTHER,
    )
    mark_methods(table, settings)
    return table
