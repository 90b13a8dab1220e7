"""Reads and genes per spot in every section (He et al. 2020, Fig. 1).

Inputs: ``sections`` (section files with raw counts).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from histobench.figures.parts import DARK, LIGHT, MIDDLE, log_axis, require_rows
from histobench.figures.sources import as_list
from histobench.figures.style import DOUBLE, new_figure, styled
from histobench.figures.text import count

if TYPE_CHECKING:
    import pandas as pd

FIGURE = {
    "title": "Reads and genes per spot",
    "group": "cohort",
    "inputs": {"sections": "results/data/{cohort}/sections/{section}.h5ad"},
}
QUANTITIES = {"reads": "UMIs per spot", "genes": "genes per spot"}
COLUMNS = ["patient", "section", "quantity", "n_spots", "low", "first", "median", "third", "high"]


def spot_quantities(counts: Any) -> dict[str, Any]:
    """Return reads and detected genes of each spot from raw counts, sparse or dense (spots, genes)."""
    import numpy as np

    detected = (counts > 0).sum(axis=1)
    return {"reads": np.asarray(counts.sum(axis=1)).ravel(), "genes": np.asarray(detected).ravel()}


def tidy_depth(sections: Mapping[tuple[str, str], Mapping[str, Any]]) -> pd.DataFrame:
    """Return quantiles (5, 25, 50, 75, 95 %) over spots for each (patient, section) and quantity."""
    import numpy as np
    import pandas as pd

    rows = []
    for (patient, section), values in sorted(sections.items()):
        for quantity in QUANTITIES:
            if len(values[quantity]):
                quantiles = np.quantile(values[quantity], (0.05, 0.25, 0.5, 0.75, 0.95))
                rows.append((patient, section, quantity, len(values[quantity]), *quantiles))
    return pd.DataFrame(rows, columns=COLUMNS)


@styled
def plot_depth(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> Figure:
    """Draw a box per section tones change with the patient."""
    sections = list(dict.fromkeys(table["section"]))
    patients = table.drop_duplicates("section")["patient"].tolist()
    order = list(dict.fromkeys(patients))
    figure = new_figure(DOUBLE if len(sections) > 8 else 5.2, 3.2)
    panels = figure.subplots(len(QUANTITIES), 1, sharex=True)
    for axes, (quantity, label) in zip(panels, QUANTITIES.items(), strict=True):
        own = table[table["quantity"] == quantity]
        boxes: list[Any] = [
            {
                "med": e.median,
                "q1": e.first,
                "q3": e.third,
                "whislo": max(e.low, 0.5),
                "whishi": e.high,
                "fliers": [],
            }
            for e in _rows(own)
        ]
        drawn = axes.bxp(
            boxes,
            positions=[sections.index(s) for s in own["section"]],
            widths=0.62,
            showfliers=False,
            patch_artist=True,
            manage_ticks=False,
            capprops={"lw": 0},
            whiskerprops={"color": DARK, "lw": 0.8},
            medianprops={"color": DARK, "lw": 1.3},
            boxprops={"edgecolor": DARK, "lw": 0.6},
        )
        for box, patient in zip(drawn["boxes"], own["patient"], strict=True):
            box.set_facecolor((LIGHT, MIDDLE)[order.index(patient) % 2])
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


def _rows(table: pd.DataFrame) -> list[Any]:
    return list(table.itertuples())


def caption(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> str:
    """Say over how many spots, before which filter."""
    own = table[table["quantity"] == "reads"]
    return (
        f"Unique reads and detected genes per spot in each section of the experiment (n = "
        f"{count(int(own['n_spots'].sum()), 'spot')}, {count(own['section'].nunique(), 'section')}, "
        f"{count(own['patient'].nunique(), 'patient')}), before quality control: box, middle half of the "
        "spots; line, median; whiskers, 5th to 95th percentile; an axis is logarithmic where values span "
        "more than fivefold. Descriptive; no test."
    )


def draw(inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """Read the counts of each section and draw them."""
    import anndata

    found = {}
    for path in as_list(inputs["sections"]):
        data = anndata.read_h5ad(path)
        patient = str(data.obs["patient"].iloc[0]) if len(data.obs) else ""
        found[(patient, path.stem)] = spot_quantities(data.X)
    table = require_rows(tidy_depth(found), "no section has a spot.")
    return plot_depth(table, settings), table
