"""The tables of an experiment: which columns are shown, how methods are marked, what stands above them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from histobench.evaluation.table_texts import table_text
from histobench.figures.drawing.settings import FAMILY_TITLES, Settings, base_name
from histobench.report.tables import (
    LARGEST_TABLE,
    Cell,
    Column,
    Loaded,
    View,
    column_title,
    known,
    megabytes,
    number,
    percent,
    plain,
    probability,
    r3,
    seconds,
    view,
    whole,
)
from histobench.report.verdict import verdict

# Tables without a place of their own are for the download; the page shows their start.
LARGEST_OTHER = 400
# The row of measured expression in tables of methods.
OBSERVED = "observed"


def interval(value: str) -> tuple[Column, Column]:
    """Return the columns for the ends of a value's interval."""
    text = "end of the percentile bootstrap interval over patients"
    return (
        Column(f"{value}_low", "95 % low", r3, f"lower {text}"),
        Column(f"{value}_high", "95 % high", r3, f"upper {text}"),
    )


LEADERBOARD = (
    Column("method", "Method", numeric=False),
    Column("family", "Family", lambda value: FAMILY_TITLES.get(value, value), choose=True, numeric=False),
    Column("pearson", "r", r3, "Pearson r per gene and section, averaged over sections, patients, genes"),
    *interval("pearson"),
    Column("ceiling_fraction", "of ceiling", percent, "score as a fraction of the noise ceiling"),
    Column("spearman", "Spearman", r3),
    Column("rmse", "RMSE", r3, "root mean squared error on the scale of the targets"),
    Column("mae", "MAE", r3, "mean absolute error on the scale of the targets"),
    Column(
        "pearson_pooled",
        "r pooled",
        r3,
        "pooled over sections: rewards recognising the section; for comparison only",
    ),
    Column("n_genes", "Genes", whole),
    Column("n_positive", "Genes r > 0", whole, "genes with positive mean correlation"),
    Column(
        "n_consistent_holm",
        "Consistent (Holm)",
        whole,
        "genes consistent across patients, family-wise error 5 %",
    ),
    Column(
        "n_consistent_bh",
        "Consistent (BH)",
        whole,
        "genes consistent across patients, false discovery rate 5 %",
    ),
    Column(
        "n_undefined", "Undefined", whole, "gene-section pairs without a defined truth or prediction variance"
    ),
    Column("train_seconds", "Training", seconds, "wall time of one training, mean over folds"),
    Column("peak_memory_mb", "Memory", megabytes, "largest peak memory of a training"),
    Column("parameters", "Parameters", whole),
    Column("n_folds", "Folds", whole),
    Column("seeds", "Seeds"),
)
GENES = (
    Column("gene", "Gene", numeric=False),
    Column("method", "Method", choose=True, numeric=False),
    Column("median_pearson", "Median r", r3, "median over patients of r, sections of a patient pooled"),
    Column("mean_pearson", "Mean r", r3, "mean over patients of r per section"),
    Column("ceiling", "Ceiling", r3, "noise ceiling of the gene"),
    Column("n_positive", "Positive", whole, "patients with r > 0"),
    Column("n_patients", "of", whole, "patients in which r is defined"),
    Column("p_binomial", "p binomial", probability, "one-sided, probability 1/2"),
    Column("p_holm", "p Holm", probability, "Holm step-down over genes: family-wise error"),
    Column("q_bh", "q BH", probability, "Benjamini-Hochberg over genes: false discovery rate"),
)
_STATUSES = {"ok": "passed", "declared": "declared leak", "fail": "finding"}
AUDIT = (
    Column(
        "status",
        "Status",
        lambda value: _STATUSES.get(value, value),
        "a declared leak belongs to the published protocol that a paper-mode experiment repeats",
        choose=True,
        numeric=False,
    ),
    Column("check", "Check", lambda value: str(value).replace("_", " "), numeric=False),
    Column("scope", "Scope", numeric=False),
    Column("detail", "Detail", numeric=False),
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
        f"{name}-leaderboard", "Leader board", ordered, LEADERBOARD, download=download, search=True,
        note="Click a heading to sort. Controls and oracles are marked by hollow swatches: an oracle uses "
        "measurements of the test section and does not compete.",
    )  # fmt: skip
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
    note = "One row per gene and method. Choose a method, search a gene, click a heading to sort."
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
    genes = view(f"{name}-genes", "Genes", loaded, GENES, note=note, download=download, search=True)
    mark_methods(genes, settings)
    leader = verdict({"leaderboard": board}, settings).best if board else ""
    if leader:
        genes.default_choice = {"method": settings.title(leader)}
    return genes


def audit_view(name: str, loaded: Loaded, download: Any) -> View:
    """Show the findings of the leakage audit; what failed is marked."""
    note = (
        "What training could have seen of the tested patients, checked before training. A finding is a "
        "leak that nobody declared, and stops a run; a declared leak belongs to the published protocol "
        "that an experiment in paper mode repeats."
    )
    audit = view(f"{name}-audit", "Leakage audit", loaded, AUDIT, download=download, rest=True, note=note)
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
    columns: list[Column] = []
    if loaded.table is not None:
        for column in map(str, loaded.table.columns):
            if column == "statement":  # printed below the table, whole
                continue
            numeric = loaded.table[column].dtype.kind in "biuf"
            real = loaded.table[column].dtype.kind == "f"
            whole_only = real and (loaded.table[column].dropna() % 1 == 0).all()
            show = number(3) if real and not whole_only else plain
            if numeric and _is_probability(column):
                show = probability
            values = loaded.table[column].nunique()
            choose = not numeric and 1 < values <= 40 and values < len(loaded.table)
            columns.append(Column(column, column_title(column), show, choose=choose, numeric=numeric))
    text = table_text(key)
    table = view(
        f"{name}-{key}",
        text.title,
        loaded,
        columns,
        note=text.caption,
        download=download,
        largest=LARGEST_OTHER,
    )
    mark_methods(table, settings)
    return table


def _is_probability(column: str) -> bool:
    """Tell whether a column holds p- or q-values."""
    return column in ("p", "q", "smallest_p") or column.startswith(("p_", "q_", "smallest_p_"))
