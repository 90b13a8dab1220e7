"""What an encoder is worth: score by head and field, against size, cost and terms, and its rank by protocol.

Inputs: ``encoder_scores`` (encoder_scores.tsv), ``encoders`` (encoders.tsv).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import log_axis, require_rows, row_bands
from histobench.figures.drawing.plots import heat_map
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, QUIET_COLOUR, REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose, scores_note, signed
from histobench.files import read_table

SCORINGS = {"within": "within\nsections", "pooled": "pooled", "centred": "slide-\ncentred"}
# After Okabe & Ito (2008), darkened like those of methods.
HEAD_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#882255", "#C98600", "#332288", "#777777", "#117733")
# Terms of use -> marker.
TERMS = {
    "free": ("o", "commercial use allowed"),
    "restricted": ("s", "not commercial"),
    "none": ("D", "no weights"),
}
COLUMNS = [
    "encoder", "title", "head", "field_um", "scoring", "value", "low", "high", "rank", "n_encoders",
    "parameters", "seconds_per_1000_spots", "licence", "terms", "kind",
]  # fmt: skip


def tidy_encoders(scores: pd.DataFrame, encoders: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of arms with what is known of their encoder; controls and ceiling have none.

    ``kind`` is "encoder", "control" or "ceiling"; ``terms`` a key of :data:`TERMS`.
    """
    known = encoders.set_index("encoder")
    table = scores.copy()
    for column in ("title", "parameters", "seconds_per_1000_spots", "licence"):
        table[column] = table["encoder"].map(known[column])
    free = table["encoder"].map(known["commercial"].astype(str).str.lower().isin(["true", "1"])).eq(True)
    random = table["start"].eq("none")
    table["terms"] = "restricted"
    table.loc[free, "terms"] = "free"
    table.loc[random, "terms"] = "none"
    table.loc[random, "title"] = table.loc[random, "title"] + ", random"
    table["kind"] = "encoder"
    table.loc[table["encoder"].isna() | table["encoder"].eq(""), "kind"] = "control"
    table.loc[table["method"].eq("ceiling"), "kind"] = "ceiling"
    other = table["kind"] != "encoder"
    table.loc[other, "title"] = table.loc[other, "method"]
    table["head"] = table["head"].fillna("")
    return table[COLUMNS].reset_index(drop=True)


def _order(table: pd.DataFrame) -> list[str]:
    """Titles of encoders, the best first, by their mean score within sections."""
    own = table[(table["kind"] == "encoder") & (table["scoring"] == "within")]
    return list(own.groupby("title")["value"].mean().sort_values(ascending=False, kind="stable").index)


def _fields(table: pd.DataFrame) -> list[float]:
    return sorted(set(table.loc[table["kind"] == "encoder", "field_um"].dropna()))


def _dots(
    axes: Axes, table: pd.DataFrame, titles: list[str], colours: Mapping[str, str], settings: Settings
) -> None:
    """Draw the score of each encoder with its interval, a line of dots for each head."""
    own = table[(table["kind"] == "encoder") & (table["scoring"] == "within")]
    fields = _fields(table)
    lanes = [(head, field) for head in colours for field in (*fields,) or (None,)]
    for lane, (head, field) in enumerate(lanes):
        rows = own[own["head"] == head]
        if field is not None:
            rows = rows[rows["field_um"] == field]
        shift = 0.76 * ((lane + 0.5) / len(lanes) - 0.5)
        face = colours[head] if field in (None, *fields[:1]) else "white"
        row: Any
        for row in rows.itertuples():
            y = titles.index(row.title) + shift
            axes.plot([row.low, row.high], [y, y], color=colours[head], lw=0.9, alpha=0.7)
            axes.plot(row.value, y, "o", color=colours[head], mfc=face, ms=4, mew=1.0, zorder=3)
    marked = table[(table["kind"] != "encoder") & (table["scoring"] == "within")]
    line: Any
    for line in marked.itertuples():
        ceiling = line.kind == "ceiling"
        axes.axvline(line.value, color=REFERENCE_COLOUR if ceiling else QUIET_COLOUR,
                     lw=0.9, ls="-" if ceiling else "--", zorder=1)  # fmt: skip
        name = "ceiling" if ceiling else settings.title(line.title)
        axes.text(line.value, -0.62, name, rotation=90, ha="center", va="bottom", fontsize=5.8,
                  color=REFERENCE_COLOUR if ceiling else QUIET_COLOUR)  # fmt: skip
    axes.set_yticks(range(len(titles)), titles)
    axes.set_ylim(len(titles) - 0.45, -0.55)
    row_bands(axes, len(titles))
    axes.set_xlabel("Pearson r within sections")


