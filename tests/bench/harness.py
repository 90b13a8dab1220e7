"""Time two ways to the same result, by turns, and tell the ratio with its spread."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd


@dataclass
class Comparison:
    """One stage of the pipeline against what a user would otherwise take.

    Attributes
    ----------
    stage, against
        What is done, and the other tool.
    ours, theirs
        Do the same work once.
    same
        Says how the results agree, or raises; called once, with both results.
    target
        The ratio that is wanted; None where none is.
    peer, best, peer_target
        The fastest other way that is known, how to do the same work with it, and the ratio that is wanted of it;
        None where it is the one compared with.
    units, unit
        How much work one call is.
    factor
        Where the other way is only done in part: by how much its time is multiplied.
    repeats
        Least number of turns.
    ceiling
        Units per second that the device could do at most, by what was measured of it; None where not known.
    warm
        Whether the other way is also run once before, and its result compared; not where that takes minutes.
    """

    stage: str
    against: str
    ours: Callable[[], object]
    theirs: Callable[[], object]
    same: Callable[[object, object], str]
    target: float | None = None
    peer: str | None = None
    best: Callable[[], object] | None = None
    peer_target: float | None = None
    units: float = 1
    unit: str = "call"
    factor: float = 1.0
    repeats: int = 5
    note: str = ""
    ceiling: float | None = None
    warm: bool = True


@dataclass
class Timed:
    """Seconds of each turn: on the clock, and of all processors."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def run(self, work: Callable[[], object]) -> object:
        before, begin = os.times(), time.perf_counter()
        result = work()
        self.wall.append(time.perf_counter() - begin)
        after = os.times()
        # also of processes that have ended, such as the workers of a loader
        self.cpu.append(sum(after[:4]) - sum(before[:4]))
        return result


def compare(case: Comparison) -> dict[str, object]:
    """Return one row of the table: medians, and the ratio of each turn with its median and range."""
    agreement = case.same(case.ours(), case.theirs() if case.warm else None)  # also warms both up
    ours, theirs, best = Timed(), Timed(), Timed()
    if case.best is not None:
        case.best()
    for _ in range(case.repeats):
        theirs.run(case.theirs)
        if case.best is not None:
            best.run(case.best)
        ours.run(case.ours)
    ratio = case.factor * np.array(theirs.wall) / np.array(ours.wall)
    cpu = case.factor * np.array(theirs.cpu) / np.maximum(ours.cpu, 0.01)
    median, rate = float(np.median(ratio)), case.units / float(np.median(ours.wall))
    return {
        "stage": case.stage,
        "against": case.against,
        "ratio": median,
        "ratio_low": float(ratio.min()),
        "ratio_high": float(ratio.max()),
        "ratio_cpu": float(np.median(cpu)) if min(ours.cpu) >= 0.05 else float("nan"),
        "target": case.target,
        "reached": None if case.target is None else median >= case.target,
        "peer": case.peer,
        "peer_ratio": float(np.median(np.array(best.wall) / np.array(ours.wall))) if best.wall else None,
        "peer_target": case.peer_target,
        "ours_seconds": float(np.median(ours.wall)),
        "theirs_seconds": case.factor * float(np.median(theirs.wall)),
        "unit": case.unit,
        "ours_per_second": rate,
        "of_ceiling": None if case.ceiling is None else rate / case.ceiling,
        "theirs_per_second": case.units / (case.factor * float(np.median(theirs.wall))),
        "repeats": case.repeats,
        "agreement": agreement,
        "note": case.note,
    }


def show(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Print and return the table of all comparisons."""
    table = pd.DataFrame(rows)
    ratios = ["ratio", "ratio_low", "ratio_high", "ratio_cpu"]
    columns = [
        "stage",
        "against",
        *ratios,
        "target",
        "peer",
        "peer_ratio",
        "peer_target",
        "of_ceiling",
        "agreement",
    ]
    print(table[columns].to_string(index=False, float_format=lambda value: f"{value:.3g}"))
    return table


def draw(table: pd.DataFrame, path: str) -> None:
    """Draw every ratio with its range, and the target beside it."""
    import matplotlib.pyplot as plt

    table = table.iloc[::-1].reset_index(drop=True)
    figure, axes = plt.subplots(figsize=(8, 0.55 * len(table) + 1.2), layout="constrained")
    spread = np.abs(table[["ratio_low", "ratio_high"]].to_numpy().T - table["ratio"].to_numpy())
    axes.barh(table.index, table["ratio"], color="#4c78a8", height=0.55)
    axes.errorbar(table["ratio"], table.index, xerr=spread, fmt="none", ecolor="black", capsize=3)
    wanted = table["target"].astype(float)
    axes.scatter(
        wanted, table.index, marker="|", s=260, color="#d62728", linewidths=2, label="goal", zorder=3
    )
    for row, ratio in enumerate(table["ratio"]):
        axes.annotate(f"{ratio:.3g}×", (1.06, row), va="center", color="white", fontsize=9)
    axes.set_yticks(
        table.index, [f"{s}\nagainst {a}" for s, a in zip(table["stage"], table["against"], strict=True)]
    )
    axes.set_xscale("log")
    axes.set_xlim(left=min(1.0, float(table["ratio_low"].min()) / 1.1))
    axes.set_xlabel("times faster, in the same run (median and range)")
    axes.tick_params(axis="y", labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=150)
    plt.close(figure)
