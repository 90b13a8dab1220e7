"""Small forms of the benchmarks: the fast way gives what the usual tool gives, and is clearly faster.

The goals themselves are for `make bench` on a machine with nothing else to do; here other work may run, so the best of
some turns has to reach a part of them.
"""

from __future__ import annotations

import numpy as np
import pytest
from bench import hours, images, networks, tables
from bench.harness import Comparison, compare, draw, show

pytestmark = pytest.mark.slow

SMALL = {
    "batches": (lambda folder: images.batches(folder, quick=True), 10),
    "counts": (lambda folder: tables.counts(folder, None, quick=True), 2),
    "pearson": (lambda _: tables.pearson(quick=True), 50),
    "bootstrap": (lambda _: tables.spot_resamples(quick=True), 100),
    "ridge": (lambda _: tables.ridge(True, 1), 2),
    "ridge over penalties": (lambda _: tables.ridge(True, 7), 4),
    "patches": (lambda folder: images.patches(folder, None, quick=True), 1),
}


def test_decoding_is_that_of_pillow_and_of_the_best_known_peer(tmp_path):
    row = compare(images.decoding(tmp_path, None, quick=True))
    assert row["agreement"] == "identical" and row["ratio_high"] > 1
    assert row["peer"] == "imagecodecs into a reused array" and 0.3 < row["peer_ratio"] < 3


@pytest.mark.parametrize("name", SMALL)
def test_the_fast_way_gives_the_same_and_is_faster(tmp_path, name):
    make, least = SMALL[name]
    row = compare(make(tmp_path))
    assert row["ratio_high"] > least, row


def test_extraction_costs_at_most_a_tenth_more_than_the_bare_forward(tmp_path):
    """The goal itself, in processor time: other work on the machine changes the clock, and hardly this."""
    row = compare(networks.extraction(tmp_path, True, "cpu"))
    assert row["ratio_cpu"] >= 0.9, row


def test_frozen_features_agree_with_single_precision():
    case = networks.features(True, "cpu")
    assert "cosine" in case.same(case.ours(), case.theirs())


def test_ratios_and_their_drawing(tmp_path):
    import time

    slow = Comparison(
        "waiting", "waiting five times as long", lambda: time.sleep(0.01), lambda: time.sleep(0.05),
        lambda a, b: "nothing", target=3, factor=2, repeats=3,
        peer="waiting twice as long", best=lambda: time.sleep(0.02), peer_target=1,
    )  # fmt: skip
    row = compare(slow)
    assert 4 < row["ratio"] < 12 and row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    assert 1.5 < row["peer_ratio"] < 3 and row["peer_target"] == 1
    assert row["reached"] and row["theirs_seconds"] == pytest.approx(0.1, rel=0.5)
    draw(show([row, {**row, "target": None, "stage": "without a goal"}]), str(tmp_path / "ratios.png"))
    assert np.frombuffer((tmp_path / "ratios.png").read_bytes()[:4], np.uint8)[1:].tobytes() == b"PNG"


def test_hours_follow_from_images_and_rates(project, tmp_path):
    work = hours.configured(project)
    assert set(hours.BRSTNET_HOURS) | {"densenet121", "resnet18", "resnet50"} == set(work["network"])
    assert set(work["precision"]) == {"tf32"}
    rates = dict.fromkeys(zip(work["network"], work["precision"], strict=True), 1000.0)
    table = hours.extrapolated(work, rates, "cuda").set_index("what")
    assert len(table) == 11
    assert table.loc["BrST-Net, vit_b_16, 200 epochs", "hours"] == pytest.approx(27_652 * 200 / 1000 / 3600)
    scaled = (work["images"] * (work["width"] / 224) ** 2).sum()
    assert table.loc["the full benchmark", "hours"] == pytest.approx(scaled / 1000 / 3600)
    # twice as fast, half the time; a network that was not measured is said to be missing
    half = hours.extrapolated(work, dict.fromkeys(rates, 2000.0), "cuda").set_index("what")
    assert half["hours"].to_numpy() == pytest.approx(table["hours"].to_numpy() / 2)
    assert (
        "without densenet121" in hours.extrapolated(work, {("resnet50", "tf32"): 1.0}, "cpu")["note"].iloc[-1]
    )


def test_the_rate_of_the_engine_is_measured(project):
    table = hours.hours(project, "cpu", quick=True)
    assert (table["images_per_second"] > 0).all() and np.isfinite(table["hours"]).all()
