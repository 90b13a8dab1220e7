"""Measured and predicted expression on tumour and on normal spots (Kumar and Chatterjee 2024, HistoSPACE).

Inputs: ``predictions`` (of the leading method, all folds).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from histobench.figures.labels import label_colours
from histobench.figures.parts import require_rows
from histobench.figures.sources import Predicted, read_predictions
from histobench.figures.style import DOUBLE, method_title, new_figure, styled
from histobench.figures.text import count, scores_note, transform_text

if TYPE_CHECKING:
    import pandas as pd

FIGURE = {
    "title": "Expression in tumour and normal tissue",
    "group": "tumour",
    "inputs": {"predictions": "results/{experiment}/predictions/{leader}/{fold}"},
}
NUMBER = 6
KINDS = {1.0: "tumour", 0.0: "normal"}
COLUMNS = ["method", "gene", "source", "kind", "n_spots", "mean", "low", "first", "median", "third", "high"]


def tidy_expression(sections: Sequence[Predicted]) -> pd.DataFrame:
    """Return quantiles (5, 25, 50, 75, 95 %) per gene, source (measured, predicted) and kind of spot.

    Genes are those of all panels whose measured means differ most between the kinds, in standard deviations.
    All labelled spots are pooled.
    """
    import numpy as np
    import pandas as pd

    shared = (
        [gene for gene in sections[0].genes if all(gene in s.genes for s in sections)] if sections else []
    )
    if not shared:
        return pd.DataFrame(columns=COLUMNS)
    tumour = np.concatenate([s.spots["tumour"].to_numpy(float) for s in sections])
    both = {
        source: np.concatenate([getattr(s, part)[:, [s.column(g) for g in shared]] for s in sections])
        for source, part in (("measured", "truth"), ("predicted", "prediction"))
    }
    if not {0.0, 1.0} <= set(tumour[~np.isnan(tumour)]):
        return pd.DataFrame(columns=COLUMNS)
    truth = both["measured"]
    spread = np.where(truth.std(axis=0) > 0, truth.std(axis=0), np.inf)
    contrast = np.abs(truth[tumour == 1].mean(axis=0) - truth[tumour == 0].mean(axis=0)) / spread
    chosen = np.argsort(-np.nan_to_num(contrast), kind="stable")[:NUMBER]
    rows = []
    for place in chosen:
        for source, values in both.items():
            for code, kind in KINDS.items():
                own = values[tumour == code, place]
                quantiles = np.nanquantile(own, (0.05, 0.25, 0.5, 0.75, 0.95))
                rows.append(
                    (sections[0].method, shared[place], source, kind, len(own), np.nanmean(own), *quantiles)
                )
    return pd.DataFrame(rows, columns=COLUMNS)


@styled
def plot_expression(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> Figure:
    """Draw a panel per gene with boxes of both kinds of spots, measured and predicted."""
    settings = settings or {}
    genes = list(dict.fromkeys(table["gene"]))
    colours = label_colours(KINDS.values())
    figure = new_figure(DOUBLE, 2.4)
    panels = figure.subplots(1, len(genes), squeeze=False)[0]
    for axes, gene in zip(panels, genes, strict=True):
        own = table[table["gene"] == gene]
        for place, source in enumerate(("measured", "predicted")):
            for side, kind in ((-0.2, "tumour"), (0.2, "normal")):
                entry = own[(own["source"] == source) & (own["kind"] == kind)].iloc[0]
                box = {
                    "med": entry["median"],
                    "q1": entry["first"],
                    "q3": entry["third"],
                    "whislo": entry["low"],
                    "whishi": entry["high"],
                    "mean": entry["mean"],
                    "fliers": [],
                }
                colour = colours[kind]
                axes.bxp(
                    [box],
                    positions=[place + side],
                    widths=0.34,
                    showfliers=False,
                    showmeans=True,
                    patch_artist=True,
                    manage_ticks=False,
                    capprops={"lw": 0},
                    whiskerprops={"color": colour, "lw": 1.0},
                    boxprops={"facecolor": colour, "alpha": 0.55, "edgecolor": colour},
                    medianprops={"color": "#222222", "lw": 1.1},
                    meanprops={"marker": "D", "ms": 2.4, "mfc": "white", "mec": "#222222", "mew": 0.6},
                )
        axes.set_xticks([0, 1], ["meas.", "pred."])
        axes.set_xlim(-0.55, 1.55)
        axes.set_title(gene, style="italic", pad=3, fontsize=7.5)
        axes.grid(axis="y")
        axes.tick_params(axis="x", length=0)
    panels[0].set_ylabel(transform_text(settings) or "expression")
    from matplotlib.patches import Patch

    handles = [Patch(fc=colour, alpha=0.7, label=f"{kind} spots") for kind, colour in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def caption(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> str:
    """Say which genes and spots these are."""
    spots = table.drop_duplicates("kind").set_index("kind")["n_spots"]
    return (
        f"Measured expression and its prediction by {method_title(table['method'].iloc[0], settings)} on "
        f"tumour (n = {count(int(spots['tumour']), 'spot')}) and normal spots "
        f"({count(int(spots['normal']), 'spot')}) of all held-out sections, for the genes whose measurement "
        "differs most between them: box, middle half; line, median; diamond, mean; whiskers, 5th to 95th "
        "percentile. Spots are pooled over patients and not independent. Descriptive; no "
        "test." + scores_note(settings)
    )


def draw(inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """Read the predictions of all folds and draw the genes that differ most."""
    table = tidy_expression(read_predictions(inputs["predictions"]))
    table = require_rows(table, "there are no labelled tumour and normal spots.")
    return plot_expression(table, settings), table
