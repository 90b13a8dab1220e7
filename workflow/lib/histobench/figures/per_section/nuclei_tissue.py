"""Nuclei in tumour and in normal tissue (He et al. 2020, ST-Net, Supp. Fig. 6).

Inputs: ``predictions`` (of the leading method, all folds, for the labels), ``nuclei`` (of all sections).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.labels import label_colours
from histobench.figures.drawing.nuclei import read_nuclei
from histobench.figures.drawing.parts import require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, QUIET_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose

KINDS = {"tumour": 1.0, "normal": 0.0}
SHOWN = {
    "n_nuclei": "nuclei per spot",
    "area": "mean area (µm²)",
    "min_distance": "nearest neighbour (µm)",
    "haematoxylin": "haematoxylin (optical density)",
}
COLUMNS = ["feature", "patient", "tumour", "normal", "n_tumour", "n_normal", "p_wilcoxon", "p_holm"]


def tidy_tissue(spots: pd.DataFrame) -> pd.DataFrame:
    """Return :data:`COLUMNS`: means over the spots of each kind, for patients with both.

    ``p_wilcoxon`` is that of a two-sided signed-rank test over patients, ``p_holm`` corrected over features.

    Parameters
    ----------
    spots
        ``patient``, ``tumour`` (1, 0, NaN) and the features, a row per spot.
    """
    blocks, tests = [], {}
    for feature in SHOWN:
        own = spots[spots["tumour"].notna() & spots[feature].notna()]
        wide = own.pivot_table(index="patient", columns="tumour", values=feature, aggfunc=["mean", "count"])
        both = {("mean", code) for code in KINDS.values()}
        if not both <= set(wide.columns):
            continue
        wide = wide.dropna(subset=sorted(both))
        if wide.empty:
            continue
        table = pd.DataFrame({"feature": feature, "patient": wide.index})
        for kind, code in KINDS.items():
            table[kind] = wide["mean", code].to_numpy()
            table[f"n_{kind}"] = wide["count", code].to_numpy().astype(int)
        difference = (table["tumour"] - table["normal"]).to_numpy()
        usable = len(difference) > 1 and np.any(difference != 0)
        tests[feature] = float(stats.wilcoxon(difference).pvalue) if usable else np.nan
        blocks.append(table.assign(p_wilcoxon=tests[feature]))
    if not blocks:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.concat(blocks, ignore_index=True)
    ordered = sorted((p, feature) for feature, p in tests.items() if p == p)
    holm, largest = {}, 0.0
    for place, (p, feature) in enumerate(ordered):
        largest = max(largest, min(1.0, (len(ordered) - place) * p))
        holm[feature] = largest
    return table.assign(p_holm=table["feature"].map(holm))[COLUMNS]


def plot_tissue(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a panel per feature: each patient's mean in normal and in tumour tissue, joined by a line."""
    features = list(dict.fromkeys(table["feature"]))
    figure = new_figure(DOUBLE, 2.7)
    colours = label_colours(KINDS)
    order = list(reversed(KINDS))
    for axes, feature in zip(figure.subplots(1, len(features), squeeze=False)[0], features, strict=True):
        own = table[table["feature"] == feature]
        axes.plot([0, 1], own[order].to_numpy().T, color=QUIET_COLOUR, lw=0.7, alpha=0.7)
        for place, kind in enumerate(order):
            axes.plot([place] * len(own), own[kind], "o", ms=4.5, mec="white", mew=0.4, color=colours[kind])
            axes.plot([place - 0.18, place + 0.18], [own[kind].mean()] * 2, color="#222222", lw=1.8)
        axes.set_xticks([0, 1], order)
        axes.set_xlim(-0.45, 1.45)
        axes.set_ylabel(SHOWN[feature])
        higher = int((own["tumour"] > own["normal"]).sum())
        axes.set_title(
            f"more in tumour: {higher} of {len(own)}\nHolm p = {own['p_holm'].iloc[0]:.2g}", fontsize=7
        )
        axes.grid(axis="y")
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what a dot is and what was tested."""
    first = table[table["feature"] == table["feature"].iloc[0]]
    spots = int(first[["n_tumour", "n_normal"]].to_numpy().sum())
    return prose(f"""
        Nuclei in the patches of tumour and of normal spots, by the {settings.labels} labels: the mean over
        the spots of each patient with both kinds (n = {count(len(first), "patient")},
        {count(spots, "spot")}), joined by a line; bars: means of patients. p: Wilcoxon signed-rank test over
        patients, two-sided, Holm's correction over {table["feature"].nunique()} features. A patch holds
        other cells beside those that its label is about.
    """)


@figure(
    "Nuclei in tumour and normal tissue",
    "tumour",
    predictions="leader",
    nuclei="nuclei",
    when=["tumour_labels"],
)
def nuclei_tissue(inputs: Inputs, settings: Settings) -> Drawing:
    """Read labels and nuclei of all sections and draw their means."""
    parts = [
        nuclei[list(SHOWN)].assign(
            patient=one.spots["patient"].to_numpy(), tumour=one.spots["tumour"].to_numpy(float)
        )
        for one, nuclei in read_nuclei(inputs)
    ]
    spots = pd.concat(parts) if parts else pd.DataFrame(columns=["patient", "tumour", *SHOWN])
    table = require_rows(tidy_tissue(spots), "no patient has tumour and normal spots with nuclei.")
    return plot_tissue(table, settings), table, caption(table, settings)
