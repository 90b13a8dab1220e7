"""Frozen features are made once: one job per cohort, encoder and field; sets of planned jobs are compared."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.slow

FEATURES = "results/data/simulated/features/resnet50.none.raw-4.8um-32px"
PROBE = "      ridge_probe: {resources: {runtime: 90}}  # a job for every fold\n"
FRAME_CHANGES = {
    "panel": ("panel: {size: 30}", "panel: {size: 25}"),
    "fold": ("    panel: {size: 30}", "    panel: {size: 30}\n    folds: {scheme: k_fold_patients, k: 2}"),
    "head": (PROBE, PROBE + "      knn:\n      random_forest:\n"),
    "penalty": (PROBE, "      ridge_probe: {params: {alphas: [3.0, 30.0]}}\n"),
    "seed": ("    weights: none", "    weights: none\n    seeds: [0, 1]"),
    "transform": ("    weights: none", "    weights: none\n    transform: log1p"),
}


@pytest.fixture(scope="module")
def described(fresh):
    """A checkout in which the sections have been described; one of them was asked for."""
    checkout = fresh("described")
    checkout.snakemake(f"{FEATURES}/P1_1.npy", check=True, timeout=1800)
    return checkout


def extractions(checkout) -> list[str]:
    """Return the features that every job would make in which a run would describe sections."""
    text = checkout.snakemake("--dry-run", check=True).stdout
    assert {"train_method", "train_quick"} & {rule for rule, _ in checkout.planned(text)}
    # each with a list of its sections at the end
    return re.findall(
        r"rule extract_features_of_\w+:\n\s+input: [^\n]*\n\s+output: ([^\n]*), \S+/lists/\S+", text
    )


def test_one_job_describes_all_sections_of_a_cohort(described):
    made = sorted(file.name for file in (described.folder / FEATURES).iterdir() if file.is_file())
    assert made == ["P1_1.npy", "P2_1.npy", "P3_1.npy"]
    assert len(list((described.folder / "results/benchmarks/extract_features").rglob("*.jsonl"))) == 1
    assert extractions(described) == []


@pytest.mark.parametrize("change", FRAME_CHANGES)
def test_no_feature_is_computed_twice(described, change):
    """Features depend on images and encoder: whatever else changes trains again and describes nothing again."""
    with described.edit("tiny.yaml", *FRAME_CHANGES[change]):
        assert extractions(described) == []


def test_what_features_depend_on_describes_again(described):
    with described.edit("tiny.yaml", "width_px: 32", "width_px: 40"):
        assert len(extractions(described)) == 1
    edited = ("from __future__ import annotations\n", "from __future__ import annotations\n\nEDITED = 1\n")
    with described.edit("workflow/lib/histobench/encoders/build.py", *edited):
        assert len(extractions(described)) == 1


def test_a_section_that_comes_later_is_described_alone(described):
    with described.edit("tiny.yaml", "sections: [P1_1,", "sections: [P1_1, P1_2,"):
        assert extractions(described) == [f"{FEATURES}/P1_2.npy"]
    with described.edit("tiny.yaml", "sections: [P1_1, P2_1,", "sections: [P1_1,"):
        assert extractions(described) == []


def test_an_encoder_is_one_job_per_cohort_and_field(described):
    """However many sections, heads and folds: encoders x fields, of those that can be had."""
    heads = PROBE + "      knn:\n"
    lite = "{encoder: efficientnet_lite0, weights: none}, efficientnet_lite0"
    chosen = f"    encoders: [{{encoder: small_cnn, weights: none}}, {lite}, uni]\n    fields: [112, 224]\n"
    with described.edit("tiny.yaml", PROBE, heads + chosen):
        jobs = described.jobs()
    starts = ("efficientnet_lite0.none", "efficientnet_lite0.pretrained", "small_cnn.none")
    assert sorted(told for rule, told in jobs if rule == "extract_features") == [
        f"cohort=simulated, backbone={start}.raw-{scale}um-32px" for start in starts for scale in ("3.5", "7")
    ]
    labels = ("efficientnet_lite0", "efficientnet_lite0_random", "small_cnn_random")
    trained = {told.partition("method=")[2].split(",")[0] for rule, told in jobs if rule.startswith("train_")}
    assert {arm for arm in trained if "__" in arm} == {
        f"{head}__{label}__{field}um"
        for head in ("ridge_probe", "knn")
        for label in labels
        for field in (112, 224)
    }
