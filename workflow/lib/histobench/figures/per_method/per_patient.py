"""Score of each method in each patient, as a table in colour.

Inputs: ``patients`` (patients.tsv: method, patient, pearson).
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import colour_bar
from histobench.figures.drawing.plots import heat_map
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import (
    DOUBLE,
    colour_tick_labels,
    empty_figure,
    new_figure,
)
from histobench.figures.drawing.text import count, prose, scores_note, signed
from histobench.files import read_table


def tidy_per_patient(patients: pd.DataFrame) -> pd.DataFrame:
    """Return method, patient, pearson; patients by name, methods by mean score, best first."""
    table = patients[["method", "patient", "pearson"]].copy()
    table["patient"] = table["patient"].astype(str)
    means = table.groupby("method")["pearson"].mean().sort_values(ascending=False, kind="stable")
    rank = {method: place for place, method in enumerate(means.index)}
    table["rank"] = table["method"].map(rank)
    return table.sort_values(["rank", "patient"]).drop(columns="rank").reset_index(drop=True)


def plot_per_patient(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw methods in rows and patients in columns on one colour scale that is white at zero."""
    if table.empty:
        return empty_figure("No patient has been scored.")
    methods, patients = list(dict.fromkeys(table["method"])), list(dict.fromkeys(table["patient"]))
    values = table.pivot(index="method", columns="patient", values="pearson").loc[methods, patients]
    width = min(DOUBLE, 2.4 + 0.5 * len(patients))
    figure = new_figure(width, max(1.5, 0.9 + 0.235 * len(methods)))
    axes = figure.subplots()
    limit = float(values.abs().max().max()) if values.notna().any(axis=None) else 1.0
    image = heat_map(
        axes,
        values,
        values.map(signed) if len(patients) <= 16 else None,
        limits=(-limit, limit),
        rows=[settings.title(method) for method in methods],
        columns=patients,
        missing="n/a" if len(patients) <= 16 else "",
        rotation=0 if max(map(len, patients)) < 5 else 60,
    )
    colour_tick_labels(axes, methods, settings)
    axes.set_xlabel("patient (r: mean over genes)")
    colour_bar(figure, image, axes, "Pearson r", fraction=0.04)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what a cell is and how rows and columns are ordered."""
    methods, patients = table["method"].nunique(), table["patient"].nunique()
    return prose(f"""
        Pearson r per gene and section, averaged over the sections of a patient and over genes:
        {count(methods, "method")}, n = {count(patients, "patient")}. Rows are sorted by their mean. The
        patient is the unit of replication; the spread along a row is what the interval of the leader
        board reflects. No test.{scores_note(settings)}
    """)


@figure("Score by patient", "scores", tables=["patients"])
def per_patient(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the scores per patient and draw them."""
    table = tidy_per_patient(read_table(inputs["patients"]))
    return plot_per_patient(table, settings), table, caption(table, settings)
