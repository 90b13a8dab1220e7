"""Published numbers beside our own, for an experiment that repeats a paper's protocol.

Inputs: ``published`` (published.tsv: paper, method, quantity, gene, published, ours, comparison, reason).
"""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from histobench.evaluation.published import COMPARABLE
from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import beside, require_rows, row_bands
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose, scores_note
from histobench.files import read_table

MOST = 30
# Shares beyond are drawn at the edge: of a published number near zero, ours can be any multiple.
_LOW, _HIGH = -1.0, 3.0
COLUMNS = [
    "paper",
    "method",
    "quantity",
    "gene",
    "section",
    "unit",
    "published",
    "ours",
    "ratio",
    "comparison",
]


def tidy_published(published: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with both numbers, with ours as a share of the published one (NaN where that is 0).

    Those that can be compared come first.
    """
    known = published[published["published"].notna() & published["ours"].notna()]
    known = known.sort_values("comparison", key=lambda names: names != COMPARABLE, kind="stable")
    paper = known["published"].astype(float).to_numpy()
    ratio = np.divide(known["ours"].astype(float), paper, out=np.full(len(paper), np.nan), where=paper != 0)
    return known.assign(ratio=ratio)[COLUMNS].head(MOST).reset_index(drop=True)


def plot_published(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw ours as a share of the published number, one row per number, with both values."""
    figure = new_figure(DOUBLE, 1.05 + 0.22 * len(table))
    axes = figure.subplots()
    axes.axvline(1, color=REFERENCE_COLOUR, lw=0.8, ls=(0, (4, 2)))
    names = []
    entry: Any
    for row, (_, entry) in enumerate(table.iterrows()):
        colour = settings.look(str(entry["method"])).colour
        fill = colour if entry["comparison"] == COMPARABLE else "white"
        share = float(entry["ratio"])
        marker = "<" if share < _LOW else ">" if share > _HIGH else "o"
        axes.plot(min(max(share, _LOW), _HIGH), row, marker, ms=5, color=colour, mfc=fill, clip_on=False)
        text = f"{_short(entry['published'])} → {_short(entry['ours'])}"
        beside(axes, row, text, 8, 6.5)
        what = " ".join(
            str(entry[name]) for name in ("quantity", "gene", "section") if entry[name] == entry[name]
        )
        names.append(textwrap.fill(f"{entry['paper']}: {what}", 50))
    axes.set_xlim(_LOW, _HIGH)
    axes.set_yticks(range(len(table)), names, fontsize=6)
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("ours, as a share of the published number")
    axes.grid(axis="x")
    row_bands(axes, len(table))
    looks = (
        ("o", "#444444", "can be compared"),
        ("o", "white", "cannot be compared"),
        (">", "white", "beyond the axis"),
    )
    handles = [
        Line2D([], [], marker=marker, ls="none", ms=5, color="#444444", mfc=fill, label=label)
        for marker, fill, label in looks
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _short(value: float) -> str:
    """Return a number to three digits, or whole from a hundred on."""
    return (f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}").replace("-", "−")


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what is beside what, and where reasons stand."""
    return prose(f"""
        {count(len(table), "published number")} that this experiment has a number for, at most {MOST}:
        ours as a share of the published one, and both (published → ours). Full: the two can be compared;
        hollow: they cannot, for the reason that the table of published numbers gives. Arrow heads lie
        beyond the axis. Descriptive; no test.{scores_note(settings)}
    """)


@figure("Published numbers and ours", "protocols", tables=["published"], when=["paper"])
def published_numbers(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the ledger and draw what has both numbers."""
    table = require_rows(
        tidy_published(read_table(inputs["published"])), "no published number has one of ours beside it."
    )
    return plot_published(table, settings), table, caption(table, settings)
