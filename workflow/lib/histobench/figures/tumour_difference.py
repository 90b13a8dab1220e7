"""Genes that differ between tumour and normal spots, measured and predicted (Chen et al. 2024, HE2Gene).

Inputs: ``metrics`` (metric folders of the methods on the maps: means on tumour and on normal spots).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from histobench.figures.parts import label_points, require_rows
from histobench.figures.sources import read_metrics
from histobench.figures.style import (
    DOUBLE,
    REFERENCE_COLOUR,
    method_order,
    method_style,
    method_title,
    new_figure,
    styled,
)
from histobench.figures.text import count, scores_note, signed, transform_text

if TYPE_CHECKING:
    import pandas as pd

FIGURE = {
    "title": "Tumour against normal, measured and predicted",
    "group": "tumour",
    "inputs": {"metrics": "results/{experiment}/metrics/{map_method}"},
}
SIDES = ("truth", "prediction")
METRICS = [f"mean_{side}@{subset}" for side in SIDES for subset in ("tumour", "normal")]
COLUMNS = ["method", "gene", "measured", "predicted", "n_patients", "r", "same_sign"]


def tidy_difference(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return method, gene, measured, predicted, n_patients, r, same_sign.

    A difference is the mean over tumour spots minus that over normal spots of a section, averaged over the
    sections with both, then over patients. ``r`` and ``same_sign`` are over the genes of a method.
    """
    own = metrics[metrics["metric"].isin(METRICS) & (metrics["section"] != "*")]
    wide = own.pivot_table(index=["method", "patient", "section", "gene"], columns="metric", values="value")
    if wide.empty or not set(METRICS) <= set(wide.columns):
        import pandas as pd

        return pd.DataFrame(columns=COLUMNS)
    wide["measured"] = wide["mean_truth@tumour"] - wide["mean_truth@normal"]
    wide["predicted"] = wide["mean_prediction@tumour"] - wide["mean_prediction@normal"]
    sections = wide[["measured", "predicted"]].dropna()
    patients = sections.groupby(["method", "patient", "gene"], sort=False).mean()
    groups = patients.groupby(["method", "gene"], sort=False)
    table = groups.mean().assign(n_patients=groups.size()).reset_index()
    for _, genes in table.groupby("method"):
        table.loc[genes.index, "r"] = genes["measured"].corr(genes["predicted"])
        alike = (genes["measured"] > 0) == (genes["predicted"] > 0)
        table.loc[genes.index, "same_sign"] = alike.mean()
    return table.reindex(columns=COLUMNS)


@styled
def plot_difference(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> Figure:
    """Draw predicted against measured differences per method; the genes that differ most are named."""
    settings = settings or {}
    methods = method_order(table["method"], settings)[:5]
    figure = new_figure(max(3.0, DOUBLE * len(methods) / 5), 2.1)
    panels = figure.subplots(1, len(methods), sharex=True, sharey=True, squeeze=False)[0]
    low, high = (float(getattr(table[["measured", "predicted"]], f)().agg(f)) for f in ("min", "max"))
    margin = 0.08 * ((high - low) or 1.0)
    limits = (low - margin, high + margin)
    for axes, method in zip(panels, methods, strict=True):
        own, style = table[table["method"] == method], method_style(method, settings)
        axes.plot(limits, limits, color=REFERENCE_COLOUR, lw=0.8, ls=(0, (4, 2)), zorder=1)
        for line in (axes.axhline, axes.axvline):
            line(0, color="#bbbbbb", lw=0.7, zorder=0)
        axes.plot(
            own["measured"], own["predicted"], "o", ms=2.8, mfc=style.colour, mec="white", mew=0.2, alpha=0.8
        )
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        axes.set_title(method_title(method, settings), color=style.colour, pad=3)
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


def caption(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> str:
    """Say what a difference is."""
    return (
        "Mean expression on tumour spots minus that on normal spots, within sections and then averaged over "
        f"sections and patients (n = {count(int(table['n_patients'].max()), 'patient')} with both kinds of "
        f"spots, {count(table['gene'].nunique(), 'gene')}), predicted against measured; dashed: equality. A "
        "flat cloud along the horizontal is a prediction that shrinks the contrast. r and the share with "
        "the same sign are over genes; at most five methods. Descriptive; no test." + scores_note(settings)
    )


def draw(inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """Read the means on tumour and normal spots and draw their differences."""
    table = tidy_difference(read_metrics(inputs["metrics"], METRICS))
    table = require_rows(table, "no section has tumour and normal spots.")
    return plot_difference(table, settings), table