# What an encoder costs: a column, and how its axis is called.
COSTS = {
    "parameters": "parameters of the encoder",
    "seconds_per_1000_spots": "seconds per 1,000 spots",
}


def _against(axes: Axes, table: pd.DataFrame, cost: str, colours: Mapping[str, str]) -> None:
    """Draw the best head's score of each encoder against what it costs; the marker is its terms."""
    own = table[(table["kind"] == "encoder") & (table["scoring"] == "within") & table[cost].notna()]
    best = own.sort_values("value", ascending=False, kind="stable").drop_duplicates("title")
    for _, row in best.iterrows():
        axes.plot([row[cost]] * 2, [row["low"], row["high"]], color=colours[row["head"]], lw=0.9, alpha=0.7)
        axes.plot(row[cost], row["value"], TERMS[row["terms"]][0], color=colours[row["head"]], ms=5, zorder=3)
        axes.annotate(row["title"], (row[cost], row["value"]), xytext=(4, 3), textcoords="offset points",
                      fontsize=5.8)  # fmt: skip
    axes.set_xscale("log")
    if len(best):
        axes.set_xlim(best[cost].min() / 3, best[cost].max() * 6)
    log_axis(axes.xaxis)
    axes.set_xlabel(COSTS[cost])
    axes.set_ylabel("Pearson r, best head")
    axes.grid()


def _ranks(
    axes: Axes, table: pd.DataFrame, titles: list[str], colours: Mapping[str, str], settings: Settings
) -> None:
    """Draw the rank of each encoder under every head and way of scoring, at the first field."""
    own = table[table["kind"] == "encoder"]
    fields = _fields(table)
    if fields:
        own = own[own["field_um"] == fields[0]]
    pairs = [(head, scoring) for head in colours for scoring in SCORINGS]
    last = max(len(titles), 2)
    grid = own.pivot_table(index="title", columns=["head", "scoring"], values="rank")
    ranks = grid.reindex(index=titles, columns=pd.MultiIndex.from_tuples(pairs))
    heat_map(
        axes, ranks, ranks.map(lambda rank: f"{rank:g}"), limits=(1, last), rows=titles,
        columns=[SCORINGS[scoring] for _, scoring in pairs], colours="YlGnBu_r", missing="–",
    )  # fmt: skip
    axes.xaxis.tick_top()
    if len(colours) > 4:  # else names of neighbours touch
        axes.tick_params(axis="x", labelsize=26 / len(colours))
    for place, head in enumerate(colours):
        middle, below = (place + 0.5) * len(SCORINGS), len(titles) + 0.1
        axes.text(middle, below, settings.heads.get(head, head), ha="center", va="top", fontsize=6.2,
                  color=colours[head])  # fmt: skip
        if place:
            axes.axvline(place * len(SCORINGS), color="white", lw=2)


