"""Stains are normalised by the method, and fitted by whom, the configuration asks for; each in files of its own."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytestmark = pytest.mark.slow

TINY = """\
run: [mine]
device: cpu
cohorts:
  simulated:
    options: {n_patients: 2, sections_per_patient: 1, grid_columns: 6, grid_rows: 6, um_per_px: 4.0}
experiments:
  mine:
    title: Mine
    cohort: simulated
    panel: {size: 10}
    patches: {STAIN, um_per_px: 4.8, width_px: 32}
    weights: none
    methods: {train_mean: , colour_ridge: }
"""
WAYS = {
    "stain: vahadane": ("vahadane", "P1_1.json", "vahadane"),
    "stain: macenko": ("macenko", "macenko/P1_1.json", "macenko"),
    "stain: vahadane, fit: staintools": (
        "vahadane_staintools",
        "vahadane_staintools/P1_1.json",
        "vahadane_staintools",
    ),
    "stain: macenko, stain_reference: P2_1": ("macenko@P2_1", "macenko/P1_1.json", "macenko"),
}


def run(checkout, stain, target, *more):
    (checkout.folder / "stains.yaml").write_text(TINY.replace("STAIN", stain))
    done = checkout.snakemake(target, *more, configfile="stains.yaml")
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def checkout(fresh):
    return fresh("stains")


def test_each_way_has_files_of_its_own_and_other_pixels(checkout):
    data = checkout.folder / "results/data/simulated"
    patches = {}
    for stain, (variant, fit, method) in WAYS.items():
        target = f"results/data/simulated/patches/{variant}-4.8um-32px/P1_1.npy"
        run(checkout, stain, target)
        patches[stain] = np.load(checkout.folder / target)
        assert json.loads((data / "stain" / fit).read_text())["method"] == method
    ways = list(patches)
    for first in ways:
        for second in ways[ways.index(first) + 1 :]:
            assert (patches[first] != patches[second]).any(), (first, second)


@pytest.mark.parametrize("stain", ["stain: macenko", "stain: vahadane, fit: staintools"])
def test_a_whole_experiment_is_planned_on_the_asked_stain(checkout, stain):
    shown = run(checkout, stain, "all", "--dry-run")
    name = WAYS[stain][0]
    assert f"patches/{name}-4.8um-32px/P1_1.npy" in shown
    assert "patches/vahadane-4.8um" not in shown
