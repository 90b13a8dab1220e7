"""Domains by k-means in every section with labels (Jia et al. 2023, THItoGene, Fig. 5).

Inputs: ``spots`` (spot folders of the compared methods), ``metrics`` (their metric folders).
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.labels import CLUSTER_COLOURS, label_colours, label_handles
from histobench.figures.drawing.parts import require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import read_metrics, read_spots
from histobench.figures.drawing.style import DOUBLE, new_figure
from histobench.figures.drawing.text import count, prose
from histobench.figures.drawing.tissue import SpotMaps, size_discs
from histobench.imaging.grid import places

LABELS, TRUTH = "labels", "measured"
MOST = 8
COLUMNS = ["section", "source", "spot", "x", "y", "domain", "ari", "n_sections"]


def tidy_domain_sections(spots: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    """Return :data:`COLUMNS`: every section with domains, at most eight in order of their names.

    Sources are the labels, clusters of the measurement and those of every method; clusters are numbers from 1
    by their size, because a section has as many as it has labels and their names mean nothing.
    """
    known = spots[spots["domain_truth"].notna()]
    sections = sorted(set(known["section"]))
    blocks = []
    for section in sections[:MOST]:
        own = known[known["section"] == section]
        methods = list(dict.fromkeys(own["method"]))
        first = own[own["method"] == methods[0]]
        grid = str(first["grid"].iloc[0]) if "grid" in first else "square"
        sources = [(LABELS, first, None, ""), (TRUTH, first, "domain_truth", "ari_truth")]
        sources += [(m, own[own["method"] == m], "domain_prediction", "ari_prediction") for m in methods]
        for source, rows, column, metric in sources:
            score = metrics[
                (metrics["metric"] == metric)
                & (metrics["section"] == section)
                & (metrics["method"] == (methods[0] if source == TRUTH else source))
            ]["value"]
            at = places(grid, rows["array_x"], rows["array_y"])
            named = rows["label"] if column is None else _by_size(rows[column])
            facts = {
                "section": section,
                "source": source,
                "spot": rows["spot"].to_numpy(),
                "x": at[:, 0],
                "y": at[:, 1],
                "domain": named.to_numpy(),
                "ari": float(score.iloc[0]) if len(score) else float("nan"),
                "n_sections": len(sections),
            }
            blocks.append(pd.DataFrame(facts))
    return pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame(columns=COLUMNS)


def _by_size(clusters: pd.Series) -> pd.Series:
    order = clusters.value_counts(sort=True).index
    return clusters.map({cluster: f"cluster {place}" for place, cluster in enumerate(order, start=1)})


def plot_domain_sections(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw sections in columns, labels, measurement and methods in rows, with the ARI below each."""
    sections = list(dict.fromkeys(table["section"]))
    methods = settings.order([s for s in dict.fromkeys(table["source"]) if s not in (LABELS, TRUTH)])
    sources = [LABELS, TRUTH, *methods]
    shown = table.rename(columns={"x": "pixel_x", "y": "pixel_y"})
    side = (DOUBLE - 0.7) / max(4, len(sections))
    figure = new_figure(0.7 + side * len(sections), (side + 0.22) * len(sources) + 0.8)
    grid = figure.subplots(len(sources), len(sections), squeeze=False)
    colours = label_colours(table.loc[table["source"] == LABELS, "domain"])
    clusters = sorted(set(table.loc[table["source"] != LABELS, "domain"]))
    tones = dict(zip(clusters, CLUSTER_COLOURS, strict=False))
    drawn = []
    for column, section in enumerate(sections):
        here = shown[shown["section"] == section]
        maps = SpotMaps(here)
        drawn.append(maps)
        grid[0, column].set_title(section, pad=3)
        for row, source in enumerate(sources):
            own, axes = here[here["source"] == source], grid[row, column]
            if own.empty:
                axes.axis("off")
                continue
            known = colours if source == LABELS else tones
            maps.draw(axes, own, c=[known.get(name, "#999999") for name in own["domain"]])
            if source != LABELS:
                axes.set_xlabel(f"ARI {own['ari'].iloc[0]:.2f}", labelpad=1, fontsize=6.5)
    for row, source in enumerate(sources):
        known_source = source in (LABELS, TRUTH)
        grid[row, 0].set_ylabel(
            source if known_source else settings.wrapped(source, 12),
            color="#222222" if known_source else settings.look(source).colour,
            fontsize=7,
        )
    figure.legend(handles=label_handles(colours), loc="outside lower center", ncols=min(4, len(colours)))
    size_discs(figure, drawn)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say how spots were clustered, and how many sections there are."""
    shown, every = table["section"].nunique(), int(table["n_sections"].max())
    methods = [s for s in dict.fromkeys(table["source"]) if s not in (LABELS, TRUTH)]
    more = f"the first {shown} of " if every > shown else ""
    spots = int((table["source"] == LABELS).sum())
    return prose(f"""
        The {settings.labels} labels in {more}{count(every, "section")} with several (n =
        {count(spots, "spot")}), and k-means clusters of the measured expression and of the predictions of
        {settings.listed(methods)}, as many as the section has labels. Colours of clusters are by size and
        have no relation to those of labels. ARI: adjusted Rand index against the labels, 0 is chance.
        Descriptive; no test.
    """)


@figure(
    "Domains in every labelled section",
    "maps",
    spots="compared",
    metrics="compared",
    when=["labels", "paper"],
)
def domain_sections(inputs: Inputs, settings: Settings) -> Drawing:
    """Read spots and scores and draw the domains of all sections."""
    metrics = read_metrics(inputs["metrics"], ["ari_truth", "ari_prediction"])
    table = tidy_domain_sections(read_spots(inputs["spots"]), metrics)
    table = require_rows(table, "no section has spots with two different labels.")
    return plot_domain_sections(table, settings), table, caption(table, settings)
