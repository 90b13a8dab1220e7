"""The figure that compares encoders: what it shows follows from its two tables."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from unit import described

from histobench.figures.drawing.style import NothingToDraw
from histobench.figures.per_method import encoders
from histobench.files import write_table

SETTINGS = replace(
    described.settings(n_patients=4, cohort="home"), heads={"knn": "k-NN", "probe": "ridge probe"}
)
KNOWN = pd.DataFrame(
    [
        ("large", "Large", "compared", 600e6, 90.0, "GPU", "CC-BY-NC-ND-4.0", False),
        ("small", "Small", "compared", 3e6, 4.0, "CPU", "Apache-2.0", True),
        ("small_random", "Small", "compared", 3e6, 5.0, "CPU; GPU", "no weights are used", True),
        ("gated", "Gated", "not available here", 300e6, None, "", "CC-BY-NC-ND-4.0", False),
    ],
    columns=[
        *("encoder", "title", "status", "parameters", "seconds_per_1000_spots", "described_on", "licence"),
        "commercial",
    ],
)
VALUES = {"large": 0.30, "small": 0.25, "small_random": 0.10}


def scores(fields: tuple[float | None, ...] = (112.0, 224.0)) -> pd.DataFrame:
    """k-NN prefers the small encoder, the probe the large one; pooled scores turn the probe's order around."""
    rows = []
    for head in ("knn", "probe"):
        for scoring in ("within", "pooled", "centred"):
            for field in fields:
                turned = (head == "knn") != (scoring == "pooled")
                values = {**VALUES, **({"large": 0.25, "small": 0.30} if turned else {})}
                ranks = pd.Series(values).rank(ascending=False)
                rows += [
                    {"method": f"{head}__{name}", "head": head, "encoder": name, "scoring": scoring,
                     "start": "none" if "random" in name else "pretrained", "field_um": field,
                     "value": value, "low": value - 0.05, "high": value + 0.05, "rank": ranks[name], "n_encoders": 3}
                    for name, value in values.items()
                ]  # fmt: skip
    for method, value in (("train_mean", 0.0), ("ceiling", 0.6)):
        rows.append({"method": method, "head": "", "encoder": "", "start": "", "scoring": "within",
                     "value": value, "low": value, "high": value})  # fmt: skip
    return pd.DataFrame(rows)


def drawn(tmp_path, table: pd.DataFrame):
    files = {"encoder_scores": tmp_path / "encoder_scores.tsv", "encoders": tmp_path / "encoders.tsv"}
    write_table(table, files["encoder_scores"])
    write_table(KNOWN, files["encoders"])
    return encoders.encoders({name: str(path) for name, path in files.items()}, SETTINGS)


def words(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_score_size_terms_and_rank_are_those_of_the_tables(tmp_path):
    figure, table, caption = drawn(tmp_path, scores())
    (dots, sizes, costs), ranks = figure.subfigs[0].axes, figure.subfigs[1].axes[0]
    assert [label.get_text() for label in dots.get_yticklabels()] == ["Large", "Small", "Small, random"]
    assert set(table.loc[table["title"] == "Large", "terms"]) == {"restricted"}
    assert set(table.loc[table["title"] == "Small, random", "terms"]) == {"none"}
    # a control and the ceiling are lines with their names
    assert {"ceiling", SETTINGS.title("train_mean")} == set(words(dots))
    # the best head of each encoder, at its size, by its terms
    marked, timed = (
        {
            line.get_marker(): line.get_xydata()[0].tolist()
            for line in axes.lines
            if len(line.get_xdata()) == 1
        }
        for axes in (sizes, costs)
    )
    assert marked == {"s": [600e6, 0.30], "o": [3e6, 0.30], "D": [3e6, 0.10]}
    assert timed == {"s": [90.0, 0.30], "o": [4.0, 0.30], "D": [5.0, 0.10]}
    assert "(CPU; GPU, which differ, so that times compare within one only)" in caption
    # k-NN within, pooled, centred; then the probe
    shown = [text for text in words(ranks) if text in "123"]
    assert shown == list("212121") + list("121212") + list("333333")
    assert "Not available here: Gated" in caption and "Filled dots see 112 µm, hollow ones 224 µm" in caption
    assert "3 encoders with 2 heads" in caption and "no test" in caption


def test_one_field_has_no_hollow_dots_and_no_encoder_is_no_figure(tmp_path):
    figure, _, caption = drawn(tmp_path, scores((None,)))
    dots = figure.subfigs[0].axes[0]
    assert "Filled" not in caption
    assert all(line.get_markerfacecolor() != "white" for line in dots.lines)
    with pytest.raises(NothingToDraw, match="no encoder has been scored"):
        drawn(tmp_path, scores().query("encoder == ''"))
