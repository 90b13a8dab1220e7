"""Genes that differ between tumour and normal spots, measured and predicted (Chen et al. 2024, HE2Gene).

Inputs: ``genes`` (tumour_genes.tsv: method, gene, difference_truth, difference_prediction, q_truth).
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import label_points, require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, REFERENCE_COLOUR, new_figure, panel_title
from histobench.figures.drawing.text import count, prose, scores_note, signed, transform_text
from histobench.files import read_table

MOST = 5
LEVEL = 0.05
COLUMNS = ["method", "gene", "measured", "predicted", "n_patients", "q_measured", "r", "same_sign"]


def tidy_difference(genes: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return method, gene, measured, predicted, n_patients, q_measured, r, same_sign of trained methods.

    ``r`` and ``same_sign`` are over the genes of a method; at most five methods, those with the highest r.
    """
    names = {"difference_truth": "measured", "difference_prediction": "predicted", "q_truth": "q_measured"}
    table = genes.rename(columns=names).dropna(subset=["measured", "predicted"])
    table = table[table["method"].isin(settings.competitors(table["method"]))]
    groups = table.groupby("method", sort=False)
    r = {method: own["measured"].corr(own["predicted"]) for method, own in groups}
    alike = {m: float(((own["measured"] > 0) == (own["predicted"] > 0)).mean()) for m, own in groups}
    table = table.assign(r=table["method"].map(r), same_sign=table["method"].map(alike))
    best = sorted((m for m in r if r[m] == r[m]), key=lambda m: -r[m])[:MOST]
    return table.loc[table["method"].isin(best), COLUMNS].reset_index(drop=True)


def plot_difference(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw predicted against measured differences per method; the genes that differ most are named."""
    methods = settings.order(table["method"])
    figure = new_figure(max(3.0, DOUBLE * len(methods) / 5), 2.1)
    panels = figure.subplots(1, len(methods), sharex=True, sharey=True, squeeze=False)[0]
    low, high = (float(getattr(table[["measured", "predicted"]], f)().agg(f)) for f in ("min", "max"))
    margin = 0.08 * ((high - low) or 1.0)
    limits = (low - margin, high + margin)
    for axes, method in zip(panels, methods, strict=True):
        own, style = table[table["method"] == method], settings.look(method)
        axes.plot(limits, limits, color=REFERENCE_COLOUR, lw=0.8, ls=(0, (4, 2)), zorder=1)
        for line in (axes.axhline, axes.axvline):
            line(0, color="#bbbbbb", lw=0.7, zorder=0)
        axes.plot(
            own["measured"], own["predicted"], "o", ms=2.8, mfc=style.colour, mec="white", mew=0.2, alpha=0.8
        )
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        panel_title(axes, method, settings)
        text = f"r = {signed(float(own['r'].iloc[0]))}, {100 * own['same_sign'].iloc[0]:.0f} % same sign"
        axes.set_xlabel(text, fontsize=6.5)
    panels[0].set_ylabel("predicted difference")
    figure.supxlabel(
        f"measured difference, tumour − normal ({transform_text(settings) or 'target scale'})", fontsize=8
    )
    figure.draw_without_rendering()
    for axes, method in zip(panels, methods, strict=True):
        own = table[table["method"] == method]
        most = own.loc[own["measured"].abs().sort_values(ascending=False, kind="stable").index[:3]]
        names = zip(most["measured"], most["predicted"], most["gene"], strict=True)
        points = own[["measured", "predicted"]].to_numpy(float)
        label_points(axes, [(x, y, gene, "#222222") for x, y, gene in names], size=5.5, obstacles=points)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what a difference is, and how many genes differ."""
    first = table[table["method"] == table["method"].iloc[0]]
    found = int((first["q_measured"] <= LEVEL).sum())
    return prose(f"""
        Mean expression on tumour spots minus that on normal spots of a patient, averaged over patients
        (n = {count(int(table["n_patients"].max()), "patient")} with both kinds of spots,
        {count(table["gene"].nunique(), "gene")}), predicted against measured; dashed: equality. A flat
        cloud along the horizontal is a prediction that shrinks the contrast. r and the share with the
        same sign are over genes; at most five trained methods. {count(found, "gene")} of {len(first)}
        differ in the measurement (t-test over patients, two-sided, Benjamini-Hochberg 5
        %).{scores_note(settings)}
    """)


@figure(
    "Tumour against normal, measured and predicted",
    "tumour",
    inputs={"genes": "{experiment}/tables/tumour_genes.tsv"},
    when=["tumour_labels"],
)
def tumour_difference(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the means on tumour and normal spots and draw their differences."""
    table = tidy_difference(read_table(inputs["genes"]), settings)
    table = require_rows(table, "no section has tumour and normal spots.")
    return plot_difference(table, settings), table, caption(table, settings)
