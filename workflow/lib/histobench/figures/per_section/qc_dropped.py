"""What each filter of a quality-control profile dropped, per section.

Inputs: ``summaries`` (one or several summary.tsv: section, n_spots_raw, n_spots_kept, dropped_*). Settings:
``qc`` (name of the profile where there is one; otherwise it is the name of the summary's folder).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import as_list
from histobench.figures.drawing.style import DOUBLE, QUIET_COLOUR, empty_figure, new_figure
from histobench.figures.drawing.text import count, prose
from histobench.files import read_table

# A white patch teaches nothing, but its spot is still predicted and scored.
_REASONS = {"white_patch": "white patch (training only)"}
# Tol's "bright", which keeps neighbours apart for colour-blind readers.
_COLOURS = ("#4477AA", "#EE6677", "#CCBB44", "#228833", "#66CCEE", "#AA3377", "#BBBBBB")


def reason_title(column: str) -> str:
    """Return a reason for print from the column that counts it: "dropped_low_umi" -> "low UMI"."""
    reason = column.removeprefix("dropped_")
    return _REASONS.get(reason, reason.replace("_", " ").replace("umi", "UMI"))


def tidy_qc(summaries: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return profile, section, reason, n, n_raw; with one row per reason, "kept" included."""
    blocks = []
    for profile, summary in summaries.items():
        reasons = [column for column in summary if str(column).startswith("dropped_")]
        long = summary.rename(columns={"n_spots_kept": "kept"}).melt(
            id_vars=["section", "n_spots_raw"],
            value_vars=["kept", *reasons],
            var_name="reason",
            value_name="n",
        )
        long.insert(0, "profile", profile)
        blocks.append(long)
    if not blocks:
        return pd.DataFrame(columns=["profile", "section", "reason", "n", "n_raw"])
    table = pd.concat(blocks, ignore_index=True).rename(columns={"n_spots_raw": "n_raw"})
    table["reason"] = [reason_title(reason) for reason in table["reason"]]
    table["n"] = table["n"].fillna(0).astype(int)
    return table[["profile", "section", "reason", "n", "n_raw"]]


def plot_qc(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw the share of spots dropped per section, stacked by reason, one panel per profile."""
    if table.empty:
        return empty_figure("No quality control has run.")
    table = table.astype({"section": str})
    profiles = list(dict.fromkeys(table["profile"]))
    dropped = table[(table["reason"] != "kept") & (table["n"] > 0)]
    reasons = list(dict.fromkeys(dropped["reason"]))
    sections = sorted(table["section"].unique())
    figure = new_figure(max(4.2, min(DOUBLE, 1.4 + 0.2 * len(sections))), 1.35 * len(profiles) + 0.8)
    panels = figure.subplots(len(profiles), 1, sharex=True, squeeze=False)[:, 0]
    for axes, profile in zip(panels, profiles, strict=True):
        rows = table[table["profile"] == profile]
        raw = rows.drop_duplicates("section").set_index("section")["n_raw"].reindex(sections).astype(float)
        floor = raw * 0.0
        for reason in reasons:
            part = rows[rows["reason"] == reason].set_index("section")["n"].reindex(sections).fillna(0)
            share = (100 * part / raw.where(raw > 0)).fillna(0)
            axes.bar(
                range(len(sections)),
                share,
                bottom=floor,
                width=0.8,
                color=_colour(reason, reasons),
                label=reason,
            )
            floor = floor + share
        total = int(rows.loc[rows["reason"] != "kept", "n"].sum())
        axes.set_title(f"{profile}: {total:,} of {int(raw.sum()):,} spots dropped", loc="left")
        axes.set_ylim(0, max(1.0, 1.1 * float(floor.max())))
        axes.grid(axis="y")
        axes.set_xlim(-0.6, len(sections) - 0.4)
        axes.tick_params(axis="x", length=0)
        if total == 0:
            axes.set_yticks([0])
            axes.text(0.5, 0.5, "nothing dropped", transform=axes.transAxes, ha="center", color=QUIET_COLOUR)
    figure.supylabel("spots dropped, % of the section", fontsize=8)
    panels[-1].set_xticks(range(len(sections)), sections, rotation=90 if len(sections) > 12 else 0)
    panels[-1].tick_params(axis="x", length=0, labelsize=7 if len(sections) <= 40 else 5)
    panels[-1].set_xlabel("section")
    handles = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if handles:
        figure.legend(
            list(handles.values()), list(handles), loc="outside lower center", ncols=min(4, len(handles))
        )
    return figure


def _colour(reason: str, reasons: Sequence[str]) -> str:
    return _COLOURS[list(reasons).index(reason) % len(_COLOURS)]


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say how many spots each profile dropped, and why."""
    parts = []
    for profile, rows in table.groupby("profile", sort=False):
        reasons = rows[rows["reason"] != "kept"].groupby("reason", sort=False)["n"].sum()
        listed = ", ".join(f"{reason} {number:,}" for reason, number in reasons.items() if number)
        raw = int(rows.drop_duplicates("section")["n_raw"].sum())
        parts.append(
            f"{profile}: {int(reasons.sum()):,} of {count(raw, 'spot')}" + (f" ({listed})" if listed else "")
        )
    return prose(f"""
        Spots dropped by quality control as a share of each section, by the first filter that rejected
        the spot. {"; ".join(parts)}. Descriptive; no test.
    """)


@figure(
    "Spots that quality control dropped",
    "cohort",
    inputs={"summaries": "{experiment}/qc/summary.tsv"},
)
def qc_dropped(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the summaries and draw them; a profile is named by its folder."""
    table = tidy_qc({_profile(path, settings): read_table(path) for path in as_list(inputs["summaries"])})
    return plot_qc(table, settings), table, caption(table, settings)


def _profile(path: Path, settings: Settings) -> str:
    if settings.qc:
        return f"profile {settings.qc}"
    return str(settings.experiment or "QC") if path.parent.name == "qc" else path.parent.name
