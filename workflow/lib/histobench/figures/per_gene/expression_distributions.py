"""Measured and predicted expression on tumour and on normal spots (Kumar and Chatterjee 2024, HistoSPACE).

Inputs: ``predictions`` (of the compared methods, all folds). Settings: ``genes``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.labels import label_colours
from histobench.figures.drawing.parts import require_rows
from histobench.figures.drawing.plots import boxes
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import Predicted, read_predictions
from histobench.figures.drawing.style import DOUBLE, new_figure
from histobench.figures.drawing.text import count, prose, scores_note, transform_text

NUMBER = 6
KINDS = {1.0: "tumour", 0.0: "normal"}
COLUMNS = ["method", "gene", "source", "kind", "n_spots", "mean", "low", "first", "median", "third", "high"]


def tidy_expression(sections: Sequence[Predicted], wanted: Sequence[str] = ()) -> pd.DataFrame:
    """Return quantiles (5, 25, 50, 75, 95 %) per method, gene, source (measured, predicted) and kind of spot.

    Genes are the ``wanted`` ones of all panels, then those whose measured means differ most between the
    kinds, in standard deviations. All labelled spots are pooled. The measurement stands once, under the
    first method.
    """
    of_method: dict[str, list[Predicted]] = {}
    for section in sections:
        of_method.setdefault(section.method, []).append(section)
    rows: list[tuple[Any, ...]] = []
    chosen: list[str] = []
    for method, own in of_method.items():
        shared = [gene for gene in own[0].genes if all(gene in section.genes for section in own)]
        tumour = np.concatenate([section.spots["tumour"].to_numpy(float) for section in own])
        if not shared or not {0.0, 1.0} <= set(tumour[~np.isnan(tumour)]):
            continue
        sources = {"predicted": "prediction"}
        if not rows:
            truth = _values(own, "truth", shared)
            chosen = _most_different(truth, tumour, shared, wanted)
            sources = {"measured": "truth", **sources}
        genes = [gene for gene in chosen if gene in shared]
        values = {source: _values(own, part, genes) for source, part in sources.items()}
        for place, gene in enumerate(genes):
            for source, table in values.items():
                for code, kind in KINDS.items():
                    spots = table[tumour == code, place]
                    quantiles = np.nanquantile(spots, (0.05, 0.25, 0.5, 0.75, 0.95))
                    rows.append((method, gene, source, kind, len(spots), np.nanmean(spots), *quantiles))
    return pd.DataFrame(rows, columns=COLUMNS)


def _values(sections: Sequence[Predicted], part: str, genes: Sequence[str]) -> np.ndarray:
    """Stack the truth or the prediction of some genes, (spots, genes)."""
    return np.concatenate([getattr(s, part)[:, [s.column(gene) for gene in genes]] for s in sections])


def _most_different(
    truth: np.ndarray, tumour: np.ndarray, genes: Sequence[str], wanted: Sequence[str]
) -> list[str]:
    spread = np.where(truth.std(axis=0) > 0, truth.std(axis=0), np.inf)
    contrast = np.abs(truth[tumour == 1].mean(axis=0) - truth[tumour == 0].mean(axis=0)) / spread
    ranked = [genes[place] for place in np.argsort(-np.nan_to_num(contrast), kind="stable")]
    return list(dict.fromkeys([*(gene for gene in wanted if gene in genes), *ranked]))[:NUMBER]


def plot_expression(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a panel per gene with boxes of both kinds of spots, measured and predicted by each method."""
    genes = list(dict.fromkeys(table["gene"]))
    methods = list(dict.fromkeys(table["method"]))
    sources = [("measured", methods[0]), *(("predicted", method) for method in methods)]
    names = ["meas.", *(settings.title(method) for method in methods)]
    if len(methods) == 1:
        names[1] = "pred."
    colours = label_colours(KINDS.values())
    figure = new_figure(DOUBLE, 2.4 if len(methods) == 1 else 3.0)
    panels = figure.subplots(1, len(genes), squeeze=False)[0]
    for axes, gene in zip(panels, genes, strict=True):
        of_gene = table[table["gene"] == gene]
        places = {pair: place for place, pair in enumerate(sources)}
        pairs = zip(of_gene["source"], of_gene["method"], strict=True)
        own = of_gene.assign(place=[places.get(pair) for pair in pairs]).dropna(subset="place")
        boxes(axes, own, "place", range(len(sources)), kind="kind", palette=colours, width=0.74, gap=0.08)
        axes.set_xticks(range(len(sources)), names)
        if len(methods) > 1:
            axes.tick_params(axis="x", rotation=90, labelsize=6)
        axes.set_xlim(-0.55, len(sources) - 0.45)
        axes.set_title(gene, style="italic", pad=3, fontsize=7.5)
        axes.grid(axis="y")
        axes.tick_params(axis="x", length=0)
    panels[0].set_ylabel(transform_text(settings) or "expression")
    handles = [Patch(fc=colour, alpha=0.7, label=f"{kind} spots") for kind, colour in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say which genes and spots these are."""
    first = "the configured genes, then " if settings.genes else ""
    spots = table.drop_duplicates("kind").set_index("kind")["n_spots"]
    return prose(f"""
        Measured expression and its prediction by {settings.listed(table["method"])} on tumour (n =
        {count(int(spots["tumour"]), "spot")}) and normal spots ({count(int(spots["normal"]), "spot")})
        of all held-out sections, for {first}the genes whose measurement differs most between them: box,
        middle half; line, median; diamond, mean; whiskers, 5th to 95th percentile. Spots are pooled over
        patients and not independent. Descriptive; no test.{scores_note(settings)}
    """)


@figure(
    "Expression in tumour and normal tissue",
    "tumour",
    predictions="compared",
    when=["tumour_labels"],
    settings=["genes"],
)
def expression_distributions(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the predictions of all folds and draw the genes that differ most."""
    table = tidy_expression(read_predictions(inputs["predictions"]), settings.genes)
    table = require_rows(table, "there are no labelled tumour and normal spots.")
    return plot_expression(table, settings), table, caption(table, settings)
