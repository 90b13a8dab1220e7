"""Patches that look like the other kind of tissue, and where they lie (He et al. 2020, Supp. Fig. 8).

Inputs: ``predictions`` (of the leading method with a latent space, all folds), ``patches`` (of all sections).
Settings: ``section``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.kinds import other_kind_share, ranked_by_kind
from histobench.figures.drawing.labels import label_colours, label_handles
from histobench.figures.drawing.parts import colour_bar, require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import Predicted, as_list, read_predictions
from histobench.figures.drawing.style import DOUBLE, new_figure
from histobench.figures.drawing.text import count, prose
from histobench.figures.drawing.tissue import SpotMaps, size_discs
from histobench.files import read_table, reading

PER_KIND = 4
SECTIONS = 3
KINDS = ("tumour", "normal")
COLUMNS = [
    "method", "patient", "section", "spot", "pixel_x", "pixel_y", "label", "other_share", "kind", "rank",
]  # fmt: skip


def tidy_places(sections: Sequence[Predicted], shown: str) -> pd.DataFrame:
    """Return :data:`COLUMNS` of one patient: that of the section ``shown`` if both kinds are there.

    Else of the first patient with both. ``other_share`` is the share of the ten nearest neighbours in latent
    space, among the labelled spots of the patient, that are of the other kind; ``rank`` numbers the most
    atypical spots of each ``kind`` from 1, 0 for all others. At most three sections, those with the most of
    these.
    """
    by_patient: dict[str, list[Predicted]] = {}
    for one in sections:
        if one.embedding is not None and len(one.spots):
            by_patient.setdefault(str(one.spots["patient"].iloc[0]), []).append(one)
    home = next((str(one.spots["patient"].iloc[0]) for one in sections if one.section == shown), "")
    for patient in sorted(by_patient, key=lambda name: name != home):
        own: list[Any] = by_patient[patient]
        vectors = np.concatenate([one.embedding for one in own])
        spots = pd.concat([one.spots.reset_index(names="spot") for one in own], ignore_index=True)
        tumour = spots["tumour"].to_numpy(float)
        ranked = ranked_by_kind(vectors, tumour)
        if not ranked:
            continue
        table = spots[["patient", "section", "spot", "pixel_x", "pixel_y", "label"]].assign(
            method=own[0].method, other_share=other_kind_share(vectors, tumour),
            kind=np.select([tumour == 1, tumour == 0], KINDS, ""), rank=0,
        )  # fmt: skip
        for places in ranked.values():
            chosen = places[::-1][:PER_KIND]
            table.loc[chosen, "rank"] = np.arange(1, len(chosen) + 1)
        most = table[table["rank"] > 0]["section"].value_counts(sort=True).index[:SECTIONS]
        return table[table["section"].isin(most)][COLUMNS].reset_index(drop=True)
    return pd.DataFrame(columns=COLUMNS)


def patches_of(table: pd.DataFrame, files: Mapping[str, Path]) -> dict[tuple[str, int], np.ndarray]:
    """Return the patches of the ranked spots as stored, by kind and rank."""
    found = {}
    entry: Any
    for entry in table[table["rank"] > 0].itertuples():
        path = files.get(entry.section)
        index = list(read_table(path.with_suffix(".tsv"))["spot"].astype(str)) if path else []
        if path is not None and str(entry.spot) in index:
            with reading(path):
                stored = np.load(path, mmap_mode="r")
            found[entry.kind, int(entry.rank)] = np.asarray(stored[index.index(str(entry.spot))])
    return found


def plot_places(
    table: pd.DataFrame, patches: Mapping[tuple[str, int], np.ndarray], settings: Settings
) -> Figure:
    """Draw per section labels above neighbours of the other kind, and the numbered patches to the right."""
    sections = list(dict.fromkeys(table["section"]))
    colours = label_colours(table["label"])
    figure = new_figure(DOUBLE, 3.7)
    parts: Any = figure.subfigures(1, 2, width_ratios=[0.7 + 0.75 * len(sections), 1.6])
    left, right = parts
    grid = left.subplots(2, len(sections), squeeze=False)
    drawn = []
    for column, section in enumerate(sections):
        own = table[table["section"] == section]
        maps = SpotMaps(own)
        drawn.append(maps)
        maps.draw(grid[0, column], own, c=[colours[v] for v in own["label"]])
        known = own[own["other_share"].notna()]
        shares = maps.draw(grid[1, column], known, c=known["other_share"], cmap="magma_r", vmin=0, vmax=1)
        for axes in grid[:, column]:
            for _, spot in own[own["rank"] > 0].iterrows():
                marker = "o" if spot["kind"] == KINDS[0] else "s"
                axes.plot(spot["pixel_x"], spot["pixel_y"], marker, ms=6, mfc="none", mec="#222222", mew=0.9)
                axes.annotate(
                    f"{spot['kind'][0].upper()}{spot['rank']}", (spot["pixel_x"], spot["pixel_y"]),
                    xytext=(4, 3), textcoords="offset points", fontsize=5.5, weight="bold",
                )  # fmt: skip
        grid[0, column].set_title(section, pad=3)
    grid[0, 0].set_ylabel("labels", fontsize=7.5)
    grid[1, 0].set_ylabel("neighbours of\nthe other kind", fontsize=7.5)
    bar = colour_bar(left, shares, list(grid[1]), orientation="horizontal", fraction=0.06, aspect=30)
    bar.set_label("share of the ten nearest in latent space", fontsize=7)
    tiles = right.subplots(len(KINDS), PER_KIND, squeeze=False)
    for row, kind in zip(tiles, KINDS, strict=True):
        for rank, axes in enumerate(row, start=1):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if (kind, rank) in patches:
                axes.imshow(patches[kind, rank], interpolation="none")
            share = table.loc[(table["kind"] == kind) & (table["rank"] == rank), "other_share"]
            if len(share):
                axes.set_title(f"{kind[0].upper()}{rank}: {100 * share.iloc[0]:.0f} %", fontsize=6.5, pad=2)
        row[0].set_ylabel(kind, fontsize=7.5)
    right.suptitle("most atypical patches", fontsize=8)
    figure.legend(handles=label_handles(colours), loc="outside lower center", ncols=min(5, len(colours)))
    size_discs(figure, drawn)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what atypical means."""
    means = table.groupby("kind")["other_share"].mean()
    parts = [f"{kind} {100 * means[kind]:.0f} %" for kind in KINDS if kind in means.index]
    return prose(f"""
        Patient {table["patient"].iloc[0]}, held out of training (n = {count(len(table), "spot")} of
        {count(table["section"].nunique(), "section")}): the {settings.labels} labels, and the share of a
        spot's ten nearest neighbours in the latent space of {settings.listed(table["method"])} that are of
        the other kind, tumour or normal (mean {" and ".join(parts)}). Rings and squares mark the four tumour
        (T) and the four normal spots (N) with the largest share, among equal ones those farthest from the
        centre of their kind, whose patches are shown. Such spots often lie at a border of labels; labels can
        be wrong, too. An illustration; no test.
    """)


@figure(
    "Atypical patches and where they lie",
    "latent space",
    predictions="latent",
    patches="section",
    when=["tumour_labels", "paper"],
    settings=["section"],
)
def atypical_places(inputs: Inputs, settings: Settings) -> Drawing:
    """Read embeddings and patches of one patient and draw them."""
    sections = read_predictions(inputs["predictions"])
    first = [one for one in sections if one.method == sections[0].method]
    table = require_rows(tidy_places(first, settings.section), "no patient has tumour and normal spots.")
    patches = patches_of(table, {path.stem: path for path in as_list(inputs["patches"])})
    return plot_places(table, patches, settings), table, caption(table, settings)
