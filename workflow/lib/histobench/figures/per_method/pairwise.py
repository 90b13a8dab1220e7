"""Differences of every pair of methods, paired over patients.

Inputs: ``comparisons`` (comparisons.tsv: method_a, method_b, difference with interval, p_holm).
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import colour_bar, require_rows
from histobench.figures.drawing.plots import heat_map
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, colour_tick_labels, new_figure
from histobench.figures.drawing.text import count, prose, scores_note, signed
from histobench.files import read_table

LEVEL = 0.05
COLUMNS = ["row", "column", "difference", "low", "high", "p_holm", "smallest_p", "n_patients"]


def tidy_pairs(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return row, column, difference (row minus column) with interval for both orders of each pair.

    Rows are ordered by their mean difference from the others, best first.
    """
    same = ["p_holm", "smallest_p", "n_patients"]
    names = {"method_a": "row", "method_b": "column", "difference_low": "low", "difference_high": "high"}
    forward = comparisons.rename(columns=names)
    back = forward.assign(row=forward["column"], column=forward["row"], difference=-forward["difference"],
                          low=-forward["high"], high=-forward["low"])  # fmt: skip
    table = pd.concat([forward, back], ignore_index=True)[[*COLUMNS[:5], *same]]
    order = table.groupby("row")["difference"].mean()
    table = table.assign(mean=table["row"].map(order), other=table["column"].map(order))
    table = table.sort_values(["mean", "row", "other"], ascending=[False, True, False], kind="stable")
    return table[COLUMNS].reset_index(drop=True)


def plot_pairs(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a square of differences; frames mark what holds after Holm's correction."""
    methods = list(dict.fromkeys(table["row"]))
    values = table.pivot(index="row", columns="column", values="difference").reindex(
        index=methods, columns=methods
    )
    figure = new_figure(min(DOUBLE, 2.4 + 0.42 * len(methods)), 1.5 + 0.24 * len(methods))
    axes = figure.subplots()
    limit = float(table["difference"].abs().max()) or 1.0
    texts = values.map(lambda value: signed(value, 3 if limit < 0.1 else 2).replace("0.", ".", 1))
    titles = [settings.title(method) for method in methods]
    image = heat_map(
        axes, values, texts, limits=(-limit, limit), rows=titles, columns=titles,
        rotation=50, ha="right", rotation_mode="anchor",
    )  # fmt: skip
    for row, column, p in zip(table["row"], table["column"], table["p_holm"], strict=True):
        if p <= LEVEL:
            axes.add_patch(
                Rectangle(
                    (methods.index(column) + 0.05, methods.index(row) + 0.07),
                    0.9,
                    0.86,
                    fill=False,
                    ec="#222222",
                    lw=1.1,
                )
            )
    for axis in ("x", "y"):
        colour_tick_labels(axes, methods, settings, axis=axis)
    colour_bar(figure, image, axes, "r of the row minus r of the column", fraction=0.04)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what was tested, corrected, and what could be found at all."""
    patients = int(table["n_patients"].max())
    found = int((table["p_holm"] <= LEVEL).sum()) // 2
    pairs = len(table) // 2
    return prose(f"""
        Difference of mean r between every pair of methods, paired over patients (n =
        {count(patients, "patient")}): row minus column. Framed: Wilcoxon signed-rank test over patients,
        two-sided, p ≤ {LEVEL:g} after Holm's correction over {count(pairs, "pair")}; {found} of them.
        The smallest p that so many patients can give is {table["smallest_p"].min():.2g} before
        correction, so an unframed pair may just be untestable. Intervals are in the
        table.{scores_note(settings)}
    """)


@figure("Paired differences of methods", "comparisons", tables=["comparisons"], when=["pair", "patients"])
def pairwise(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the comparisons and draw them."""
    table = require_rows(tidy_pairs(read_table(inputs["comparisons"])), "no two methods could be compared.")
    return plot_pairs(table, settings), table, caption(table, settings)
