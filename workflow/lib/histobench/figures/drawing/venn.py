"""Venn diagrams of genes, of the measurement and of methods."""

from __future__ import annotations

from typing import Any

from matplotlib.patches import Circle

from histobench.figures.drawing.settings import Settings

TRUTH = "measured"


def venn(axes: Any, sets: list[tuple[str, set[str]]], settings: Settings) -> None:
    """Draw up to three equal circles with the sizes of all regions; areas mean nothing.

    Each set has the name of a method, or :data:`TRUTH`.
    """
    centres = [(0.0, 0.5), (-0.5, -0.36), (0.5, -0.36)][: len(sets)]
    names = [(0.0, 1.62), (-1.0, -1.5), (1.0, -1.5)]
    for (name, members), (x, y), (across, up) in zip(sets, centres, names, strict=False):
        colour = "#222222" if name == TRUTH else settings.look(name).colour
        axes.add_patch(Circle((x, y), 0.95, fc=colour, alpha=0.16, lw=0))
        axes.add_patch(Circle((x, y), 0.95, fc="none", ec=colour, lw=1.2))
        title = "measurement" if name == TRUTH else settings.title(name)
        axes.text(
            across,
            up,
            f"{title} ({len(members)})",
            color=colour,
            ha="center",
            va="center",
            weight="bold",
            fontsize=7.5,
        )
    for region in range(1, 2 ** len(sets)):
        inside = [place for place in range(len(sets)) if region >> place & 1]
        outside = [place for place in range(len(sets)) if place not in inside]
        genes = set.intersection(*(sets[place][1] for place in inside))
        genes = genes.difference(*(sets[place][1] for place in outside)) if outside else genes
        x = sum(centres[place][0] for place in inside) / len(inside)
        y = sum(centres[place][1] for place in inside) / len(inside)
        push = {1: 1.55, 2: 1.75, 3: 1.0}[len(inside)]
        centre = (0.0, sum(c[1] for c in centres) / len(centres))
        axes.text(x * push, centre[1] + (y - centre[1]) * push, str(len(genes)), ha="center", va="center")
    axes.set(xlim=(-2.0, 2.0), ylim=(-1.75, 1.85), aspect="equal")
    axes.axis("off")
