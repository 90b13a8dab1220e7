"""Two genes beside the labels in several patients (He et al. 2020, Fig. 2a; HE2Gene, Supp. Fig. S9).

Inputs: ``predictions`` (of the leading method, all folds). Settings: ``section``, ``genes``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.labels import label_colours, label_handles
from histobench.figures.drawing.parts import require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import Predicted, read_predictions
from histobench.figures.drawing.style import DOUBLE, new_figure
from histobench.figures.drawing.text import count, prose, signed, transform_text
from histobench.figures.drawing.tissue import SpotMaps, shades, size_discs

GENES, SECTIONS = 2, 3
COLUMNS = [
    "method", "patient", "section", "gene", "spot", "pixel_x", "pixel_y", "label", "measured", "predicted",
    "r",
]  # fmt: skip


def choose_sections(sections: Sequence[Predicted], first: str, number: int = SECTIONS) -> list[Predicted]:
    """Return the section of the maps, then one of each further patient: no score has a say.

    Of a patient the section is taken whose tumour and normal spots are nearest to being equally many, without
    such labels the one with the most spots; patients are ordered in the same way.
    """

    def rank(section: Predicted) -> tuple[int, int]:
        tumour = section.spots["tumour"].to_numpy(float)
        return int(min((tumour == 1).sum(), (tumour == 0).sum())), len(section.spots)

    chosen: dict[str, Predicted] = {}
    for section in sorted(sections, key=lambda s: (s.section != first, *(-n for n in rank(s)))):
        chosen.setdefault(str(section.spots["patient"].iloc[0]), section)
    return list(chosen.values())[:number]


def tidy_sections(chosen: Sequence[Predicted], wanted: Sequence[str]) -> pd.DataFrame:
    """Return :data:`COLUMNS` for the first wanted genes of the panel, else those with the highest means."""
    if not chosen:
        return pd.DataFrame(columns=COLUMNS)
    first = chosen[0]
    means = np.nan_to_num(first.truth.mean(axis=0), nan=-np.inf)
    ranked = [first.genes[place] for place in np.argsort(-means, kind="stable")]
    measured_here = {g for g, mean in zip(first.genes, means, strict=True) if np.isfinite(mean)}
    known = [gene for gene in wanted if gene in measured_here]
    genes = list(dict.fromkeys([*known, *ranked]))[:GENES]
    blocks = []
    for section in chosen:
        for gene in genes:
            own = section.of_gene(gene)
            r = own["measured"].corr(own["predicted"]) if np.ptp(own["predicted"]) > 0 else 0.0
            blocks.append(own.assign(r=r))
    return pd.concat(blocks, ignore_index=True)[COLUMNS]


def plot_sections(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a row per section: labels, then measurement and prediction of each gene on a scale of the row."""
    genes, sections = list(dict.fromkeys(table["gene"])), list(dict.fromkeys(table["section"]))
    colours = label_colours(table["label"])
    labelled = set(colours) != {""}
    side = (DOUBLE - 0.5) / (1 + 2 * GENES)
    drawn = [SpotMaps(own) for _, own in table.groupby("section", sort=False)]
    heights = [maps.height(side) for maps in drawn]
    figure = new_figure(DOUBLE, sum(heights) + 0.3 * len(sections) + 0.8)
    grid = figure.subplots(len(sections), 1 + 2 * len(genes), squeeze=False, height_ratios=heights)
    for row, name, maps in zip(grid, sections, drawn, strict=True):
        own = table[table["section"] == name]
        spots = own[own["gene"] == genes[0]]
        maps.draw(row[0], spots, c=[colours[label] for label in spots["label"]])
        row[0].set_ylabel(f"{name}\npatient {spots['patient'].iloc[0]}", fontsize=7)
        for place, gene in enumerate(genes):
            of_gene = own[own["gene"] == gene]
            look = shades(of_gene[["measured", "predicted"]])
            for axes, kind in zip(row[1 + 2 * place : 3 + 2 * place], ("measured", "predicted"), strict=True):
                maps.draw(axes, of_gene, c=of_gene[kind], **look)
            row[2 + 2 * place].set_xlabel(f"r = {signed(float(of_gene['r'].iloc[0]))}", fontsize=6.5)
    method = settings.wrapped(str(table["method"].iloc[0]), 12)
    grid[0, 0].set_title(f"{settings.labels}\nlabels" if labelled else "spots", pad=3, fontsize=7.5)
    for place, gene in enumerate(genes):
        grid[0, 1 + 2 * place].set_title(f"{gene}\nmeasured", pad=3, fontsize=7.5)
        grid[0, 2 + 2 * place].set_title(f"{gene}\n{method}", pad=3, fontsize=7.5)
    if labelled:
        figure.legend(handles=label_handles(colours), loc="outside lower center", ncols=min(5, len(colours)))
    size_discs(figure, drawn)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say how sections were chosen, and what is on one scale."""
    genes = " and ".join(dict.fromkeys(table["gene"]))
    return prose(f"""
        {genes}, measured and predicted by {settings.listed(table["method"])}, in
        {count(table["section"].nunique(), "section")} of {count(table["patient"].nunique(), "patient")},
        each held out of the training that predicts it (n =
        {count(len(table) // table["gene"].nunique(), "spot")}): the section of the maps, and of further
        patients the one whose tumour and normal spots are most equally many, or which has the most spots;
        scores have no say in it. Measurement and prediction of a gene in a section share a colour scale from
        the 2nd to the 98th percentile, dark is low
        ({transform_text(settings) or "scale of the targets"}); r over the spots of the section. An
        illustration; no test.
    """)


@figure(
    "Genes beside the labels, several patients",
    "maps",
    predictions="leader",
    when=["paper"],
    settings=["section", "genes"],
)
def gene_sections(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the predictions of all folds, choose sections and draw them."""
    chosen = choose_sections(read_predictions(inputs["predictions"]), settings.section)
    table = require_rows(tidy_sections(chosen, settings.genes), "no spot was predicted.")
    return plot_sections(table, settings), table, caption(table, settings)
