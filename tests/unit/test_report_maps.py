"""Maps of the report: what is stored is what was measured and predicted, where it was, and what is missing."""

from __future__ import annotations

import base64
import io
import json
import re
import zlib

import anndata
import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from histobench.figures.drawing.settings import Settings
from histobench.report import charts, maps

PITCH = 100.0


def write(path, values, truth, x, y, genes):
    """Write a prediction file as the pipeline does."""
    obs = pd.DataFrame(
        {"pixel_x": x, "pixel_y": y, "patient": "A", "section": "A1"}, index=[f"s{i}" for i in range(len(x))]
    )
    data = anndata.AnnData(values.astype(np.float32), obs=obs, var=pd.DataFrame(index=genes))
    data.layers["truth"] = truth.astype(np.float32)
    data.uns.update({"um_per_px": 2.0, "patient": "A", "method": path.stem})
    path.parent.mkdir(parents=True, exist_ok=True)
    data.write_h5ad(path)


@pytest.fixture
def section(tmp_path):
    """A section of 5 x 4 spots and three genes under two methods; one truth is constant, one value is absent."""
    rng = np.random.default_rng(0)
    x, y = (1000 + PITCH * axis.ravel() for axis in np.meshgrid(np.arange(5), np.arange(4)))
    truth = rng.gamma(2, 1, (20, 3))
    truth[:, 1] = 1.5
    predicted = {"good": truth + rng.normal(0, 0.3, truth.shape), "flat": np.ones((20, 3))}
    genes = ["GNAS", "CONST", "LOW"]
    for name, values in predicted.items():
        write(tmp_path / f"{name}.h5ad", values, truth, x, y, genes)
    picture = np.full((1600, 2000, 3), 255, np.uint8)
    picture[950:1050, 950:1050] = (40, 40, 200)  # BGR: red tissue below the first spot alone
    cv2.imwrite(str(tmp_path / "A1.png"), picture)
    paths = {name: tmp_path / f"{name}.h5ad" for name in ("good", "flat", "gone")}
    return {"predictions": paths, "image": tmp_path / "A1.png"}, truth, predicted


def collect(section, tmp_path, **options):
    maps.collect_maps({"A1": section}, tmp_path / "maps.json", **options)
    return json.loads((tmp_path / "maps.json").read_text())["sections"]["A1"]


def unpacked(stored):
    """Return (sources, genes, spots) as the page reads it."""
    steps = np.frombuffer(zlib.decompress(base64.b64decode(stored["values"])), np.uint8).astype(float)
    steps = steps.reshape(1 + len(stored["methods"]), len(stored["genes"]), len(stored["x"]))
    low, high = (np.asarray(stored[key])[:, :, None] for key in ("low", "high"))
    return np.where(steps == maps.ABSENT, np.nan, low + (high - low) * steps / maps.LEVELS)


def test_stored_values_are_those_of_the_files_within_half_a_step(section, tmp_path):
    entry, truth, predicted = section
    stored = collect(entry, tmp_path)
    values = unpacked(stored)
    places = [["GNAS", "CONST", "LOW"].index(gene) for gene in stored["genes"]]
    for source, wanted in enumerate([truth, predicted["good"], predicted["flat"]]):
        wanted = wanted[:, places].T
        step = np.ptp(wanted, axis=1, keepdims=True) / maps.LEVELS
        assert (np.abs(values[source] - wanted) <= 0.5 * step + 2e-3).all(), source


def test_r_is_that_of_the_full_values_and_undefined_without_variance(section, tmp_path):
    entry, truth, predicted = section
    stored = collect(entry, tmp_path)
    r = dict(zip(stored["methods"], stored["r"], strict=True))
    gene = stored["genes"].index("LOW")
    assert r["good"][gene] == pytest.approx(stats.pearsonr(truth[:, 2], predicted["good"][:, 2])[0], abs=1e-4)
    assert r["flat"][gene] == 0 and r["good"][stored["genes"].index("CONST")] is None


def test_a_missing_method_and_other_spots_are_reasons(section, tmp_path):
    entry, truth, _ = section
    write(
        tmp_path / "other.h5ad",
        truth[:5],
        truth[:5],
        np.arange(5.0),
        np.arange(5.0),
        ["GNAS", "CONST", "LOW"],
    )
    entry["predictions"]["other"] = tmp_path / "other.h5ad"
    stored = collect(entry, tmp_path)
    assert stored["methods"] == ["good", "flat"]
    assert stored["missing"]["gone"].endswith("gone.h5ad does not exist")
    assert "other spots" in stored["missing"]["other"]


