"""Mean expression of the genes of the panel (He et al. 2020, Supp. Fig. 1; Chen et al. 2024, Supp. Fig. S1).

Inputs: ``metrics`` (metric folder of the leading method, for what was measured).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import DARK, LIGHT, require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import read_metrics
from histobench.figures.drawing.style import DOUBLE, new_figure
from histobench.figures.drawing.text import count, prose, transform_text

NAMED = 12
COLUMNS = ["rank", "gene", "mean", "low", "high", "sd_over_patients", "sd_over_spots", "n_patients"]


def tidy_means(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return :data:`COLUMNS`, the highest mean first.

    Sections are averaged within patients; ``low`` and ``high`` are the least and the largest patient,
    ``sd_over_spots`` is the mean over sections of the spread within a section.
    """
    own = metrics[metrics["section"] != "*"]
    means = own[own["metric"] == "mean_truth"].groupby(["gene", "patient"])["value"].mean()
    by_gene = means.groupby("gene")
    table = pd.DataFrame(
        {
            "mean": by_gene.mean(),
            "low": by_gene.min(),
            "high": by_gene.max(),
            "sd_over_patients": by_gene.std(),
            "n_patients": by_gene.count(),
        }
    )
    table["sd_over_spots"] = own[own["metric"] == "sd_truth"].groupby("gene")["value"].mean()
    table = table.reset_index().sort_values(["mean", "gene"], ascending=[False, True], kind="stable")
    table["rank"] = np.arange(1, len(table) + 1)
    return table[COLUMNS].reset_index(drop=True)


def plot_means(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw means by rank with the range of patients, and means against the spread within sections."""
    figure = new_figure(DOUBLE, 3.0)
    left, right = figure.subplots(1, 2, width_ratios=[1.9, 1])
    left.vlines(table["rank"], table["low"], table["high"], color=LIGHT, lw=max(0.6, 180 / len(table)))
    left.plot(table["rank"], table["mean"], "o", ms=2.2, color=DARK, mew=0)
    step = max(1, len(table) // NAMED)
    shown = table.iloc[::step]
    left.set_xticks(shown["rank"], shown["gene"], rotation=60, ha="right", style="italic", fontsize=6)
    left.set_xlim(0, len(table) + 1)
    scale = transform_text(settings) or "scale of the targets"
    left.set_ylabel(f"mean expression\n{scale}")
    left.set_xlabel(f"genes by mean (every {step}th is named)" if step > 1 else "genes by mean")
    left.grid(axis="y")
    right.plot(table["mean"], table["sd_over_spots"], "o", ms=2.6, mfc=DARK, mec="white", mew=0.2)
    right.set(xlabel="mean expression", ylabel="sd over the spots of a section")
    right.grid()
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what is averaged."""
    return prose(f"""
        Mean measured expression of {count(len(table), "gene")} of the panel over tested spots, averaged over
        sections, then patients (n = {count(int(table["n_patients"].max()), "patient")}); bars reach from the
        lowest to the highest patient. Right: the mean against the standard deviation over the spots of a
        section, averaged over sections: the spread that a prediction within a section can explain. Scale:
        {transform_text(settings) or "that of the targets"}. Descriptive; no test.
    """)


@figure("Mean expression of the genes", "cohort", metrics="leader", when=["paper"])
def mean_expression(inputs: Inputs, settings: Settings) -> Drawing:
    """Read what was measured and draw its means."""
    table = tidy_means(read_metrics(inputs["metrics"], ["mean_truth", "sd_truth"]))
    table = require_rows(table, "no gene was measured.")
    return plot_means(table, settings), table, caption(table, settings)
