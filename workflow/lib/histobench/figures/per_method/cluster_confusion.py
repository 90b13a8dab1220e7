"""Two clusters of spots against tumour labels (Kumar and Chatterjee 2024, HistoSPACE).

Inputs: ``confusion`` (confusion.tsv: method, values, section, kind, cluster, label, n_spots).
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import require_rows
from histobench.figures.drawing.plots import heat_map
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, new_figure
from histobench.figures.drawing.text import count, prose
from histobench.files import read_table

TRUTH = "measured"
KINDS = ("tumour", "normal")
MOST = 5
COLUMNS = ["source", "label", "cluster", "n_spots", "agreement", "n_sections"]


def tidy_confusion(confusion: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return source, label, cluster, n_spots, agreement, n_sections, added over sections.

    Clusters are of one section; they are named so that they agree best with its labels. ``agreement`` is the
    share of labelled spots on the diagonal. Sources are the measurement and trained methods, at most five.
    """
    own = confusion[
        (confusion["kind"] == "two_clusters") & confusion["values"].isin(["observed", "predicted"])
    ]
    methods = settings.competitors(own.loc[own["values"] == "predicted", "method"])[:MOST]
    rows = []
    for (values, method, _), part in own.groupby(["values", "method", "section"], sort=False):
        if values == "predicted" and method not in methods:
            continue
        counts: Any = part.pivot_table(
            index="label", columns="cluster", values="n_spots", aggfunc="sum", fill_value=0
        )
        counts = counts.reindex(index=["tumour", "normal"], columns=[0, 1], fill_value=0).to_numpy()
        if counts[0, 1] + counts[1, 0] > counts[0, 0] + counts[1, 1]:
            counts = counts[:, ::-1]
        source = TRUTH if values == "observed" else str(method)
        rows += [
            (source, label, cluster, int(counts[i, j]))
            for i, label in enumerate(KINDS)
            for j, cluster in enumerate(KINDS)
        ]
    table = pd.DataFrame(rows, columns=COLUMNS[:4])
    if table.empty:
        return table.reindex(columns=COLUMNS)
    table = table.groupby(COLUMNS[:3], sort=False)["n_spots"].agg(["sum", "size"]).reset_index()
    table = table.rename(columns={"sum": "n_spots", "size": "n_sections"})
    right = table[table["label"] == table["cluster"]].groupby("source")["n_spots"].sum()
    table["agreement"] = table["source"].map(right / table.groupby("source")["n_spots"].sum())
    return table[COLUMNS]


def plot_confusion(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw one two-by-two table per source, shaded by the share of the label's spots."""
    sources = [TRUTH, *settings.order([s for s in table["source"].unique() if s != TRUTH])]
    figure = new_figure(max(min(DOUBLE, 0.8 + 1.15 * len(sources)), 3.0), 1.9)
    panels = figure.subplots(1, len(sources), sharey=True, squeeze=False)[0]
    kinds = list(KINDS)
    for axes, source in zip(panels, sources, strict=True):
        own = table[table["source"] == source]
        values = own.pivot(index="label", columns="cluster", values="n_spots").loc[kinds, kinds]
        share = values.div(values.sum(axis=1).clip(lower=1), axis=0)
        texts = values.map("{:.0f}".format) + (100 * share).map("\n{:.0f} %".format)
        heat_map(axes, share, texts, limits=(0, 1), rows=kinds, columns=kinds, colours="Blues")
        axes.set_aspect("equal")
        name = TRUTH if source == TRUTH else settings.wrapped(source, 15)
        colour = "#222222" if source == TRUTH else settings.look(source).colour
        axes.set_title(f"{name}\n{100 * own['agreement'].iloc[0]:.0f} % agree", color=colour, fontsize=7.5)
    panels[0].set_ylabel("label")
    figure.supxlabel("cluster", fontsize=8)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say how clusters were made and named."""
    spots = int(table[table["source"] == TRUTH]["n_spots"].sum())
    return prose(f"""
        k-means with two clusters on measured or predicted expression of each section against the
        {settings.labels} tumour label, added over sections (n = {count(spots, "spot")} with a label,
        {count(int(table["n_sections"].max()), "section")} with both kinds): numbers of spots, and shares
        of the spots with that label. The clusters of a section are named so that they agree best with
        the labels, so half the spots agree by chance at least, and more where one label is frequent. At
        most {MOST} trained methods, networks first; the table of domains has all. Descriptive; no test.
    """)


@figure("Two clusters against tumour labels", "tumour", tables=["confusion"], when=["tumour_labels"])
def cluster_confusion(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the counts and draw them."""
    table = require_rows(
        tidy_confusion(read_table(inputs["confusion"]), settings), "no section has tumour and normal spots."
    )
    return plot_confusion(table, settings), table, caption(table, settings)
