"""Reads and genes per spot in every section (He et al. 2020, Fig. 1).

Inputs: ``sections`` (section files with raw counts).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import DARK, LIGHT, MIDDLE, log_axis, require_rows
from histobench.figures.drawing.plots import boxes
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import as_list
from histobench.figures.drawing.style import DOUBLE, new_figure
from histobench.figures.drawing.text import count, prose
from histobench.files import read_results

QUANTITIES = {"reads": "UMIs per spot", "genes": "genes per spot"}
COLUMNS = ["patient", "section", "quantity", "n_spots", "low", "first", "median", "third", "high"]


def spot_quantities(counts: Any) -> dict[str, Any]:
    """Return reads and detected genes of each spot from raw counts, sparse or dense (spots, genes)."""
    detected = (counts > 0).sum(axis=1)
    return {"reads": np.asarray(counts.sum(axis=1)).ravel(), "genes": np.asarray(detected).ravel()}


def tidy_depth(sections: Mapping[tuple[str, str], Mapping[str, Any]]) -> pd.DataFrame:
    """Return quantiles (5, 25, 50, 75, 95 %) over spots for each (patient, section) and quantity."""
    rows = []
    for (patient, section), values in sorted(sections.items()):
        for quantity in QUANTITIES:
            if len(values[quantity]):
                quantiles = np.quantile(values[quantity], (0.05, 0.25, 0.5, 0.75, 0.95))
                rows.append((patient, section, quantity, len(values[quantity]), *quantiles))
    return pd.DataFrame(rows, columns=COLUMNS)


def plot_depth(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a box per section; tones change with the patient."""
    sections = list(dict.fromkeys(table["section"]))
    patients = table.drop_duplicates("section")["patient"].tolist()
    order = list(dict.fromkeys(patients))
    figure = new_figure(DOUBLE if len(sections) > 8 else 5.2, 3.2)
    panels = figure.subplots(len(QUANTITIES), 1, sharex=True)
    for axes, (quantity, label) in zip(panels, QUANTITIES.items(), strict=True):
        own = table[table["quantity"] == quantity]
        tones = {s: (LIGHT, MIDDLE)[order.index(p) % 2] for s, p in zip(sections, patients, strict=True)}
        drawn = own.assign(low=own["low"].clip(lower=0.5))  # a logarithmic axis has no zero
        boxes(
            axes,
            drawn,
            "section",
            sections,
            hue="section",
            palette=tones,
            linecolor=DARK,
            legend=False,
            boxprops={},
        )
        if own["high"].max() > 5 * max(float(own["low"].min()), 0.5):
            axes.set_yscale("log")
            log_axis(axes.yaxis)
        axes.set_ylabel(label)
        axes.grid(axis="y")
    panels[-1].set_xticks(range(len(sections)), sections, rotation=90 if len(sections) > 14 else 0)
    panels[-1].tick_params(axis="x", length=0, labelsize=7 if len(sections) <= 40 else 5)
    panels[-1].set_xlim(-0.6, len(sections) - 0.4)
    panels[-1].set_xlabel("section (tone changes with the patient)")
    figure.align_ylabels()
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say over how many spots, before which filter."""
    own = table[table["quantity"] == "reads"]
    return prose(f"""
        Unique reads and detected genes per spot in each section of the experiment (n =
        {count(int(own["n_spots"].sum()), "spot")}, {count(own["section"].nunique(), "section")},
        {count(own["patient"].nunique(), "patient")}), before quality control: box, middle half of the
        spots; line, median; whiskers, 5th to 95th percentile; an axis is logarithmic where values span
        more than fivefold. Descriptive; no test.
    """)


@figure("Reads and genes per spot", "cohort", inputs={"sections": "data/{cohort}/sections/{section}.h5ad"})
def spot_depth(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the counts of each section and draw them."""
    found = {}
    for path in as_list(inputs["sections"]):
        data = read_results(path)
        patient = str(data.obs["patient"].iloc[0]) if len(data.obs) else ""
        found[(patient, path.stem)] = spot_quantities(data.X)
    table = require_rows(tidy_depth(found), "no section has a spot.")
    return plot_depth(table, settings), table, caption(table, settings)
