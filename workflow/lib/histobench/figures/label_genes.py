"""Genes by label: marker genes of tissue regions or layers, measured and predicted (THItoGene, Fig. 6).

Inputs: ``predictions`` (of the compared methods, all folds). Settings: ``genes``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from histobench.figures.parts import bare, require_rows, tile_text
from histobench.figures.sources import Predicted, read_predictions
from histobench.figures.style import DIVERGING, DOUBLE, method_title, method_titles, new_figure, styled
from histobench.figures.text import count, scores_note, signed

if TYPE_CHECKING:
    import pandas as pd

FIGURE = {
    "title": "Marker genes of labelled regions",
    "group": "tumour",
    "inputs": {"predictions": "results/{experiment}/predictions/{compared}/{fold}"},
    "when": ["labels"],
    "settings": ["genes"],
}
PER_LABEL = 3
LEAST_SPOTS = 5
COLUMNS = ["method", "label", "marker_of", "gene", "measured", "predicted", "n_spots", "n_sections"]


def tidy_regions(sections: Sequence[Predicted], wanted: Sequence[str] = ()) -> pd.DataFrame:
    """Return measured and predicted mean z per label and marker gene.

    z is over the labelled spots of a section, for measurement and prediction apart, averaged over the
    sections in which the label has at least five spots. Markers of a label are the genes with the highest
    measured mean z in it; genes that are ``wanted`` and in the panel stand before them.
    """
    import numpy as np
    import pandas as pd

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


@styled
def plot_regions(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> Figure:
    """Draw heat maps, measured and predicted by each method: labels in rows, genes in columns."""
    import numpy as np

    settings = settings or {}
    genes, labels = list(dict.fromkeys(table["gene"])), sorted(set(table["label"]))
    methods = list(dict.fromkeys(table["method"]))
    figure = new_figure(DOUBLE, 0.65 + (0.25 + 0.26 * len(labels)) * (1 + len(methods)))
    panels = figure.subplots(1 + len(methods), 1, sharex=True)
    limit = float(np.nanmax(np.abs(table[["measured", "predicted"]].to_numpy(float)))) or 1.0
    sources = [("measured", methods[0], "measured")]
    sources += [("predicted", method, method_title(method, settings)) for method in methods]
    for axes, (side, method, title) in zip(panels, sources, strict=True):
        own = table[table["method"] == method]
        values = own.pivot(index="label", columns="gene", values=side).loc[labels, genes].to_numpy(float)
        axes.set_facecolor("#eeeeee")
        image = axes.imshow(
            values, cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest"
        )
        if len(genes) <= 18:
            for (row, column), value in np.ndenumerate(values):
                text = signed(value, 1) if value == value else "n/a"
                tile_text(axes, column, row, text, value == value and abs(value) > 0.62 * limit)
        axes.set_yticks(range(len(labels)), labels)
        axes.set_title(title, loc="left", pad=3)
        bare(axes)
    panels[-1].set_xticks(
        range(len(genes)), genes, rotation=60, ha="right", rotation_mode="anchor", style="italic"
    )
    bar = figure.colorbar(image, ax=panels, fraction=0.03, pad=0.01)
    bar.set_label("mean z of the region")
    bar.outline.set_visible(False)
    return figure


def caption(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> str:
    """Say how markers were chosen and what z is over."""
    labels = table["label"].nunique()
    wanted = [gene for gene in (settings or {}).get("genes") or () if gene in set(table["gene"])]
    asked = f" (before them, as configured: {', '.join(wanted)})" if wanted else ""
    return (
        f"Genes with the highest measured expression in each of {count(labels, 'labelled region')}{asked}, "
        f"measured and predicted by {method_titles(table['method'], settings)}: mean z of the region's spots "
        "over the labelled spots of a section, measurement and prediction each by themselves, averaged over "
        f"held-out sections (n = {count(int(table['n_sections'].max()), 'section')}, regions of at least "
        "five spots). Chosen on the measurement that is drawn. Descriptive; no test." + scores_note(settings)
    )


def draw(inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """Read the predictions of all folds and draw the markers of every label."""
    table = tidy_regions(read_predictions(inputs["predictions"]), settings.get("genes") or ())
    table = require_rows(table, "no section has spots with labels.")
    return plot_regions(table, settings), table
