"""The same methods under two protocols of one run, side by side: what each question does to scores.

A question is the one thing in which experiments differ: folds, transform of the targets, stain, window, start
or initial weights of networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import (
    beside,
    beside_head,
    method_marker,
    method_rows,
    require_rows,
    row_bands,
)
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import as_list
from histobench.figures.drawing.style import DOUBLE, REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose, scores_note, signed
from histobench.files import read_table

COLUMNS = ["method", "experiment", "base", "pearson", "pearson_low", "pearson_high", "change"]
_FILLS = ("white", "#dddddd", "#999999")


def read_boards(inputs: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Return leader boards by experiment, the experiment's own first; inputs ``own`` and ``others``."""
    paths = [*as_list(inputs["own"]), *as_list(inputs["others"])]
    return {path.parts[-3]: read_table(path) for path in map(Path, paths)}


def tidy_contrast(boards: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return method, experiment, base, score with interval, change against the first experiment.

    Methods are those that the first experiment shares with at least one other, best first by its score.
    """
    base = next(iter(boards))
    columns = ["method", "pearson", "pearson_low", "pearson_high"]
    table = pd.concat(
        [board[columns].assign(experiment=name, base=base) for name, board in boards.items()],
        ignore_index=True,
    )
    own = table[(table["experiment"] == base) & table["pearson"].notna()].set_index("method")["pearson"]
    shared = set(table.loc[table["experiment"] != base, "method"]) & set(own.index)
    table = table[table["method"].isin(shared) & table["pearson"].notna()]
    table = table.assign(change=table["pearson"] - table["method"].map(own), order=table["method"].map(own))
    place = {name: number for number, name in enumerate(boards)}
    table = table.assign(place=table["experiment"].map(place))
    table = table.sort_values(["order", "method", "place"], ascending=[False, True, True], kind="stable")
    return table[COLUMNS].reset_index(drop=True)


def plot_contrast(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw the own score full and the others hollow, with intervals, and print the largest change."""
    methods = list(dict.fromkeys(table["method"]))
    base = str(table["base"].iloc[0])
    others = [name for name in dict.fromkeys(table["experiment"]) if name != base]
    drawn = new_figure(DOUBLE, 0.95 + 0.27 * len(methods))
    axes = drawn.subplots()
    for row, method in enumerate(methods):
        own = table[table["method"] == method]
        colour = settings.look(method).colour
        axes.plot([own["pearson"].min(), own["pearson"].max()], [row, row], color=colour, lw=0.8, alpha=0.6)
        for name, low, high, score in zip(
            own["experiment"], own["pearson_low"], own["pearson_high"], own["pearson"], strict=True
        ):
            shift = 0.0 if name == base else 0.16 * (1 + others.index(name))
            axes.plot([low, high], [row + shift] * 2, color=colour, lw=1.0, alpha=0.7)
            fill = colour if name == base else _FILLS[others.index(name) % len(_FILLS)]
            method_marker(axes, score, row + shift, method, settings, mfc=fill)
        change = own.loc[own["experiment"] != base, "change"]
        most = float(change.loc[change.abs().idxmax()])
        beside(axes, row, signed(most, 3))
    beside_head(axes, "change")
    method_rows(axes, methods, settings)
    axes.axvline(0, color=REFERENCE_COLOUR, lw=0.7)
    row_bands(axes, len(methods))
    axes.set_xlabel("Pearson r, mean over genes and patients")
    axes.grid(axis="x")
    handles = [Line2D([], [], marker="o", ls="none", color="#444444", label=f"{base} (this experiment)")]
    handles += [
        Line2D([], [], marker="o", ls="none", color="#444444", mfc=_FILLS[place % len(_FILLS)], label=name)
        for place, name in enumerate(others)
    ]
    drawn.legend(handles=handles, loc="outside lower center", ncols=min(3, len(handles)))
    return drawn


def caption(table: pd.DataFrame, settings: Settings, question: str, differ: str) -> str:
    """Say what is compared, in what the experiments ``differ``, and what else differs."""
    others = ", ".join(name for name in dict.fromkeys(table["experiment"]) if name != table["base"].iloc[0])
    patients = settings.n_patients
    sample = f" (n = {count(int(patients), 'patient')})" if patients else ""
    also = settings.also_differs.get(question, {})
    rest = "".join(_also(str(name), also.get(name)) for name in dict.fromkeys(table["experiment"])
                   if name != table["base"].iloc[0])  # fmt: skip
    return prose(f"""
        Mean r of {count(table["method"].nunique(), "method")} in this experiment (full) and in {others}
        (hollow or grey), with 95 % bootstrap intervals over patients{sample}; change: the largest. They
        differ in {differ}.{rest} Descriptive; no test.{scores_note(settings)}
    """)


def _also(name: str, rest: Mapping[str, Sequence[str]] | None) -> str:
    """Say in what else an experiment differs, a sentence after a space; nothing where it is not known."""
    if rest is None:
        return ""
    parts = [", ".join(rest["protocol"])] if rest["protocol"] else []
    if rest["methods"]:
        parts.append(f"the settings of {', '.join(rest['methods'])}")
    return (
        f" {name} also differs in {' and in '.join(parts)}." if parts else f" Nothing else differs in {name}."
    )


def _contrast(inputs: Inputs, settings: Settings, question: str, differ: str) -> Drawing:
    table = require_rows(tidy_contrast(read_boards(inputs)), "the experiments share no scored method.")
    return plot_contrast(table, settings), table, caption(table, settings, question, differ)


@figure("Section-wise against patient-wise folds", "protocols", against="section_wise")
def leakage_inflation(inputs: Inputs, settings: Settings) -> Drawing:
    """Draw how much section-wise folds inflate scores."""
    differ = (
        "the folds: section-wise folds train on other sections of the tested patient, and the difference is "
        "what this leak is worth where nothing else differs"
    )
    return _contrast(inputs, settings, "folds", differ)


@figure("Effect of the target transform", "protocols", against="other_transform")
def transform_ablation(inputs: Inputs, settings: Settings) -> Drawing:
    """Draw what the transform of the targets does to scores."""
    differ = (
        "the transform of the targets; the noise ceiling and the part that depth explains differ with it, so "
        "that scores on two transforms are not on one scale"
    )
    return _contrast(inputs, settings, "transform", differ)


@figure("Effect of stain normalisation", "protocols", against="other_stain")
def stain_ablation(inputs: Inputs, settings: Settings) -> Drawing:
    """Draw what stain normalisation does to scores."""
    return _contrast(inputs, settings, "stain", "the stain normalisation of the patches")


@figure("Effect of window and scale", "protocols", against="other_window")
def window_ablation(inputs: Inputs, settings: Settings) -> Drawing:
    """Draw what the window of a patch does to scores (He et al. 2020)."""
    return _contrast(inputs, settings, "window", "the width or the scale of the patches")


@figure("Effect of fine-tuning", "protocols", against="other_start")
def start_ablation(inputs: Inputs, settings: Settings) -> Drawing:
    """Draw what going on from models of another cohort does (Chen et al. 2024, HE2Gene, Supp. Fig. S8)."""
    return _contrast(inputs, settings, "start", "whether networks go on from models of another cohort")


@figure("Effect of pretraining", "protocols", against="other_weights")
def weights_ablation(inputs: Inputs, settings: Settings) -> Drawing:
    """Draw what pretrained weights do to scores (He et al. 2020)."""
    return _contrast(inputs, settings, "weights", "the initial weights of networks")
