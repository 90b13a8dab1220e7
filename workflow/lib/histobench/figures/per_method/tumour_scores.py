"""How well methods tell tumour from normal spots (Chen et al. 2024, HE2Gene).

Inputs: ``tumour`` (tumour.tsv: method, patient ("*" for the mean over patients), auroc, auprc, ...).
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import beside, method_rows, require_rows, row_bands
from histobench.figures.drawing.plots import dots
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose, scores_note
from histobench.files import read_table

# Metric -> (axis, value of a method that knows nothing).
METRICS = {
    "auroc": ("AUROC", 0.5),
    "auprc": ("AUPRC", None),
    "accuracy": ("accuracy at 0.5", None),
    "brier": ("Brier score", None),
}


def tidy_tumour(tumour: pd.DataFrame) -> pd.DataFrame:
    """Return method, patient, metric, value, mean: one row per patient, with the mean over patients."""
    patients = tumour[tumour["patient"].astype(str) != "*"]
    table = patients.melt(["method", "patient"], list(METRICS), var_name="metric").dropna(subset="value")
    table["mean"] = table.groupby(["method", "metric"])["value"].transform("mean")
    return table.reset_index(drop=True)


def plot_tumour(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw bars of the mean over patients with a dot per patient, one panel per metric."""
    auroc = table[table["metric"] == "auroc"].drop_duplicates("method")
    methods = list(auroc.sort_values("mean", ascending=False, kind="stable")["method"])
    methods += [method for method in table["method"].unique() if method not in methods]
    metrics = [metric for metric in METRICS if metric in set(table["metric"])]
    figure = new_figure(DOUBLE, 0.8 + 0.3 * len(methods))
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        for row, method in enumerate(methods):
            own = table[(table["method"] == method) & (table["metric"] == metric)]
            if own.empty:
                continue
            colour = settings.look(method).colour
            axes.barh(row, own["mean"].iloc[0], color=colour, alpha=0.45, height=0.7)
            beside(axes, row, f"{own['mean'].iloc[0]:.2f}", 2, 6.5)
        dots(axes, table[table["metric"] == metric], "value", methods, settings, size=2.8)
        title, chance = METRICS[metric]
        if chance is not None:
            axes.axvline(chance, color=REFERENCE_COLOUR, lw=0.8, ls=(0, (4, 2)))
        axes.set_xlim(0, 1)
        axes.set_xlabel(title)
        axes.grid(axis="x")
        row_bands(axes, len(methods))
        axes.tick_params(axis="y", length=0)
    method_rows(panels[0], methods, settings)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what is averaged, and what chance is."""
    return prose(f"""
        Predicted probability of tumour against the {settings.labels} label on held-out patients (n =
        {count(table["patient"].nunique(), "patient")} with labels): bars, mean over patients; dots,
        patients, spots of a patient's sections pooled. Dashed: chance. AUROC and AUPRC need both kinds
        of spots; AUPRC and accuracy of a method that knows nothing depend on the share of tumour, and
        less is better for the Brier score. Descriptive; no test.{scores_note(settings)}
    """)


@figure("Tumour prediction", "tumour", tables=["tumour"], when=["tumour_method", "tumour_labels"])
def tumour_scores(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the table and draw the tumour scores."""
    table = tidy_tumour(read_table(inputs["tumour"]))
    table = require_rows(table, "no tumour probability could be compared with a label.")
    return plot_tumour(table, settings), table, caption(table, settings)
