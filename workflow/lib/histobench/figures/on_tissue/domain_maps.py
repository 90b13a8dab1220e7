"""Domains by k-means beside the pathologist's picture (Zeng et al. 2022; Jia et al. 2023, THItoGene, Fig. 5).

Inputs: ``spots`` (spot folders of the methods on the maps), ``metrics`` (their metric folders). Settings:
``section``.
"""

from __future__ import annotations

from typing import Any

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


def tidy_domains(spots: pd.DataFrame, metrics: pd.DataFrame, section: str) -> pd.DataFrame:
    """Return section, source, spot, x, y, domain, ari, n_sections, mean_ari.

    Sources are the labels of the spots, the clusters of the measurement, and those of every method. The
    section is the wanted one if it has domains, else the first that has. ``ari`` is of this section,
    ``mean_ari`` over all sections with labels; clusters are renamed to the label that most of their spots
    have where that is free, so that equal colours mean as much alike as can be.
    """
    columns = ["section", "source", "spot", "x", "y", "domain", "ari", "mean_ari", "n_sections"]
    known = spots[spots["domain_truth"].notna()]
    if known.empty:
        return pd.DataFrame(columns=columns)
    section = section if section in set(known["section"]) else str(known["section"].iloc[0])
    own = known[known["section"] == section]
    methods = list(dict.fromkeys(own["method"]))
    first = own[own["method"] == methods[0]]
    grid = str(own["grid"].iloc[0]) if "grid" in own else "square"
    sources = [(LABELS, first, None, ""), (TRUTH, first, "domain_truth", "ari_truth")]
    sources += [(m, own[own["method"] == m], "domain_prediction", "ari_prediction") for m in methods]
    blocks = []
    for source, rows, column, metric in sources:
        domain = rows["label"] if column is None else _named(rows[column], rows["label"])
        method = methods[0] if source == TRUTH else source
        scores = metrics[
            (metrics["metric"] == metric) & (metrics["method"] == method) & (metrics["section"] != "*")
        ]
        at = places(grid, rows["array_x"], rows["array_y"])
        here = scores.loc[scores["section"] == section, "value"]
        blocks.append(
            pd.DataFrame(
                {
                    "section": section,
                    "source": source,
                    "spot": rows["spot"].to_numpy(),
                    "x": at[:, 0],
                    "y": at[:, 1],
                    "domain": domain.to_numpy(),
                    "ari": float(here.iloc[0]) if len(here) else float("nan"),
                    "mean_ari": float(scores["value"].mean()) if len(scores) else float("nan"),
                    "n_sections": len(scores),
                }
            )
        )
    return pd.concat(blocks, ignore_index=True)


def _named(clusters: pd.Series, label: pd.Series) -> pd.Series:
    """Name each cluster after a label, most overlapping pairs first, each label at most once."""
    stacked: Any = pd.crosstab(clusters, label).stack()
    overlap = stacked.sort_values(ascending=False, kind="stable")
    names: dict[Any, str] = {}
    for cluster, name in overlap.index:
        if cluster not in names and name not in names.values():
            names[cluster] = str(name)
    further = [cluster for cluster in sorted(set(clusters)) if cluster not in names]
    names |= {cluster: f"cluster {place + 1}" for place, cluster in enumerate(further)}
    return clusters.map(names)


def plot_domains(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw labels, clusters of the measurement and clusters of every method with their ARI."""
    methods = settings.order([s for s in table["source"].unique() if s not in (LABELS, TRUTH)])
    sources = [LABELS, TRUTH, *methods]
    columns = min(4, len(sources))
    rows = -(-len(sources) // columns)
    shown = table.rename(columns={"x": "pixel_x", "y": "pixel_y"})
    maps = SpotMaps(shown)
    side = (DOUBLE - 0.2) / 4
    figure = new_figure(0.2 + side * columns, rows * (maps.height(side) + 0.4) + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False)
    colours = label_colours(table.loc[table["source"] == LABELS, "domain"])
    free = iter(CLUSTER_COLOURS)
    colours |= {name: next(free) for name in table["domain"].unique() if name not in colours}
    for axes, source in zip(grid.flat, sources, strict=False):
        own = shown[shown["source"] == source]
        maps.draw(axes, own, c=[colours[name] for name in own["domain"]])
        known = source in (LABELS, TRUTH)
        colour = "#222222" if known else settings.look(source).colour
        axes.set_title(source if known else settings.title(source), color=colour, pad=2)
        if source != LABELS:
            entry = own.iloc[0]
            axes.set_xlabel(f"ARI {entry['ari']:.2f} (mean {entry['mean_ari']:.2f})", labelpad=1, fontsize=7)
    for axes in list(grid.flat)[len(sources) :]:
        axes.axis("off")
    figure.legend(handles=label_handles(colours), loc="outside lower center", ncols=min(4, len(colours)))
    size_discs(figure, [maps])
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say how spots were clustered and compared."""
    spots = int((table["source"] == LABELS).sum())
    sections = int(table["n_sections"].max())
    return prose(f"""
        The {settings.labels} labels in section {table["section"].iloc[0]} (n = {count(spots, "spot")}
        with a determined label), and k-means clusters of measured and predicted expression with as many
        clusters as there are labels. ARI: adjusted Rand index against the labels in this section, in
        brackets the mean over {count(sections, "section")} with labels; 0 is chance. A cluster has the
        colour of the label that it overlaps most, as far as that is free. Descriptive; no test.
    """)


@figure(
    "Domains beside the labels",
    "maps",
    spots="map_method",
    metrics="map_method",
    when=["labels"],
    settings=["section"],
)
def domain_maps(inputs: Inputs, settings: Settings) -> Drawing:
    """Read spots and scores and draw the domains of one section."""
    metrics = read_metrics(inputs["metrics"], ["ari_truth", "ari_prediction"])
    table = tidy_domains(read_spots(inputs["spots"]), metrics, settings.section)
    table = require_rows(table, "no section has spots with two different labels.")
    return plot_domains(table, settings), table, caption(table, settings)
