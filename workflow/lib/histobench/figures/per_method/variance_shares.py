"""How much of a method's scores is due to patients, folds and seeds.

Inputs: ``variance`` (variance.tsv: method, component, sd, share, note).
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import DARK, LIGHT, MIDDLE, method_rows, require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, new_figure
from histobench.figures.drawing.text import count, prose, scores_note
from histobench.files import read_table

_SHADES = (DARK, MIDDLE, LIGHT, "#999999")


def tidy_variance(variance: pd.DataFrame) -> pd.DataFrame:
    """Return method, component, sd, share, note of the components that could be estimated."""
    known = variance[variance["share"].notna() & (variance["variance"] > 0)]
    table = known[["method", "component", "sd", "share", "note"]]
    return table.assign(note=table["note"].fillna("")).reset_index(drop=True)


def plot_variance(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw the standard deviation of every component per method."""
    methods, components = settings.order(table["method"]), list(dict.fromkeys(table["component"]))
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


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what a component is, and what could not be told apart."""
    notes = " ".join(dict.fromkeys(note for note in table["note"] if note))
    patients = settings.n_patients
    sample = f" (n = {count(int(patients), 'patient')})" if patients else ""
    return prose(f"""
        Standard deviation of a method's mean r between patients, folds and seeds{sample}, from a nested
        analysis of variance. {notes} Components that could not be estimated, or are zero, are not drawn.
        Descriptive; no test.{scores_note(settings)}
    """)


@figure("Patients, folds and seeds", "scores", tables=["variance"], when=["patients"])
def variance_shares(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the components and draw them."""
    table = require_rows(
        tidy_variance(read_table(inputs["variance"])), "no component of variance can be estimated."
    )
    return plot_variance(table, settings), table, caption(table, settings)
