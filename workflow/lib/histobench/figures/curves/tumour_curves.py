"""ROC, precision-recall and calibration curves of tumour prediction (Chen et al. 2024, HE2Gene).

Inputs: ``curves`` (tumour_curves.tsv: method, curve, x, y), ``tumour`` (tumour.tsv: n_labelled, prevalence).
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose, scores_note
from histobench.files import read_table

AXES = {
    "roc": ("false positive rate", "true positive rate"),
    "precision_recall": ("recall", "precision"),
    "calibration": ("mean predicted probability", "share of tumour spots"),
}
COLUMNS = ["method", "curve", "x", "y", "n_spots", "share_tumour"]


def tidy_curves(curves: pd.DataFrame, tumour: pd.DataFrame) -> pd.DataFrame:
    """Return method, curve, x, y, n_spots, share_tumour; the last two are of all labelled spots."""
    patients = tumour[tumour["patient"].astype(str) != "*"]
    spots = patients.groupby("method")["n_labelled"].sum()
    share = (patients["n_labelled"] * patients["prevalence"]).groupby(patients["method"]).sum() / spots
    table = curves[["method", "curve", "x", "y"]]
    table = table.assign(n_spots=table["method"].map(spots), share_tumour=table["method"].map(share))
    return table[COLUMNS].reset_index(drop=True)


def plot_curves(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw the three curves of every method, with what knows nothing and what is calibrated."""
    methods = settings.order(table["method"])
    figure = new_figure(DOUBLE, 2.9)
    panels = figure.subplots(1, len(AXES))
    lines = {}  # told by hand: on its own a legend leaves out names that start with _
    for axes, (name, (x, y)) in zip(panels, AXES.items(), strict=True):
        if name == "precision_recall":
            axes.axhline(float(table["share_tumour"].mean()), color=REFERENCE_COLOUR, lw=0.8, ls=(0, (4, 2)))
        else:
            axes.plot([0, 1], [0, 1], color=REFERENCE_COLOUR, lw=0.8, ls=(0, (4, 2)))
        for method in methods:
            own, style = (
                table[(table["method"] == method) & (table["curve"] == name)],
                settings.look(method),
            )
            (lines[method],) = axes.plot(
                own["x"],
                own["y"],
                color=style.colour,
                ls=style.dashes,
                lw=1.2,
                ms=2.5,
                marker="o" if name == "calibration" else "",
            )
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xlabel=x, ylabel=y)
        axes.grid()
    figure.legend(
        list(lines.values()),
        [settings.title(method) for method in lines],
        loc="outside lower center",
        ncols=min(4, len(methods)),
    )
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say that spots are pooled here, and what the dashed lines are."""
    return prose(f"""
        Receiver operating characteristic, precision against recall, and calibration in ten equal bins of
        the predicted probability of tumour; labelled spots of all held-out sections pooled (n =
        {count(int(table["n_spots"].max()), "spot")}, {100 * table["share_tumour"].mean():.0f} % tumour).
        Dashed: a method that knows nothing, in the last panel perfect calibration. Pooling mixes
        differences between and within patients; scores per patient are in the figure of tumour
        prediction. Descriptive; no test.{scores_note(settings)}
    """)


@figure(
    "Tumour prediction: curves",
    "tumour",
    tables=["tumour"],
    inputs={"curves": "{experiment}/tables/tumour_curves.tsv"},
    when=["tumour_method", "tumour_labels"],
)
def tumour_curves(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the curves and draw them."""
    table = tidy_curves(read_table(inputs["curves"]), read_table(inputs["tumour"]))
    table = require_rows(table, "no tumour probability could be compared with a label.")
    return plot_curves(table, settings), table, caption(table, settings)
