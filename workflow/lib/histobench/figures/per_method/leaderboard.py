"""Leader board: score with its interval per method, beside controls, oracles, null and the noise ceiling.

Inputs: ``leaderboard`` (leaderboard.tsv). Settings: ``families``, ``titles``, ``mode``, ``ceiling``.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.null import Null
from histobench.figures.drawing.parts import beside, family_legend
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, REFERENCE_COLOUR, empty_figure, new_figure
from histobench.figures.drawing.text import count, prose, scores_note, signed
from histobench.files import read_table

# A ceiling so many times beyond the highest score is named, and not drawn on the axis.
FAR = 4.0
# Between grid lines and the white of the page.
_BAND = "#e6e6e6"


def _beyond(table: pd.DataFrame) -> bool:
    """Tell whether a line at the ceiling would press all methods into a corner."""
    highest = float(table[["pearson", "pearson_high"]].max().max())
    return float(table["ceiling"].iloc[0]) > FAR * highest > 0


def tidy_leaderboard(leaderboard: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return one row per method, best first: score, interval, ceiling, positive genes, null envelope.

    The ceiling is what the table's fraction refers to, ``pearson / ceiling_fraction``, unless the table
    gives it; it belongs to the genes and patients, so all methods share it.
    """
    table = leaderboard.copy()
    if "family" not in table:
        table["family"] = [settings.family(method) for method in table["method"]]
    if "ceiling" not in table:
        fraction = table.get("ceiling_fraction")
        # The largest score gives the ratio with the fewest rounding errors.
        usable = table[fraction.notna() & (fraction > 0)] if fraction is not None else table.iloc[:0]
        best = usable.nlargest(1, "pearson")
        table["ceiling"] = (
            float((best["pearson"] / best["ceiling_fraction"]).iloc[0]) if len(best) else float("nan")
        )
    columns = [
        "method",
        "family",
        "pearson",
        "pearson_low",
        "pearson_high",
        "ceiling",
        "n_positive",
        "n_genes",
        "null_low",
        "null_high",
        "n_permutations",
    ]
    order = table.sort_values(["pearson", "method"], ascending=[False, True], na_position="last")
    return order[[column for column in columns if column in order]].reset_index(drop=True)


def plot_leaderboard(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw dots and intervals, a row per method; the null as a band, the ceiling as a line."""
    if table.empty:
        return empty_figure("No method has been scored.")
    figure = new_figure(DOUBLE, 0.95 + 0.235 * len(table))
    axes = figure.subplots()
    entry: Any
    for row, entry in enumerate(table.itertuples()):
        look = settings.look(entry.method, entry.family)
        axes.plot(
            [entry.pearson_low, entry.pearson_high],
            [row, row],
            color=look.colour,
            lw=1.6,
            solid_capstyle="butt",
        )
        axes.plot(
            entry.pearson,
            row,
            look.marker,
            color=look.colour,
            mfc=look.face,
            mew=1.2,
            ms=5.5,
            label="_",
            zorder=3,
        )
    axes.axvline(0, color=REFERENCE_COLOUR, lw=0.7)
    null = Null.of(table)
    if null:
        axes.axvspan(null.low, null.high, color=_BAND, lw=0, zorder=0)
    ceiling = float(table["ceiling"].iloc[0])
    beyond = _beyond(table)
    if ceiling == ceiling:
        if beyond:
            axes.set_xlim(right=1.12 * float(table[["pearson", "pearson_high"]].max().max()))
        else:
            axes.axvline(ceiling, color=REFERENCE_COLOUR, lw=1.0, ls=(0, (4, 2)))
        axes.annotate(
            f"noise ceiling {ceiling:.2f}" + (" →" if beyond else ""),
            (axes.get_xlim()[1] if beyond else ceiling, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(-2, 2),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=7,
        )
    axes.set_yticks(range(len(table)), [settings.title(method) for method in table["method"]])
    for label, entry in zip(axes.get_yticklabels(), table.itertuples(), strict=True):
        label.set_color(settings.look(entry.method, entry.family).colour)
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.set_xlabel("Pearson r between predicted and measured expression, mean over genes and patients")
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    _score_column(axes, table)
    band = []
    if null:
        band.append(Patch(color=_BAND, lw=0, label=f"null: {count(null.n_permutations, 'permutation')}"))
    family_legend(figure, table["family"], further=band)
    return figure


def _score_column(axes: Any, table: pd.DataFrame) -> None:
    """Print score and interval to the right of the axes."""
    entry: Any
    for row, entry in enumerate(table.itertuples()):
        known = entry.pearson == entry.pearson
        text = f"{signed(entry.pearson, 3)} [{signed(entry.pearson_low, 3)}, {signed(entry.pearson_high, 3)}]"
        beside(axes, row, text if known else "missing")


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what is plotted, over how many genes and patients, and how the intervals were made."""
    genes = int(table["n_genes"].max()) if len(table) and table["n_genes"].notna().any() else 0
    patients = settings.n_patients
    null = Null.of(table)
    sample = f"{count(genes, 'gene')}" + (f", {count(int(patients), 'patient')}" if patients else "")
    ceiling = table["ceiling"].iloc[0] if len(table) else float("nan")
    line = (
        f" {'Far beyond the axis, at' if _beyond(table) else 'The dashed line at'} {ceiling:.3f} is the "
        "noise ceiling: the correlation that sequencing noise leaves "
        "attainable, from binomial thinning of the counts with Spearman-Brown correction."
        if ceiling == ceiling
        else " The noise ceiling is not available."
    )
    band = (
        f" Grey band: null ({settings.listed(null.methods)}), {null.between}; dot and bar are of one a seed. "
        "All genes of a permutation share it: the band, and not that bar, is what chance gives. "
        f"{null.outside(table, settings)}"
        if null
        else ""
    )
    return prose(f"""
        Score of {count(len(table), "method")} ({sample}). Dot: Pearson r per gene and section, averaged
        over sections, then patients, then genes; a constant prediction counts as 0. Bar: 95 % percentile
        bootstrap interval over patients; no correction for the number of methods.{line}{band} Hollow markers
        are controls and oracles; an oracle uses measured values of the test section and is not a
        competitor.{scores_note(settings)}
    """)


@figure("Leader board", "scores", tables=["leaderboard"])
def leaderboard(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the leader board and draw it."""
    table = tidy_leaderboard(read_table(inputs["leaderboard"]), settings)
    return plot_leaderboard(table, settings), table, caption(table, settings)
