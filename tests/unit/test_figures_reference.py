"""What figures look like: each is drawn from a stored table and compared with a stored picture.

The tables are those behind the figures of a demo run. After a change that is meant to be seen, look at the new
pictures and store them:

    HISTOBENCH_NEW_PICTURES=1 pytest tests/unit/test_figures_reference.py
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import os
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from unit import described

from histobench.figures.catalogue import catalogue
from histobench.figures.drawing.style import RC
from histobench.files import read_table

PICTURES = Path(__file__).parents[1] / "data" / "figures"
NAMES = sorted(path.stem for path in PICTURES.glob("*.tsv"))
DPI = 40


def drawn(name, restyle=lambda figure: None):
    """RGB pixels of a figure, drawn from its stored table."""
    module = importlib.import_module(catalogue()[name].module)
    (plot,) = (getattr(module, each) for each in vars(module) if each.startswith("plot_"))
    with mpl.rc_context(RC):
        figure = plot(read_table(PICTURES / f"{name}.tsv"), described.settings(experiment="demo"))
        restyle(figure)
        figure.set_dpi(DPI)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
        plt.close(figure)
    return pixels


def difference(one, other):
    """Share of pixels that differ by more than a shade that rounding may bring."""
    if one.shape != other.shape:
        return 1.0
    return float((np.abs(one.astype(int) - other).max(axis=2) > 24).mean())


LARGEST = 0.001


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_looks_as_it_did(name):
    pixels, stored = drawn(name), PICTURES / f"{name}.png"
    if os.environ.get("HISTOBENCH_NEW_PICTURES"):
        Image.fromarray(pixels).save(stored, optimize=True)
    expected = np.asarray(Image.open(stored).convert("RGB"))
    assert difference(pixels, expected) <= LARGEST, f"{name} looks otherwise than {stored.name}"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda figure: [line.set_color("#ff00ff") for axes in figure.axes for line in axes.lines],
        lambda figure: figure.axes[0].set_xlim(*(1.3 * v + 0.1 for v in figure.axes[0].get_xlim())),
        lambda figure: figure.axes[0].set_ylabel("another label on this axis"),
        lambda figure: [text.set_visible(False) for text in figure.axes[0].get_yticklabels()],
    ],
    ids=["colours", "limits", "a label", "no names"],
)
def test_a_spoilt_figure_is_seen(spoil):
    expected = np.asarray(Image.open(PICTURES / "leaderboard.png").convert("RGB"))
    assert difference(drawn("leaderboard", spoil), expected) > LARGEST


def crowded(figure) -> list[str]:
    """Headings that leave the figure, and pairs of headings with less than three pixels between them."""
    figure.set_dpi(100)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    groups = [[text for axes in figure.axes for text in (axes.title, axes._left_title)]]
    groups += [axes.get_xticklabels() for axes in figure.axes]
    found = []
    for group in groups:
        shown = [text for text in group if text.get_text().strip() and not text.get_rotation()]
        boxes = [text.get_window_extent(canvas.get_renderer()) for text in shown]
        texts = [text.get_text() for text in shown]
        found += [text for box, text in zip(boxes, texts, strict=True) if box.y1 > figure.bbox.y1 + 1]
        for (one, text), (other, second) in itertools.combinations(zip(boxes, texts, strict=True), 2):
            side_by_side = min(one.y1, other.y1) > max(one.y0, other.y0)
            if side_by_side and min(one.x1, other.x1) - max(one.x0, other.x0) > -3:
                found.append(f"{text} | {second}")
    return found


@pytest.mark.parametrize("name", ["cluster_confusion", "rank_heatmap", "detection"])
def test_headings_keep_apart(name):
    """With the longest title that the demo gives a method."""
    module = importlib.import_module(catalogue()[name].module)
    (plot,) = (getattr(module, each) for each in vars(module) if each.startswith("plot_"))
    settings = described.settings(experiment="demo")
    settings = dataclasses.replace(settings, titles={**settings.titles, "he2gene": "HE2Gene (small network)"})
    with mpl.rc_context(RC):
        figure = plot(read_table(PICTURES / f"{name}.tsv"), settings)
        found = crowded(figure)
        plt.close(figure)
    assert found == []
