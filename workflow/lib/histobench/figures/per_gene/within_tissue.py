"""Variation within tumour and within normal tissue, and its prediction (He et al. 2020, Supp. Figs. 4, 5).

Inputs: ``consistency`` (consistency.tsv: correlations of genes over all, tumour and normal spots),
``metrics`` (metric folder of the leading method: spread of genes over all, tumour and normal spots).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import label_points, require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import read_metrics
from histobench.figures.drawing.style import DOUBLE, QUIET_COLOUR, REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose, scores_note, signed
from histobench.files import read_table

KINDS = ("tumour", "normal")
NAMED = 5
LEVEL = 0.05
COLUMNS = [
    "method", "spots", "gene", "rank", "n_patients", "n_positive", "median_pearson", "p_binomial", "p_holm",
    "variance_share",
]  # fmt: skip


def tidy_within(consistency: pd.DataFrame, spread: pd.DataFrame, method: str) -> pd.DataFrame:
    """Return :data:`COLUMNS` of one method, a row per kind of spots and gene, the most consistent gene first.

    ``variance_share`` is the variance of the measured gene over the spots of a kind divided by that over all
    spots of the section, averaged over sections, then patients: what is left within a kind of tissue.
    """
    own = consistency[(consistency["method"] == method) & consistency["spots"].isin(KINDS)]
    own = own[own["n_patients"] > 0]
    sections = spread[spread["section"] != "*"]
    wide = sections.pivot_table(index=["patient", "section", "gene"], columns="metric", values="value")
    blocks = []
    for kind in KINDS:
        rows = own[own["spots"] == kind].sort_values(
            ["n_positive", "median_pearson", "gene"], ascending=[False, False, True], kind="stable"
        )
        share = pd.Series(dtype=float)
        if {"sd_truth", f"sd_truth@{kind}"} <= set(wide.columns):
            ratio = (wide[f"sd_truth@{kind}"] / wide["sd_truth"].replace(0, np.nan)) ** 2
            share = ratio.groupby(["patient", "gene"]).mean().groupby("gene").mean()
        blocks.append(
            rows.assign(rank=np.arange(1, len(rows) + 1), variance_share=rows["gene"].map(share))[COLUMNS]
        )
    return pd.concat(blocks, ignore_index=True)


def plot_within(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw r against the variance left within each kind, and the most consistent genes of tumours."""
    kinds = [kind for kind in KINDS if kind in set(table["spots"])]
    figure = new_figure(DOUBLE, 2.9)
    panels = figure.subplots(1, len(kinds) + 1, squeeze=False)[0]
    style = settings.look(str(table["method"].iloc[0]))
    for axes, kind in zip(panels, kinds, strict=False):
        own = table[table["spots"] == kind].dropna(subset=["variance_share", "median_pearson"])
        found = own["p_holm"] <= LEVEL
        for chosen, face in ((~found, "white"), (found, style.colour)):
            axes.plot(
                own.loc[chosen, "variance_share"], own.loc[chosen, "median_pearson"], "o", ms=3.2, mfc=face,
                mec=style.colour, mew=0.6, alpha=0.8,
            )  # fmt: skip
        axes.axhline(0, color=QUIET_COLOUR, lw=0.6)
        axes.axvline(1, color=REFERENCE_COLOUR, lw=0.8, ls=(0, (4, 2)))
        axes.set_title(f"within {kind} tissue", loc="left", pad=3)
        axes.set_xlabel("variance within / over all spots")
        axes.grid(axis="y")
    panels[0].set_ylabel("median r within the tissue")
    axes, first = panels[-1], table[table["spots"] == kinds[0]].head(NAMED)
    axes.barh(range(len(first)), first["median_pearson"], color=style.colour, alpha=0.6, height=0.7)
    low = min(0.0, float(first["median_pearson"].min()))
    high = max(float(first["median_pearson"].max()), 0.05)
    for row, (r, n, of) in enumerate(
        zip(first["median_pearson"], first["n_positive"], first["n_patients"], strict=True)
    ):
        axes.annotate(
            f"{n} of {of}", (max(r, 0.0), row), xytext=(3, 0), textcoords="offset points", va="center",
            fontsize=6.5,
        )  # fmt: skip
    axes.set_yticks(range(len(first)), first["gene"], style="italic")
    axes.set_ylim(len(first) - 0.4, -0.6)
    axes.set_xlim(1.1 * low, 1.5 * high)
    axes.set_title(f"first within {kinds[0]}", loc="left", pad=3)
    axes.set_xlabel("median r")
    figure.draw_without_rendering()
    for axes, kind in zip(panels, kinds, strict=False):
        own = table[table["spots"] == kind].dropna(subset=["variance_share", "median_pearson"])
        names = zip(own["variance_share"], own["median_pearson"], own["gene"], strict=True)
        labels = [(x, y, gene, "#222222") for x, y, gene in list(names)[:NAMED]]
        points = own[["variance_share", "median_pearson"]].to_numpy(float)
        label_points(axes, labels, size=5.5, obstacles=points)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what varies within what, and which genes are named."""
    method = settings.title(str(table["method"].iloc[0]))
    parts = []
    for kind, own in table.groupby("spots", sort=False):
        rest = own["variance_share"].median()
        found = int((own["p_holm"] <= LEVEL).sum())
        parts.append(
            f"{kind} (n = {count(int(own['n_patients'].max()), 'patient')}): {found} of "
            f"{count(len(own), 'gene')} consistent, median share of variance {signed(rest)}"
        )
    first = table.drop_duplicates("spots")["spots"].iloc[0]
    names = list(table.loc[table["spots"] == first, "gene"].head(NAMED))
    return prose(f"""
        Correlation of {method} over the spots of one kind of tissue alone, so that telling tumour from normal
        earns nothing, against the measured variance that is left within the kind (dashed: as much as over all
        spots). Filled: consistent over patients, one-sided binomial test, Holm's correction over genes, 5 %.
        {"; ".join(parts)}. Right: the five genes positive in most patients within {first} spots, by their
        median r ({", ".join(names)}), with the patients in which r is above 0.{scores_note(settings)}
    """)


@figure(
    "Variation within tumour and within normal tissue",
    "tumour",
    tables=["consistency"],
    metrics="leader",
    when=["tumour_labels", "paper"],
    settings=["leader"],
)
def within_tissue(inputs: Inputs, settings: Settings) -> Drawing:
    """Read consistency and spread and draw them."""
    spread = read_metrics(inputs["metrics"], ["sd_truth", *(f"sd_truth@{kind}" for kind in KINDS)])
    table = tidy_within(read_table(inputs["consistency"]), spread, settings.leader)
    table = require_rows(table, "no patient has enough tumour or normal spots for a correlation.")
    return plot_within(table, settings), table, caption(table, settings)
