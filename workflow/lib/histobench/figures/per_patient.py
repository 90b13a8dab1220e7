"""Score of each method in each patient, as a table in colour.

Inputs: ``patients`` (patients.tsv: method, patient, pearson).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from histobench.figures.style import (
    DIVERGING,
    DOUBLE,
    colour_tick_labels,
    empty_figure,
    method_title,
    new_figure,
    styled,
)
from histobench.figures.text import count, scores_note, signed
from histobench.files import read_table

if TYPE_CHECKING:
    import pandas as pd

FIGURE = {
    "title": "Score by patient",
    "group": "scores",
    "inputs": {"patients": "results/{experiment}/tables/patients.tsv"},
}


def tidy_per_patient(patients: pd.DataFrame) -> pd.DataFrame:
    """Return method, patient, pearson; patients by name, methods by mean score, best first."""
    table = patients[["method", "patient", "pearson"]].copy()
    table["patient"] = table["patient"].astype(str)
    means = table.groupby("method")["pearson"].mean().sort_values(ascending=False, kind="stable")
    rank = {method: place for place, method in enumerate(means.index)}
    table["rank"] = table["method"].map(rank)
    return table.sort_values(["rank", "patient"]).drop(columns="rank").reset_index(drop=True)


@styled
def plot_per_patient(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> Figure:
    """Draw methods in rows and patients in columns on one colour scale that is white at zero."""
    import numpy as np

    settings = settings or {}
    if table.empty:
        return empty_figure("No patient has been scored.")
    methods, patients = list(dict.fromkeys(table["method"])), list(dict.fromkeys(table["patient"]))
    values = (
        table.pivot(index="method", columns="patient", values="pearson")
        .loc[methods, patients]
        .to_numpy(float)
    )
    width = min(DOUBLE, 2.4 + 0.5 * len(patients))
    figure = new_figure(width, max(1.5, 0.9 + 0.235 * len(methods)))
    axes = figure.subplots()
    limit = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
    axes.set_facecolor("#eeeeee")
    image = axes.imshow(
        values, cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest"
    )
    if len(patients) <= 16:
        for (row, column), value in np.ndenumerate(values):
            text = signed(value) if value == value else "n/a"
            dark = value == value and abs(value) > 0.62 * limit
            axes.text(
                column,
                row,
                text,
                ha="center",
                va="center",
                fontsize=6.5,
                color="white" if dark else "#222222",
            )
    axes.set_xticks(range(len(patients)), patients, rotation=0 if max(map(len, patients)) < 5 else 60)
    axes.set_yticks(range(len(methods)), [method_title(method, settings) for method in methods])
    colour_tick_labels(axes, methods, settings)
    axes.set_xlabel("patient (r: mean over genes)")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.set_label("Pearson r")
    bar.outline.set_visible(False)
    return figure


def caption(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> str:
    """Say what a cell is and how rows and columns are ordered."""
    methods, patients = table["method"].nunique(), table["patient"].nunique()
    return (
        f"Pearson r per gene and section, averaged over the sections of a patient and over genes: "
        f"{count(methods, 'method')}, n = {count(patients, 'patient')}. Rows are sorted by their mean. "
        "The patient is the unit of replication; the spread along a row is what the interval of the leader "
        "board "
        "reflects. No test." + scores_note(settings)
    )


def draw(inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """Read the scores per patient and draw them."""
    table = tidy_per_patient(read_table(inputs["patients"]))
    return plot_per_patient(table, settings), table
