"""What each target transform does to mean, variance and depth of genes (He et al. 2020, Supp. Fig. 1).

Inputs: ``predictions`` (of the leading method, all folds: counts of the panel and depth of every spot).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from histobench.expression.transforms import log_depth, transform_counts
from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import DARK, log_axis, require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import as_list
from histobench.figures.drawing.style import DOUBLE, QUIET_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose, signed
from histobench.files import read_results

COUNTS = "counts"
COLUMNS = ["transform", "gene", "mean_count", "mean", "sd", "r_with_depth", "n_spots"]


def tidy_transforms(
    counts: np.ndarray,
    depth: np.ndarray,
    genes: Sequence[str],
    n_genes: int,
    transforms: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """Return :data:`COLUMNS`: moments of each gene under every transform, counts themselves first.

    Parameters
    ----------
    counts
        (spots, genes), raw.
    depth
        (spots,), counts of a spot over all genes.
    genes
        Names of the columns.
    n_genes
        Genes over which the depth runs.
    transforms
        Name -> definition of each transform (:meth:`histobench.expression.transforms.Transform.of`).
    """
    keep = depth > 0
    counts, depth = counts[keep], depth[keep]
    along = log_depth(depth)
    along = along - along.mean()
    blocks = []
    for name, given in {COUNTS: None, **transforms}.items():
        values = counts if given is None else transform_counts(given, counts, depth, n_genes=n_genes)
        values = np.asarray(values, float)
        sd = values.std(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            r = (along @ (values - values.mean(axis=0))) / (len(values) * along.std() * sd)
        blocks.append(
            pd.DataFrame({
                "transform": name, "gene": list(genes), "mean_count": counts.mean(axis=0),
                "mean": values.mean(axis=0), "sd": sd, "r_with_depth": r, "n_spots": len(values),
            })
        )  # fmt: skip
    return pd.concat(blocks, ignore_index=True)[COLUMNS]


def plot_transforms(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a panel per transform: spread against mean, coloured by what depth explains."""
    names = list(dict.fromkeys(table["transform"]))
    columns = 3
    rows = -(-len(names) // columns)
    figure = new_figure(DOUBLE, 0.6 + 1.85 * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    drawn: Any = None
    for axes, name in zip(grid.flat, names, strict=False):
        own = table[table["transform"] == name]
        drawn = axes.scatter(
            own["mean"], own["sd"], c=own["r_with_depth"], cmap="RdBu_r", vmin=-1, vmax=1, s=9, lw=0.3,
            edgecolors=QUIET_COLOUR,
        )  # fmt: skip
        if name == COUNTS:
            axes.set_xscale("log")
            axes.set_yscale("log")
            log_axis(axes.xaxis)
            log_axis(axes.yaxis)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(4))
        title = "raw counts" if name == COUNTS else settings.transforms[name]["unit"]
        axes.set_title(title, loc="left", pad=12, fontsize=7)
        used = name == settings.transform
        text = f"median r with depth {signed(own['r_with_depth'].median())}" + (
            " (used here)" if used else ""
        )
        axes.text(0, 1.02, text, transform=axes.transAxes, fontsize=6, color=DARK)
        axes.grid()
    for axes in list(grid.flat)[len(names) :]:
        axes.axis("off")
    figure.supxlabel("mean over spots", fontsize=8)
    figure.supylabel("sd over spots", fontsize=8)
    bar = figure.colorbar(drawn, ax=grid, fraction=0.02, pad=0.01, aspect=40)
    bar.set_label("r with ln of the depth")
    bar.outline.set_visible(False)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what is compared."""
    first = table[table["transform"] == COUNTS]
    return prose(f"""
        Mean and standard deviation of {count(len(first), "gene")} of the panel over all tested spots (n =
        {count(int(first["n_spots"].max()), "spot")}), as raw counts and under every target transform; colour:
        correlation with the logarithm of the depth, the counts of a spot over all genes. A transform that
        leaves it high lets depth be predicted in the place of expression. Spots without counts are left out.
        Descriptive; no test.
    """)


@figure("What target transforms do", "cohort", predictions="leader", when=["paper"], settings=["transforms"])
def transform_effect(inputs: Inputs, settings: Settings) -> Drawing:
    """Read counts and depth of all tested spots and draw their moments."""
    counts, depth, genes, n_genes = [], [], None, 0
    for folder in as_list(inputs["predictions"]):
        for path in sorted(folder.glob("*.h5ad")):
            data = read_results(path)
            if not len(data.obs):
                continue
            stored: Any = data.layers["counts"]
            values = np.asarray(stored.toarray() if hasattr(stored, "toarray") else stored, float)
            frame = pd.DataFrame(values, columns=list(data.var_names))
            counts.append(frame)
            # a panel of every fold has genes of its own: those that all have
            genes = list(frame.columns) if genes is None else [gene for gene in genes if gene in frame]
            depth.append(data.obs["total_counts"].to_numpy(float))
            n_genes = max(n_genes, int(data.uns["n_genes_measured"]))
    if not genes:
        table = require_rows(pd.DataFrame(columns=COLUMNS), "no gene is in the panel of every fold.")
    else:
        values = np.concatenate([frame[genes].to_numpy() for frame in counts])
        table = tidy_transforms(values, np.concatenate(depth), genes, n_genes, settings.transforms)
    return plot_transforms(table, settings), table, caption(table, settings)
