"""Each gene in the section where it is predicted best (Jia et al. 2023, THItoGene, Fig. 4).

Inputs: ``metrics`` (metric folders of the compared methods, the leading one first), ``predictions`` (of the
same, all folds). Settings: ``genes``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import as_list, read_metrics, read_predictions
from histobench.figures.drawing.style import DOUBLE, new_figure
from histobench.figures.drawing.text import count, prose, scores_note, signed
from histobench.figures.drawing.tissue import SpotMaps, shades, size_discs

GENES = 4
MEASURED = "measured"
COLUMNS = ["gene", "section", "source", "r", "mean_r", "n_sections", "spot", "pixel_x", "pixel_y", "value"]


def best_of(metrics: pd.DataFrame, wanted: Sequence[str]) -> dict[str, str]:
    """Return gene -> section in which the first method has the highest r.

    Genes are the wanted ones that could be scored, then those with the highest such r.
    """
    own = metrics[(metrics["metric"] == "pearson") & (metrics["section"] != "*") & metrics["value"].notna()]
    first = own[own["method"] == own["method"].iloc[0]] if len(own) else own
    ranked = first.sort_values(["value", "gene", "section"], ascending=[False, True, True], kind="stable")
    best = ranked.drop_duplicates("gene").set_index("gene")["section"]
    genes = list(dict.fromkeys([*(gene for gene in wanted if gene in best.index), *best.index]))[:GENES]
    return {gene: str(best[gene]) for gene in genes}


def tidy_best(metrics: pd.DataFrame, files: Mapping[str, list[Path]], wanted: Sequence[str]) -> pd.DataFrame:
    """Return :data:`COLUMNS`: per gene its section, measured once and as every method predicts it.

    ``files`` are the prediction files by section, in the order of methods.
    """
    scored = metrics[(metrics["metric"] == "pearson") & (metrics["section"] != "*")]
    blocks = []
    for gene, section in best_of(metrics, wanted).items():
        for number, path in enumerate(files.get(section, [])):
            predicted = read_predictions([path.parent], [section])
            if not predicted or gene not in predicted[0].genes:
                continue
            one = predicted[0]
            of_gene = scored[(scored["method"] == one.method) & (scored["gene"] == gene)]
            here = of_gene.loc[of_gene["section"] == section, "value"]
            facts = {
                "r": float(here.iloc[0]) if len(here) else float("nan"),
                "mean_r": float(of_gene["value"].mean()),
                "n_sections": int(of_gene["value"].notna().sum()),
            }
            spots = one.of_gene(gene)
            nothing = dict.fromkeys(("r", "mean_r"), float("nan")) | {"n_sections": facts["n_sections"]}
            if number == 0:
                blocks.append(spots.assign(source=MEASURED, value=spots["measured"], **nothing))
            blocks.append(spots.assign(source=one.method, value=spots["predicted"], **facts))
    return pd.concat(blocks, ignore_index=True)[COLUMNS] if blocks else pd.DataFrame(columns=COLUMNS)


def plot_best(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a column per gene: the measurement above every method's prediction, each on its own scale."""
    genes, sources = list(dict.fromkeys(table["gene"])), list(dict.fromkeys(table["source"]))
    side = (DOUBLE - 0.8) / GENES
    figure = new_figure(0.8 + side * len(genes), 0.4 + (0.8 * side + 0.2) * len(sources))
    grid = figure.subplots(len(sources), len(genes), squeeze=False)
    drawn = []
    for column, gene in enumerate(genes):
        own = table[table["gene"] == gene]
        maps = SpotMaps(own)
        drawn.append(maps)
        grid[0, column].set_title(f"{gene}, {own['section'].iloc[0]}", pad=3)
        for axes, source in zip(grid[:, column], sources, strict=True):
            spots = own[own["source"] == source]
            if spots.empty:
                axes.axis("off")
                continue
            maps.draw(axes, spots, c=spots["value"], **shades(spots[["value"]]))
            if source != MEASURED:
                text = f"r = {signed(spots['r'].iloc[0])} (mean {signed(spots['mean_r'].iloc[0])})"
                axes.set_xlabel(text, fontsize=6.5, labelpad=1)
    for row, source in enumerate(sources):
        known = source == MEASURED
        grid[row, 0].set_ylabel(
            MEASURED if known else settings.wrapped(source, 12),
            color="#222222" if known else settings.look(source).colour,
            fontsize=7,
        )
    size_discs(figure, drawn)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say that sections are picked by their result."""
    methods = [source for source in dict.fromkeys(table["source"]) if source != MEASURED]
    genes = list(dict.fromkeys(table["gene"]))
    return prose(f"""
        {", ".join(genes)}, each in the held-out section in which {settings.title(methods[0])} has its
        highest r, measured and predicted by {settings.listed(methods)}; every panel has its own colour scale
        from the 2nd to the 98th percentile, dark is low. r of the section shown, in brackets the mean over
        all (n = {count(int(table["n_sections"].max()), "section")}). Sections are picked by the result that
        they show, as in the paper: these r are maxima and no estimate of accuracy. An illustration; no
        test.{scores_note(settings)}
    """)


@figure(
    "Genes in their best section",
    "maps",
    metrics="compared",
    predictions="compared",
    when=["paper"],
    settings=["genes"],
)
def best_sections(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the metric files, then the predictions of the best sections alone."""
    metrics = read_metrics(inputs["metrics"], ["pearson"])
    wanted = set(best_of(metrics, settings.genes).values())
    files: dict[str, list[Path]] = {}
    for folder in as_list(inputs["predictions"]):
        for section in sorted(wanted):
            if (folder / f"{section}.h5ad").is_file():
                files.setdefault(section, []).append(folder / f"{section}.h5ad")
    table = require_rows(tidy_best(metrics, files, settings.genes), "no gene could be scored.")
    return plot_best(table, settings), table, caption(table, settings)
