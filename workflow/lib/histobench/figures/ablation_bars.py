"""What each variant of a method loses or gains against the first (THItoGene, Fig. 3; BrST-Net, Table 2).

Inputs: ``leaderboard`` (leaderboard.tsv), ``comparisons`` (comparisons.tsv). Settings: ``entries`` (class of
each method; methods of one class are variants, the first configured is their base).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from histobench.figures.parts import require_rows, row_bands
from histobench.figures.style import (
    DOUBLE,
    REFERENCE_COLOUR,
    colour_tick_labels,
    method_style,
    method_title,
    new_figure,
    styled,
)
from histobench.figures.text import count, scores_note, signed
from histobench.files import read_table

if TYPE_CHECKING:
    import pandas as pd

FIGURE = {
    "title": "Ablations",
    "group": "comparisons",
    "inputs": {
        "leaderboard": "results/{experiment}/tables/leaderboard.tsv",
        "comparisons": "results/{experiment}/tables/comparisons.tsv",
    },
    "when": ["ablation"],
    "settings": ["entries"],
}
COLUMNS = ["base", "method", "difference", "low", "high", "p_holm", "n_patients", "change_mae", "change_rmse"]


def tidy_ablations(
    leaderboard: pd.DataFrame, comparisons: pd.DataFrame, entries: Mapping[str, str]
) -> pd.DataFrame:
    """Return base, method, difference of r (method minus base) with interval, changes of MAE and RMSE."""
    import pandas as pd

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


@styled
def plot_ablations(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> Figure:
    """Draw a bar with interval per variant, grouped by base, with the changes of the errors."""
    settings = settings or {}
    figure = new_figure(DOUBLE, 0.8 + 0.3 * len(table))
    axes = figure.subplots()
    heads = ("Holm p", "Δ MAE", "Δ RMSE")
    entry: Any
    for row, (_, entry) in enumerate(table.iterrows()):
        colour = method_style(entry["base"], settings).colour
        axes.barh(row, entry["difference"], color=colour, alpha=0.5, height=0.66)
        axes.plot([entry["low"], entry["high"]], [row, row], color=colour, lw=1.6)
        cells = (f"{entry['p_holm']:.2g}", signed(entry["change_mae"], 3), signed(entry["change_rmse"], 3))
        for place, text in enumerate(cells):
            axes.annotate(
                text,
                (1.0, row),
                xycoords=("axes fraction", "data"),
                xytext=(22 + 40 * place, 0),
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=7,
                annotation_clip=False,
            )
    for place, head in enumerate(heads):
        axes.annotate(
            head,
            (1.0, 1.0),
            xycoords="axes fraction",
            xytext=(22 + 40 * place, 3),
            textcoords="offset points",
            ha="center",
            fontsize=7,
            weight="bold",
            annotation_clip=False,
        )
    names = [f"{method_title(m, settings)}\nagainst {method_title(b, settings)}" for m, b in
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


def caption(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> str:
    """Say what differs and what was tested."""
    return (
        "Variants of a method against the first configured one of its class, which differ in parameters "
        "only: difference of mean r with 95 % bootstrap interval over patients (n = "
        f"{count(int(table['n_patients'].max()), 'patient')}), and changes of MAE and RMSE, where less is "
        "better. p: Wilcoxon signed-rank test over patients, two-sided, Holm's correction over all pairs of "
        "the experiment." + scores_note(settings)
    )


def draw(inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """Read scores and comparisons and draw the variants."""
    board, comparisons = read_table(inputs["leaderboard"]), read_table(inputs["comparisons"])
    table = require_rows(
        tidy_ablations(board, comparisons, settings.get("entries", {})),
        "no variant was scored beside its base.",
    )
    return plot_ablations(table, settings), table
