"""Pathologist's labels beside measured and predicted expression (He et al. 2020, Fig. 2a).

Inputs: ``predictions`` (of the leading method, the fold that tests the section); optionally ``image``.
Settings: ``section``, ``genes``.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.labels import label_colours, label_handles
from histobench.figures.drawing.parts import colour_bar
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import Predicted, read_predictions
from histobench.figures.drawing.style import DOUBLE, NothingToDraw, new_figure
from histobench.figures.drawing.text import count, prose, transform_text
from histobench.figures.drawing.tissue import SpotMaps, Thumbnail, scale_bar, shades, size_discs, thumbnail

NUMBER = 2


def tidy_labels(predicted: Predicted, settings: Settings) -> pd.DataFrame:
    """Return method, section, gene, spot, pixel_x, pixel_y, label, measured, predicted for up to two genes.

    Genes are the configured ones in the panel, then those that differ most between labels (largest share of
    the variance between labels).
    """
    label = predicted.spots["label"].to_numpy(dtype=str)
    known = label != ""
    frame = pd.DataFrame(np.nan_to_num(predicted.truth[known]), columns=predicted.genes)
    between = frame.groupby(label[known]).transform("mean").var() / frame.var().replace(0, np.nan)
    ranked = list(between.sort_values(ascending=False, kind="stable").index)
    wanted = [gene for gene in settings.genes if gene in predicted.genes]
    genes = list(dict.fromkeys([*wanted, *ranked]))[:NUMBER]
    table = pd.concat(map(predicted.of_gene, genes), ignore_index=True).drop(columns="patient")
    table.attrs["um_per_px"] = predicted.um_per_px
    return table


def plot_labels(table: pd.DataFrame, settings: Settings, image: Thumbnail | None = None) -> Figure:
    """Draw labels once, then measurement and prediction of each gene on a common scale."""
    genes = list(dict.fromkeys(table["gene"]))
    maps = SpotMaps(table, image)
    columns = 1 + 2 * len(genes)
    side = (DOUBLE - 0.6) / 5
    figure = new_figure(0.6 + side * columns, maps.height(side) + 1.25)
    panels = figure.subplots(1, columns)
    first = table[table["gene"] == genes[0]]
    colours = label_colours(first["label"])
    maps.draw(panels[0], first, c=[colours[label] for label in first["label"]])
    panels[0].set_title(f"{settings.labels}\nlabels", pad=3, fontsize=7.5)
    for place, gene in enumerate(genes):
        own = table[table["gene"] == gene]
        look = shades(own[["measured", "predicted"]])
        pair = panels[1 + 2 * place : 3 + 2 * place]
        for axes, name in zip(pair, ("measured", "predicted"), strict=True):
            drawn = maps.draw(axes, own, c=own[name], **look)
            title = "measured" if name == "measured" else settings.title(own["method"].iloc[0])
            axes.set_title(f"{gene}\n{title}", pad=3, fontsize=7.5)
        bar = colour_bar(figure, drawn, list(pair), orientation="horizontal", fraction=0.05, aspect=30)
        bar.ax.tick_params(labelsize=6.5, length=2)
        bar.set_label(transform_text(settings), fontsize=7)
    for axes in panels:
        axes.set_anchor("N")  # colour bars take their height from below
    scale_bar(panels[0], maps.box, maps.um_per_px)
    figure.legend(handles=label_handles(colours), loc="outside lower center", ncols=min(5, len(colours)))
    size_discs(figure, [maps])
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say whose labels these are and what is on one scale."""
    genes = list(dict.fromkeys(table["gene"]))
    spots = table[table["gene"] == genes[0]]
    labelled = int((spots["label"] != "").sum())
    whose = settings.labels
    return prose(f"""
        Section {spots["section"].iloc[0]}, held out of training: the {whose} label of each spot (n =
        {labelled} of {count(len(spots), "spot")} labelled), and measured and predicted expression of
        {" and ".join(genes)}, measurement and prediction of a gene on one colour scale from the 2nd to
        the 98th percentile ({transform_text(settings) or "scale of the targets"}). An illustration; no
        test.
    """)


@figure(
    "Labels, measurement and prediction",
    "maps",
    inputs={"predictions": "{experiment}/predictions/{leader}/{map_fold}"},
    optional={"image": "{map_image}"},
    when=["labels"],
    settings=["section", "genes"],
)
def label_maps(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the section's prediction and draw it beside the labels."""
    sections = read_predictions(inputs["predictions"], [settings.section])
    if not sections or not (sections[0].spots["label"] != "").any():
        raise NothingToDraw(f"no spot of section {settings.section} has a label.")
    table = tidy_labels(sections[0], settings)
    image = inputs.get("image")
    return plot_labels(table, settings, thumbnail(image) if image else None), table, caption(table, settings)
