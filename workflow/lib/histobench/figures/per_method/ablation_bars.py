"""What each variant of a method loses or gains against the first (THItoGene, Fig. 3; BrST-Net, Table 2).

Inputs: ``leaderboard`` (leaderboard.tsv), ``comparisons`` (comparisons.tsv). Settings: ``entries`` (class of
each method; methods of one class are variants, the first configured is their base).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import beside, beside_head, require_rows, row_bands
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, REFERENCE_COLOUR, colour_tick_labels, new_figure
from histobench.figures.drawing.text import count, prose, scores_note, signed
from histobench.files import read_table

COLUMNS = ["base", "method", "difference", "low", "high", "p_holm", "n_patients", "change_mae", "change_rmse"]


def tidy_ablations(
    leaderboard: pd.DataFrame, comparisons: pd.DataFrame, entries: Mapping[str, str]
) -> pd.DataFrame:
    """Return base, method, difference of r (method minus base) with interval, changes of MAE and RMSE."""
    bases: dict[str, str] = {}
    board: Any = leaderboard.set_index("method")
    rows = []
    for method, entry in entries.items():
        if method not in board.index:
            continue
        base = bases.setdefault(entry, method)
        if base == method:
            continue
        sign, own = _pair(comparisons, method, base)
        if own is None:
            continue
        ends = sorted([sign * own["difference_low"], sign * own["difference_high"]])
        change = [float(board.loc[method, name] - board.loc[base, name]) for name in ("mae", "rmse")]
        rows.append(
            (base, method, sign * own["difference"], *ends, own["p_holm"], int(own["n_patients"]), *change)
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _pair(comparisons: pd.DataFrame, one: str, other: str) -> tuple[float, Any]:
    for sign, a, b in ((1.0, one, other), (-1.0, other, one)):
        found = comparisons[(comparisons["method_a"] == a) & (comparisons["method_b"] == b)]
        if len(found):
            return sign, found.iloc[0]
    return 1.0, None


def plot_ablations(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a bar with interval per variant, grouped by base, with the changes of the errors."""
    figure = new_figure(DOUBLE, 0.8 + 0.3 * len(table))
    axes = figure.subplots()
    heads = ("Holm p", "Δ MAE", "Δ RMSE")
    entry: Any
    for row, (_, entry) in enumerate(table.iterrows()):
        colour = settings.look(entry["base"]).colour
        axes.barh(row, entry["difference"], color=colour, alpha=0.5, height=0.66)
        axes.plot([entry["low"], entry["high"]], [row, row], color=colour, lw=1.6)
        cells = (f"{entry['p_holm']:.2g}", signed(entry["change_mae"], 3), signed(entry["change_rmse"], 3))
        for place, text in enumerate(cells):
            beside(axes, row, text, 22 + 40 * place, ha="center")
    for place, head in enumerate(heads):
        beside_head(axes, head, 22 + 40 * place, ha="center")
    names = [f"{settings.title(m)}\nagainst {settings.title(b)}" for m, b in
             zip(table["method"], table["base"], strict=True)]  # fmt: skip
    axes.set_yticks(range(len(table)), names, fontsize=6.5)
    axes.set_ylim(len(table) - 0.4, -0.6)
    colour_tick_labels(axes, table["base"], settings)
    axes.tick_params(axis="y", length=0)
    axes.axvline(0, color=REFERENCE_COLOUR, lw=0.8)
    axes.set_xlabel("difference of mean r")
    axes.grid(axis="x")
    row_bands(axes, len(table))
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what differs and what was tested."""
    return prose(f"""
        Variants of a method against the first configured one of its class, which differ in parameters
        only: difference of mean r with 95 % bootstrap interval over patients (n =
        {count(int(table["n_patients"].max()), "patient")}), and changes of MAE and RMSE, where less is
        better. p: Wilcoxon signed-rank test over patients, two-sided, Holm's correction over all pairs
        of the experiment.{scores_note(settings)}
    """)


@figure(
    "Ablations", "comparisons", tables=["leaderboard", "comparisons"], when=["ablation"], settings=["entries"]
)
def ablation_bars(inputs: Inputs, settings: Settings) -> Drawing:
    """Read scores and comparisons and draw the variants."""
    board, comparisons = read_table(inputs["leaderboard"]), read_table(inputs["comparisons"])
    table = require_rows(
        tidy_ablations(board, comparisons, settings.entries),
        "no variant was scored beside its base.",
    )
    return plot_ablations(table, settings), table, caption(table, settings)
