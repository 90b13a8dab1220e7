"""Neighbours in latent space and on the tissue (He et al. 2020, Supp. Fig. 9b).

Inputs: ``predictions`` (of the methods with a latent space, all folds).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.spatial import cKDTree

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import Predicted, read_predictions
from histobench.figures.drawing.style import DOUBLE, QUIET_COLOUR, REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose
from histobench.figures.drawing.tissue import spot_pitch

NEIGHBOURS = 5
FARTHEST = 12
LEAST = 2 * NEIGHBOURS
COLUMNS = [
    "method",
    "distance",
    "near_in_latent",
    "all_pairs",
    "enrichment",
    "latent_distance",
    "n_sections",
    "n_spots",
]


def tidy_distances(sections: Sequence[Predicted]) -> pd.DataFrame:
    """Return :data:`COLUMNS`, a row per method and distance on the tissue in spot pitches (1 to 12).

    ``near_in_latent`` is the share of the five nearest spots in latent space, of the same section, that lie
    at that distance (rounded), ``all_pairs`` that of all pairs, ``enrichment`` their ratio;
    ``latent_distance`` is the mean Euclidean distance in latent space of the pairs at that distance, in
    units of the mean over all pairs of the section. Sections count alike.
    """
    blocks = []
    for one in sections:
        if one.embedding is None or len(one.spots) <= LEAST:
            continue
        place = one.spots[["pixel_x", "pixel_y"]].to_numpy(float)
        steps = np.rint(_pairs(place) / spot_pitch(place)).astype(int)
        latent = _pairs(one.embedding)
        upper = np.triu_indices(len(place), 1)
        nearest = cKDTree(one.embedding).query(one.embedding, k=NEIGHBOURS + 1)[1][:, 1:]
        near = np.take_along_axis(steps, nearest, axis=1).ravel()
        far = steps[upper]
        mean = float(latent[upper].mean()) or 1.0
        for distance in range(1, FARTHEST + 1):
            pairs = far == distance
            if not pairs.any():
                continue
            share, every = float((near == distance).mean()), float(pairs.mean())
            own = float(latent[upper][pairs].mean() / mean)
            blocks.append((one.method, distance, share, every, own, len(place)))
    names = ["method", "distance", "near_in_latent", "all_pairs", "latent_distance", "n"]
    found = pd.DataFrame(blocks, columns=names)
    groups = found.groupby(["method", "distance"], sort=False)
    table = groups.agg(
        near_in_latent=("near_in_latent", "mean"), all_pairs=("all_pairs", "mean"),
        latent_distance=("latent_distance", "mean"), n_sections=("n", "size"), n_spots=("n", "sum"),
    ).reset_index()  # fmt: skip
    return table.assign(enrichment=table["near_in_latent"] / table["all_pairs"])[COLUMNS]


def _pairs(points: np.ndarray) -> np.ndarray:
    """Return Euclidean distances of all pairs, (n, n)."""
    squares = (points**2).sum(axis=1)
    distances: np.ndarray = np.sqrt(np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0.0))
    return distances


def plot_distances(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw how far latent neighbours lie on the tissue, and latent distance against that on the tissue."""
    figure = new_figure(DOUBLE, 2.7)
    left, right = figure.subplots(1, 2)
    methods = settings.order(table["method"])
    for method in methods:
        own, style = table[table["method"] == method].sort_values("distance"), settings.look(method)
        look = {"color": style.colour, "ls": style.dashes, "marker": style.marker, "ms": 3.5}
        left.plot(own["distance"], own["enrichment"], label=settings.title(method), **look)
        right.plot(own["distance"], own["latent_distance"], **look)
    for axes in (left, right):
        axes.axhline(1, color=REFERENCE_COLOUR, lw=0.8, ls=(0, (4, 2)))
        axes.set_xlabel("distance on the tissue (spot pitches)")
        axes.set_xticks(range(1, FARTHEST + 1))
        axes.grid(axis="y")
    left.set_ylim(bottom=0)
    left.set_ylabel("latent neighbours at this distance,\ntimes those of all pairs")
    right.set_ylabel("latent distance\n(mean of all pairs = 1)", color=QUIET_COLOUR)
    if len(methods) > 1:
        figure.legend(loc="outside lower center", ncols=min(4, len(methods)))
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what a neighbour is, and what a flat line would mean."""
    first = table[table["distance"] == table["distance"].min()]
    near = [
        f"{settings.title(str(m))} {e:.1f}" for m, e in zip(first["method"], first["enrichment"], strict=True)
    ]
    return prose(f"""
        Left: how often the {NEIGHBOURS} nearest spots in the latent space of
        {settings.listed(settings.order(table["method"]))} lie at a distance on the tissue, as a multiple of
        what spots drawn at random from the section would (dashed); among touching spots: {"; ".join(near)}.
        Right: distance in latent space of spots at that distance on the tissue. Held-out sections, each by
        itself (n = {count(int(table["n_sections"].max()), "section")},
        {count(int(table["n_spots"].max()), "spot")}), which count alike. No position is given to a network
        of single patches, so a line above 1 says that tissue nearby looks alike. Descriptive; no test.
    """)


@figure("Neighbours in latent space and on the tissue", "latent space", predictions="latent", when=["paper"])
def latent_distance(inputs: Inputs, settings: Settings) -> Drawing:
    """Read embeddings and positions and draw distances."""
    table = require_rows(
        tidy_distances(read_predictions(inputs["predictions"])),
        "no section has enough spots with a latent space.",
    )
    return plot_distances(table, settings), table, caption(table, settings)
