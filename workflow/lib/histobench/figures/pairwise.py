"""Differences of every pair of methods, paired over patients.

Inputs: ``comparisons`` (comparisons.tsv: method_a, method_b, difference with interval, p_holm).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from histobench.figures.parts import bare, method_rows, require_rows, tile_text
from histobench.figures.style import DIVERGING, DOUBLE, colour_tick_labels, method_title, new_figure, styled
from histobench.figures.text import count, scores_note, signed
from histobench.files import read_table

if TYPE_CHECKING:
    import pandas as pd

FIGURE = {
    "title": "Paired differences of methods",
    "group": "comparisons",
    "inputs": {"comparisons": "results/{experiment}/tables/comparisons.tsv"},
    "when": ["pair", "patients"],
}
LEVEL = 0.05
COLUMNS = ["row", "column", "difference", "low", "high", "p_holm", "smallest_p", "n_patients"]


def tidy_pairs(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return row, column, difference (row minus column) with interval for both orders of each pair.

    Rows are ordered by their mean difference from the others, best first.
    """
    import pandas as pd

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


@styled
def plot_pairs(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> Figure:
    """Draw a square of differences; frames mark what holds after Holm's correction."""
    import numpy as np
    from matplotlib.patches import Rectangle

    settings = settings or {}
    methods = list(dict.fromkeys(table["row"]))
    values = table.pivot(index="row", columns="column", values="difference").reindex(
        index=methods, columns=methods
    )
    figure = new_figure(min(DOUBLE, 2.4 + 0.42 * len(methods)), 1.5 + 0.24 * len(methods))
    axes = figure.subplots()
    limit = float(table["difference"].abs().max()) or 1.0
    axes.set_facecolor("#eeeeee")
    image = axes.imshow(
        values.to_numpy(float),
        cmap=DIVERGING,
        vmin=-limit,
        vmax=limit,
        aspect="auto",
        interpolation="nearest",
    )
    for (row, column), value in np.ndenumerate(values.to_numpy(float)):
        if value == value:
            text = signed(value, 3 if limit < 0.1 else 2).replace("0.", ".", 1)
            tile_text(axes, column, row, text, abs(value) > 0.62 * limit)
    for row, column, p in zip(table["row"], table["column"], table["p_holm"], strict=True):
        if p <= LEVEL:
            axes.add_patch(
                Rectangle(
                    (methods.index(column) - 0.45, methods.index(row) - 0.43),
                    0.9,
                    0.86,
                    fill=False,
                    ec="#222222",
                    lw=1.1,
                )
            )
    titles = [method_title(method, settings) for method in methods]
    axes.set_xticks(range(len(methods)), titles, rotation=50, ha="right", rotation_mode="anchor")
    colour_tick_labels(axes, methods, settings, axis="x")
    method_rows(axes, methods, settings)
    axes.set_ylim(len(methods) - 0.5, -0.5)
    bare(axes)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.set_label("r of the row minus r of the column")
    bar.outline.set_visible(False)
    return figure


def caption(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> str:
    """Say what was tested, corrected, and what could be found at all."""
    patients = int(table["n_patients"].max())
    found = int((table["p_holm"] <= LEVEL).sum()) // 2
    pairs = len(table) // 2
    return (
        "Difference of mean r between every pair of methods, paired over patients (n = "
        f"{count(patients, 'patient')}): row minus column. Framed: Wilcoxon signed-rank test over patients, "
        f"two-sided, p ≤ {LEVEL:g} after Holm's correction over {count(pairs, 'pair')}; {found} of them. The "
        f"smallest p that so many patients can give is {table['smallest_p'].min():.2g} before correction, so "
        "an unframed pair may just be untestable. Intervals are in the table." + scores_note(settings)
    )


def draw(inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """Read the comparisons and draw them."""
    table = require_rows(tidy_pairs(read_table(inputs["comparisons"])), "no two methods could be compared.")
    return plot_pairs(table, settings), table