def plot_encoders(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw scores, size and ranks of the compared encoders."""
    titles = _order(table)
    heads = list(dict.fromkeys(table.loc[table["kind"] == "encoder", "head"]))
    colours = {head: HEAD_COLOURS[i % len(HEAD_COLOURS)] for i, head in enumerate(heads)}
    lanes = len(heads) * max(len(_fields(table)), 1)
    # the names of controls stand upright above the dots
    upper = max(3.9, 1.5 + len(titles) * (0.16 + 0.085 * lanes))
    drawn = new_figure(DOUBLE, upper + 1.3 + 0.24 * len(titles))
    parts: Any = drawn.subfigures(2, 1, height_ratios=[upper, 1.1 + 0.24 * len(titles)])
    above, below = parts
    grid = above.add_gridspec(len(COSTS), 2, width_ratios=[1.5, 1])
    _dots(above.add_subplot(grid[:, 0]), table, titles, colours, settings)
    for place, cost in enumerate(COSTS):
        _against(above.add_subplot(grid[place, 1]), table, cost, colours)
    _ranks(below.subplots(), table, titles, colours, settings)
    handles = [Line2D([], [], color=colour, marker="o", ms=4, lw=0.9, label=settings.heads.get(head, head))
               for head, colour in colours.items()]  # fmt: skip
    shown = table.loc[table["kind"] == "encoder", "terms"]
    handles += [Line2D([], [], color=REFERENCE_COLOUR, marker=marker, ls="none", ms=4, label=text)
                for key, (marker, text) in TERMS.items() if key in set(shown)]  # fmt: skip
    above.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=6.2)
    return drawn


def missing_text(encoders: pd.DataFrame) -> str:
    """Name the encoders that could not be had, and where it says what brings them; or nothing."""
    missing = list(encoders.loc[encoders["status"] != "compared", "title"])
    if not missing:
        return ""
    return f" Not available here: {', '.join(missing)}; the table `encoders` says what brings each."


def _where(encoders: pd.DataFrame) -> str:
    """Say on what encoders were timed; times of several machines do not compare."""
    hardware = sorted(
        {each for told in encoders["described_on"].dropna() for each in told.split("; ") if each}
    )
    if not hardware:
        return ""
    several = ", which differ, so that times compare within one only" if len(hardware) > 1 else ""
    return f" ({'; '.join(hardware)}{several})"


def caption(table: pd.DataFrame, encoders: pd.DataFrame, settings: Settings) -> str:
    """Say what dots, markers and ranks are, and which encoders are missing."""
    own = table[table["kind"] == "encoder"]
    fields = _fields(table)
    shown = ""
    if len(fields) > 1:
        others = " and ".join(f"{field:g}" for field in fields[1:])
        shown = f" Filled dots see {fields[0]:g} µm, hollow ones {others} µm; ranks are those of the first."
    first = own[own["scoring"] == "within"].sort_values("value", ascending=False).iloc[0]
    compared = f"{count(own['title'].nunique(), 'encoder')} with {count(own['head'].nunique(), 'head')}"
    where = _where(encoders)
    return prose(f"""
        {compared}: mean Pearson r within sections with its 95 % bootstrap interval over patients, beside
        controls (dashed) and the noise ceiling; the best head against the size of the network and against
        the time that this run took to describe spots by it{where}, marker by terms of use; and the rank of
        each encoder by head and way of scoring, 1 the best: within sections,
        over all spots of all sections, and over all spots after each section's mean is taken away.{shown}
        The highest is {first["title"]}, {signed(float(first["value"]), 3)}. Ranks do not say how far apart
        encoders are. Descriptive; no test.{missing_text(encoders)}{scores_note(settings)}
    """)


@figure(
    "Encoders: score, size, cost, terms and rank",
    "encoders",
    tables=["encoder_scores", "encoders"],
    when=["compared_encoders"],
    settings=["heads"],
)
def encoders(inputs: Inputs, settings: Settings) -> Drawing:
    """Read both tables and draw them."""
    known = read_table(inputs["encoders"])
    table = tidy_encoders(read_table(inputs["encoder_scores"]), known)
    require_rows(table[table["kind"] == "encoder"], "no encoder has been scored.")
    return plot_encoders(table, settings), table, caption(table, known, settings)
