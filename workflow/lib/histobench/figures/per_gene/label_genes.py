"""Genes by label: marker genes of tissue regions or layers, measured and predicted (THItoGene, Fig. 6).

Inputs: ``predictions`` (of the compared methods, all folds). Settings: ``genes``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import colour_bar, require_rows
from histobench.figures.drawing.plots import heat_map
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import Predicted, read_predictions
from histobench.figures.drawing.style import DOUBLE, new_figure
from histobench.figures.drawing.text import count, prose, scores_note, signed

PER_LABEL = 3
LEAST_SPOTS = 5
COLUMNS = ["method", "label", "marker_of", "gene", "measured", "predicted", "n_spots", "n_sections"]


def tidy_regions(sections: Sequence[Predicted], wanted: Sequence[str] = ()) -> pd.DataFrame:
    """Return measured and predicted mean z per label and marker gene.

    z is over the labelled spots of a section, for measurement and prediction apart, averaged over the
    sections in which the label has at least five spots. Markers of a label are the genes with the highest
    measured mean z in it; genes that are ``wanted`` and in the panel stand before them.
    """
    blocks = []
    for predicted in sections:
        label = predicted.spots["label"].to_numpy(dtype=str)
        known = label != ""
        if known.sum() < 2 * LEAST_SPOTS:
            continue
        for name in np.unique(label[known]):
            chosen = label == name
            if chosen.sum() < LEAST_SPOTS:
                continue
            scores = {}
            for side, values in (("measured", predicted.truth), ("predicted", predicted.prediction)):
                spread = values[known].std(axis=0)
                centred = values[chosen].mean(axis=0) - values[known].mean(axis=0)
                scores[side] = np.divide(
                    centred, spread, out=np.full(len(spread), np.nan), where=spread > 1e-6
                )
            blocks.append(
                pd.DataFrame(
                    {
                        "method": predicted.method,
                        "label": name,
                        "gene": predicted.genes,
                        **scores,
                        "section": predicted.section,
                        "n_spots": int(chosen.sum()),
                    }
                )
            )
    if not blocks:
        return pd.DataFrame(columns=COLUMNS)
    every = pd.concat(blocks, ignore_index=True)
    groups = every.groupby(["method", "label", "gene"], sort=False)
    table = groups.agg(
        measured=("measured", "mean"),
        predicted=("predicted", "mean"),
        n_spots=("n_spots", "sum"),
        n_sections=("section", "nunique"),
    ).reset_index()
    marker: dict[str, str] = {}
    measured = table[table["method"] == table["method"].iloc[0]]  # the same under every method
    for gene in wanted:
        own = measured[measured["gene"] == gene].dropna(subset="measured")
        if len(own):
            marker[gene] = str(own.loc[own["measured"].idxmax(), "label"])
    for name, own in measured.groupby("label", sort=True):
        ranked = own[~own["gene"].isin(marker)].sort_values("measured", ascending=False, kind="stable")
        marker |= dict.fromkeys(ranked["gene"].head(PER_LABEL), str(name))
    table = table[table["gene"].isin(marker)]
    order = {gene: place for place, gene in enumerate(marker)}
    table = table.assign(marker_of=table["gene"].map(marker), place=table["gene"].map(order))
    first = {method: place for place, method in enumerate(dict.fromkeys(every["method"]))}
    table = table.assign(first=table["method"].map(first))
    return table.sort_values(["first", "place", "label"], kind="stable")[COLUMNS].reset_index(drop=True)


def plot_regions(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw heat maps, measured and predicted by each method: labels in rows, genes in columns."""
    genes, labels = list(dict.fromkeys(table["gene"])), sorted(set(table["label"]))
    methods = list(dict.fromkeys(table["method"]))
    figure = new_figure(DOUBLE, 0.65 + (0.25 + 0.26 * len(labels)) * (1 + len(methods)))
    panels = figure.subplots(1 + len(methods), 1, sharex=True)
    limit = float(np.nanmax(np.abs(table[["measured", "predicted"]].to_numpy(float)))) or 1.0
    sources = [("measured", methods[0], "measured")]
    sources += [("predicted", method, settings.title(method)) for method in methods]
    for axes, (side, method, title) in zip(panels, sources, strict=True):
        own = table[table["method"] == method]
        values = own.pivot(index="label", columns="gene", values=side).loc[labels, genes]
        image = heat_map(
            axes,
            values,
            values.map(lambda value: signed(value, 1)) if len(genes) <= 18 else None,
            limits=(-limit, limit),
            rows=labels,
            columns=genes,
            missing="n/a" if len(genes) <= 18 else "",
            rotation=60,
            ha="right",
            rotation_mode="anchor",
            style="italic",
        )
        axes.set_title(title, loc="left", pad=3)
    colour_bar(figure, image, panels, "mean z of the region", pad=0.01)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say how markers were chosen and what z is over."""
    labels = table["label"].nunique()
    wanted = [gene for gene in settings.genes if gene in set(table["gene"])]
    asked = f" (before them, as configured: {', '.join(wanted)})" if wanted else ""
    return prose(f"""
        Genes with the highest measured expression in each of {count(labels, "labelled region")}{asked},
        measured and predicted by {settings.listed(table["method"])}: mean z of the region's spots over
        the labelled spots of a section, measurement and prediction each by themselves, averaged over
        held-out sections (n = {count(int(table["n_sections"].max()), "section")}, regions of at least
        five spots). Chosen on the measurement that is drawn. Descriptive; no
        test.{scores_note(settings)}
    """)


@figure(
    "Marker genes of labelled regions", "tumour", predictions="compared", when=["labels"], settings=["genes"]
)
def label_genes(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the predictions of all folds and draw the markers of every label."""
    table = tidy_regions(read_predictions(inputs["predictions"]), settings.genes)
    table = require_rows(table, "no section has spots with labels.")
    return plot_regions(table, settings), table, caption(table, settings)
