"""Reconstruction error of an autoencoder by epoch (Kumar and Chatterjee 2024, HistoSPACE).

Inputs: ``histories`` (history.tsv of every fold of the methods).
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import log_axis, require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import as_list
from histobench.figures.drawing.style import DOUBLE, QUIET_COLOUR, new_figure, panel_title
from histobench.figures.drawing.text import count, prose
from histobench.files import read_table

STAGE = "autoencoder"
PUBLISHED = 0.002


def tidy_reconstruction(histories: Mapping[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """Return method, fold, epoch, split, error from histories keyed by (method, fold)."""
    blocks = []
    for (method, fold), history in histories.items():
        own = history[history["stage"] == STAGE] if "stage" in history else history.head(0)
        for column, split in (("loss", "train"), ("valid_reconstruction", "valid")):
            if column in own and own[column].notna().any():
                blocks.append(
                    pd.DataFrame(
                        {
                            "method": method,
                            "fold": fold,
                            "epoch": own["epoch"],
                            "split": split,
                            "error": own[column].astype(float),
                        }
                    ).dropna()
                )
    if not blocks:
        return pd.DataFrame(columns=["method", "fold", "epoch", "split", "error"])
    return pd.concat(blocks, ignore_index=True)


def plot_reconstruction(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a panel per method, one line per fold and split, and the published error."""
    methods = list(dict.fromkeys(table["method"]))
    figure = new_figure(3.8 if len(methods) == 1 else DOUBLE, 2.8)
    panels = figure.subplots(1, len(methods), sharey=True, squeeze=False)[0]
    for axes, method in zip(panels, methods, strict=True):
        colour = settings.look(method).colour
        own = table[table["method"] == method]
        for (split, _), line in own.groupby(["split", "fold"], sort=True):
            valid = split == "valid"
            axes.plot(
                line["epoch"],
                line["error"],
                color=colour if valid else QUIET_COLOUR,
                lw=1.1 if valid else 0.8,
                ls="-" if valid else (0, (4, 2)),
                marker="o" if len(line) == 1 else "",
                ms=3,
            )
        axes.axhline(PUBLISHED, color="#222222", lw=0.8, ls=":")
        axes.set_yscale("log")
        log_axis(axes.yaxis)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        if len(methods) == 1:
            axes.set_title(settings.title(method), color=colour, loc="left")
        else:
            panel_title(axes, method, settings)
        axes.grid(axis="y")
    panels[0].set_ylabel("mean squared error (pixels 0 to 1)")
    colour = settings.look(methods[0]).colour if len(methods) == 1 else "#222222"
    looks = {
        "train": Line2D([], [], color=QUIET_COLOUR, lw=0.8, ls=(0, (4, 2)), label="training"),
        "valid": Line2D([], [], color=colour, lw=1.1, label="validation"),
    }
    handles = [look for split, look in looks.items() if split in set(table["split"])]
    handles.append(Line2D([], [], color="#222222", lw=0.8, ls=":", label=f"published, {PUBLISHED}"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what a line is, and what the published number is."""
    return prose(f"""
        Reconstruction error of the autoencoder of {settings.listed(table["method"])} by epoch, one line
        per fold (n = {count(table["fold"].nunique(), "fold")}), logarithmic axis. Validation: patients
        or photographs that are held out and choose the epoch. Dotted: the 0.002 that the paper reports
        for its third autoencoder, on other images. Test patients are in neither split. Descriptive; no
        test.
    """)


@figure(
    "Autoencoder: reconstruction error",
    "training",
    inputs={"histories": "{experiment}/models/{autoencoder}/{fold}/history.tsv"},
)
def autoencoder_curves(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the histories and draw the autoencoder's part."""
    histories = {(path.parts[-3], path.parts[-2]): read_table(path) for path in as_list(inputs["histories"])}
    table = require_rows(tidy_reconstruction(histories), "the histories hold no autoencoder.")
    return plot_reconstruction(table, settings), table, caption(table, settings)
