"""Colours of a pathologist's labels and of clusters, the same in every figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.lines import Line2D

# After Tol (2021), "muted" and "bright", made for colour-blind readers. No figure shows labels and methods by
# colour at once.
_KNOWN = {
    "invasive cancer": "#CC3311",
    "cancer in situ": "#EE9955",
    "connective tissue": "#88BBDD",
    "adipose tissue": "#DDCC77",
    "immune infiltrate": "#332288",
    "breast glands": "#117733",
    "tumour": "#CC3311",
    "normal": "#88BBDD",
}
_FURTHER = ("#44AA99", "#AA4499", "#999933", "#882255", "#0077BB", "#AAAA00", "#EE7733", "#009988")
NO_LABEL_COLOUR = "#dddddd"
CLUSTER_COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#BBBBBB", "#222222")


def label_colours(labels: Iterable[str]) -> dict[str, str]:
    """Return a colour for each label that occurs: fixed for the common ones, by name's order for others."""
    present = set(map(str, labels))
    further = [label for label in sorted(present) if label and label not in _KNOWN]
    colours = {label: colour for label, colour in _KNOWN.items() if label in present}
    colours |= {label: _FURTHER[place % len(_FURTHER)] for place, label in enumerate(further)}
    return {**colours, "": NO_LABEL_COLOUR} if "" in present else colours


def label_handles(colours: Mapping[str, str]) -> list[Any]:
    """Return a legend entry per label."""
    return [
        Line2D([], [], marker="o", ls="none", ms=5, color=colour, label=label or "no label")
        for label, colour in colours.items()
    ]