def test_values_that_were_not_measured_stay_absent(section, tmp_path):
    entry, truth, predicted = section
    truth[3, 0] = np.nan
    data = anndata.read_h5ad(entry["predictions"]["good"])
    write(
        entry["predictions"]["good"],
        predicted["good"],
        truth,
        data.obs.pixel_x,
        data.obs.pixel_y,
        data.var_names,
    )
    stored = collect(entry, tmp_path)
    shown = unpacked(stored)[0, stored["genes"].index("GNAS")]
    assert np.isnan(shown[3]) and np.isfinite(np.delete(shown, 3)).all()


def test_spots_lie_on_their_tissue(section, tmp_path):
    stored = collect(section[0], tmp_path)
    assert (stored["width"], stored["height"]) == (560, 467)  # 6 x 5 pitches with the margin of one pitch
    assert stored["diameter"] == pytest.approx(560 / 6, abs=0.1)
    assert stored["um_per_px"] == pytest.approx(2 * 600 / 560, rel=1e-3)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(stored["image"].split(",", 1)[1]))), int)
    assert picture.shape == (467, 560, 3)
    reddest = (picture[..., 0] - picture[..., 2]).clip(0)
    rows, columns = np.nonzero(reddest > 80)
    assert (columns.mean(), rows.mean()) == pytest.approx((stored["x"][0], stored["y"][0]), abs=6)


def test_genes_are_left_out_for_size_and_counted(section, tmp_path):
    stored = collect(section[0], tmp_path, genes=["LOW"], largest=2 * 20 * 3)
    assert stored["genes"] == ["LOW", "GNAS"] and stored["n_left_out"] == 1  # wished, then a marker


def test_a_section_without_any_prediction_is_empty_and_says_why(tmp_path):
    stored = collect({"predictions": {"gone": tmp_path / "gone.h5ad"}}, tmp_path)
    assert stored["genes"] == [] and stored["x"] == [] and "gone" in stored["missing"]


def test_nothing_in_data_can_end_its_script_element():
    text = maps.script_json({"a": "</script><b>\u2028"})
    assert "<" not in text and "\u2028" not in text and json.loads(text) == {"a": "</script><b>\u2028"}


def test_the_drawing_code_is_one_script_that_ends_nowhere_early():
    script = charts.vega_script()
    assert "vegaEmbed" in script and not re.search("</script", script, re.I)


def test_charts_hold_the_numbers_of_the_leader_board():
    board = pd.DataFrame(
        {"method": ["stnet", "knn", "depth"], "family": ["deep", "classical", "oracle"],
         "pearson": [0.3, 0.1, float("nan")], "pearson_low": [0.2, 0.05, float("nan")],
         "pearson_high": [0.4, 0.15, float("nan")], "rmse": [0.5, 0.7, 1.0], "train_seconds": [100.0, 0.0, 1.0]}
    )  # fmt: skip
    (scores,) = charts.leaderboard_charts(
        "x", board, Settings(n_patients=4, titles={"stnet": "ST-Net", "knn": "k-NN"})
    )  # cost needs two measured times
    rows = [row for data in json.loads(scores.spec)["datasets"].values() for row in data if "method" in row]
    assert {(row["method"], row["score"], row["value"]) for row in rows} == {
        ("ST-Net", "r, per section", 0.3), ("k-NN", "r, per section", 0.1),
        ("ST-Net", "RMSE", 0.5), ("k-NN", "RMSE", 0.7),
    }  # fmt: skip
    assert "4 patients" in scores.caption and "null" not in scores.caption and "rect" not in scores.spec
    null = pd.DataFrame(
        {"method": ["shuffled"], "family": ["control"], "pearson": [-0.02], "null_low": [-0.1],
         "null_high": [0.08], "n_permutations": [20]}
    )  # fmt: skip
    (scores,) = charts.leaderboard_charts("x", pd.concat([board, null], ignore_index=True), Settings())
    layers = json.loads(scores.spec)
    bands = [
        data
        for data in layers["datasets"].values()
        if "score" in data[0] and "low" in data[0] and "method" not in data[0]
    ]
    assert bands == [[{"low": -0.1, "high": 0.08, "score": "r, per section"}]]
    assert layers["layer"][0]["mark"]["type"] == "rect"  # behind all else
    assert charts.leaderboard_charts("x", None, Settings()) == []
