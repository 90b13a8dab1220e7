"""The same methods under two protocols of one run, side by side; shared by the figures of protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from histobench.figures.parts import method_marker, method_rows, require_rows, row_bands
from histobench.figures.sources import as_list
from histobench.figures.style import DOUBLE, REFERENCE_COLOUR, method_style, new_figure, styled
from histobench.figures.text import count, scores_note, signed
from histobench.files import read_table

if TYPE_CHECKING:
    import pandas as pd

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
    import pandas as pd

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


@styled
def plot_contrast(table: pd.DataFrame, settings: Mapping[str, Any] | None = None) -> Figure:
    """Draw the own score full and the others hollow, with intervals, and print the largest change."""
    from matplotlib.lines import Line2D

    settings = settings or {}
    methods = list(dict.fromkeys(table["method"]))
    base = str(table["base"].iloc[0])
    others = [name for name in dict.fromkeys(table["experiment"]) if name != base]
    figure = new_figure(DOUBLE, 0.95 + 0.27 * len(methods))
    axes = figure.subplots()
    for row, method in enumerate(methods):
        own = table[table["method"] == method]
        colour = method_style(method, settings).colour
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
        axes.annotate(signed(most, 3), (1.0, row), xycoords=("axes fraction", "data"), xytext=(6, 0),
                      textcoords="offset points", va="center", fontsize=7, annotation_clip=False)  # fmt: skip
    axes.annotate(
        "change",
        (1.0, 1.0),
        xycoords="axes fraction",
        xytext=(6, 3),
        textcoords="offset points",
        fontsize=7,
        weight="bold",
        annotation_clip=False,
    )
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
    figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(handles)))
    return figure


def contrast_caption(
    table: pd.DataFrame, settings: Mapping[str, Any] | None, differ: str, question: str
) -> str:
    """Say what is compared, and what else differs.

    ``differ`` says in what the experiments differ, after "They differ in"; ``settings["also_differs"]``
    holds the rest, by question and experiment.
    """
    others = ", ".join(name for name in dict.fromkeys(table["experiment"]) if name != table["base"].iloc[0])
    patients = (settings or {}).get("n_patients")
    sample = f" (n = {count(int(patients), 'patient')})" if patients else ""
    also = (settings or {}).get("also_differs", {}).get(question, {})
    rest = "".join(_also(str(name), also.get(name)) for name in dict.fromkeys(table["experiment"])
                   if name != table["base"].iloc[0])  # fmt: skip
    return (
        f"Mean r of {count(table['method'].nunique(), 'method')} in this experiment (full) and in {others} "
        f"(hollow or grey), with 95 % bootstrap intervals over patients{sample}; change: the largest. They "
        f"differ in {differ}.{rest} Descriptive; no test." + scores_note(settings)
    )


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


def draw_contrast(inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """Read the leader boards and draw them side by side."""
    table = require_rows(tidy_contrast(read_boards(inputs)), "the experiments share no scored method.")
    return plot_contrast(table, settings), table
