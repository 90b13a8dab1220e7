"""How much of a method's scores is due to patients, folds and seeds.

Inputs: ``variance`` (variance.tsv: method, component, sd, share, note).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from histobench.figures.parts import DARK, LIGHT, MIDDLE, method_rows, require_rows
from histobench.figures.style import DOUBLE, method_order, new_figure, styled
from histobench.figures.text import count, scores_note
from histobench.files import read_table

if TYPE_CHECKING:
    import pandas as pd

FIGURE = {
    "title": "Patients, folds and seeds",
    "group": "scores",
    "inputs": {"variance": "results/{experiment}/tables/variance.tsv"},
    "when": ["patients"],
}
_SHADES = (DARK, MIDDLE, LIGHT, "#999999")


def tidy_variance(variance: pd.DataFrame) -> pd.DataFrame:
    """Return method, component, sd, share, note of the components that could be estimated."""
    known = variance[variance["share"].notna() & (variance["variance"] > 0)]
    table = known[["method", "component", "sd", "share", "note"]]
    return table.assign(note=table["note"].fillna("")).reset_index(drop=True)


@styled
def plot_variance(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> Figure:
    """Draw the standard deviation of every component per method."""
    settings = settings or {}
    methods, components = method_order(table["method"], settings), list(dict.fromkeys(table["component"]))
    figure = new_figure(DOUBLE, 0.95 + 0.24 * len(methods))
    axes = figure.subplots()
    height = 0.8 / len(components)
    for place, component in enumerate(components):
        own = table[table["component"] == component].set_index("method").reindex(methods)
        rows = [row + (place - (len(components) - 1) / 2) * height for row in range(len(methods))]
        axes.barh(rows, own["sd"].fillna(0), height=0.9 * height, color=_SHADES[place % 4], label=component)
    method_rows(axes, methods, settings)
    axes.set_xlabel("standard deviation of r")
    axes.grid(axis="x")
    figure.legend(loc="outside lower center", ncols=len(components))
    return figure


def caption(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> str:
    """Say what a component is, and what could not be told apart."""
    notes = " ".join(dict.fromkeys(note for note in table["note"] if note))
    patients = (settings or {}).get("n_patients")
    sample = f" (n = {count(int(patients), 'patient')})" if patients else ""
    return (
        f"Standard deviation of a method's mean r between patients, folds and seeds{sample}, from a nested "
        f"analysis of variance. {notes} Components that could not be estimated, or are zero, are not drawn. "
        "Descriptive; no test." + scores_note(settings)
    )


def draw(inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """Read the components and draw them."""
    table = require_rows(
        tidy_variance(read_table(inputs["variance"])), "no component of variance can be estimated."
    )
    return plot_variance(table, settings), table
