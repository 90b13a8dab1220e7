"""What a cohort holds: spots, sequencing depth and genes per section.

Inputs: ``sections`` (sections.tsv of a cohort). Settings: ``cohort``.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import log_axis
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, empty_figure, new_figure
from histobench.figures.drawing.text import count, prose
from histobench.files import read_table

# Two neutral tones tell neighbouring patients apart; they are no code for anything else.
_TONES = ("#4477AA", "#88B0D4")
_QUANTITIES = (
    ("n_spots_kept", "spots", "spots per section"),
    ("median_umi", "UMIs", "median UMIs per spot"),
    ("n_genes", "genes", "genes per section"),
)


def tidy_cohort(sections: pd.DataFrame) -> pd.DataFrame:
    """Return section, patient and one column per quantity, sorted by patient and section."""
    known = [name for name, _, _ in _QUANTITIES if name in sections]
    table = sections[["section", "patient", *known]].astype({"section": str, "patient": str})
    return table.sort_values(["patient", "section"]).reset_index(drop=True)


def plot_cohort(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw bars of spots, UMIs (logarithmic where they span a decade) and genes, grouped by patient."""
    quantities = [
        quantity for quantity in _QUANTITIES if quantity[0] in table and table[quantity[0]].notna().any()
    ]
    if table.empty or not quantities:
        return empty_figure("The cohort has no sections.")
    patients = list(dict.fromkeys(table["patient"]))
    colours = [_TONES[patients.index(patient) % 2] for patient in table["patient"]]
    figure = new_figure(max(3.5, min(DOUBLE, 1.2 + 0.2 * len(table))), 1.15 * len(quantities) + 0.7)
    panels = figure.subplots(len(quantities), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (column, _, label) in zip(panels, quantities, strict=True):
        values = table[column].astype(float)
        positive = values[values > 0]
        if len(positive) and positive.max() / positive.min() > 10:
            axes.set_yscale("log")
            axes.set_ylim(positive.min() / 2, positive.max() * 1.6)
            log_axis(axes.yaxis)
            label += "\n(log scale)"
        axes.bar(range(len(table)), values, color=colours, width=0.8)
        axes.set_ylabel(label)
        axes.grid(axis="y")
        axes.margins(x=0.01)
        axes.tick_params(axis="x", length=0)
        if axes.get_yscale() == "linear":
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    panels[-1].set_xticks(range(len(table)), table["section"], rotation=90 if len(table) > 12 else 0)
    panels[-1].tick_params(axis="x", length=0, labelsize=7 if len(table) <= 40 else 5)
    panels[-1].set_xlabel("section (tone changes with the patient)")
    _name_patients(panels[0], table["patient"])
    figure.align_ylabels()
    return figure


def _name_patients(axes: Any, patients: pd.Series) -> None:
    """Print the patient's name above each group of sections, where there is room."""
    names = list(dict.fromkeys(patients))
    if max(map(len, names)) > 4:
        return
    for name in names:
        places = [place for place, patient in enumerate(patients) if patient == name]
        axes.annotate(
            name, (sum(places) / len(places), 1.0), xycoords=("data", "axes fraction"), xytext=(0, 2),
            textcoords="offset points", ha="center", weight="bold", fontsize=7.5,
        )  # fmt: skip


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say how many patients, sections and spots there are."""
    cohort = settings.cohort
    spots = int(table["n_spots_kept"].sum()) if "n_spots_kept" in table else 0
    return prose(f"""
        Cohort{" " + cohort if cohort else ""}: n = {count(table["patient"].nunique(), "patient")},
        {count(len(table), "section")}, {count(spots, "spot")} after removal of those that cannot be used
        (reasons in the table). Per section: spots, median UMIs per spot over all measured genes, genes
        in the section's matrix. Sections of a patient are adjacent and share a tone. Descriptive; no
        test.
    """)


@figure(
    "Spots, depth and genes of every section",
    "cohort",
    inputs={"sections": "data/{cohort}/sections.tsv"},
)
def cohort_overview(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the table of sections and draw it."""
    table = tidy_cohort(read_table(inputs["sections"]))
    return plot_cohort(table, settings), table, caption(table, settings)
