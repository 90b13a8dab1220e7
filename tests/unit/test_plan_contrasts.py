"""Experiments are compared where they differ in what is asked, and whatever else differs is said."""

from __future__ import annotations

import itertools

import pytest

from histobench.config.benchmark import Benchmark
from histobench.config.files import merge
from histobench.plan import contrasts
from histobench.yamlfiles import read_yaml

QUESTIONS = ("folds", "start", "stain", "transform", "weights", "window")


@pytest.fixture(scope="module")
def bench(project):
    return Benchmark(read_yaml(project / "config/config.yaml"), project)


def twins(project, **changes):
    """The demo and a second experiment that is the same but for some settings."""
    demo = read_yaml(project / "config/experiments/demo.yaml")
    config = {"run": ["demo", "twin"], "experiments": {"twin": merge(demo, {"title": "Twin", **changes})}}
    return Benchmark(config, project)


def pairs(bench, question):
    return {(name, other) for name in bench.experiments for other in contrasts.others(bench, name, question)}


def test_the_default_run_pairs_only_what_differs_in_nothing_else(bench):
    changed = {"window": ["window"], "transform": ["share"], "stain": ["macenko", "vahadane"]}
    for question, respects in changed.items():
        # her2st_lopo differs from HE2Gene's in sections, panel and quality control, too
        expected = set()
        for fair in ("her2st_lopo", "hbcis_lopo"):
            expected |= set(itertools.permutations([fair, *(f"{fair}_{each}" for each in respects)], 2))
        assert pairs(bench, question) == expected, question
    assert pairs(bench, "weights") == set()
    arms = {"her2st_from_scratch", "her2st_fine_tuned"}
    assert pairs(bench, "start") == {tuple(sorted(arms)), tuple(sorted(arms, reverse=True))}
    for question in QUESTIONS:
        if question != "folds":
            for name, other in pairs(bench, question):
                assert contrasts.differences(bench.experiments[name], bench.experiments[other]) == [question]


def test_folds_are_compared_across_protocols_and_everything_else_is_said(bench):
    assert ("her2st_lopo", "her2st_loso") in pairs(bench, "folds") and (
        "her2st_loso",
        "her2st_lopo",
    ) not in pairs(bench, "folds")
    said = contrasts.contrast(bench, "her2st_fine_tuned", "her2st_loso", "folds")["methods"]["stnet"][
        "also_differs"
    ]
    for words in (
        "panel of genes",
        "quality control",
        "sections",
        "start",
        "target transform",
        "window and scale",
    ):
        assert words in said, said
    told = contrasts.also_differs(bench, "cscc_lopo", "folds")["cscc_loso"]
    assert "panel of genes" in told["protocol"] and "stnet" not in told["methods"]


@pytest.mark.parametrize(
    ("question", "change"),
    [
        ("transform", {"transform": "stnet"}),
        ("stain", {"patches": {"stain": "vahadane"}}),
        ("window", {"patches": {"um_per_px": 4.8, "width_px": 32}}),
        ("folds", {"folds": {"scheme": "leave_one_section_out"}, "mode": "paper"}),
    ],
)
def test_a_twin_that_differs_in_one_thing_answers_one_question(project, question, change):
    bench = twins(project, **change)
    for asked in QUESTIONS:
        expected = ["twin"] if asked == question else []
        assert contrasts.others(bench, "demo", asked) == expected, asked
    said = contrasts.contrast(bench, "demo", "twin", question)
    assert said["base_value"] != said["other_value"] and "{" not in said["base_value"] + said["other_value"]
    assert {own["also_differs"] for own in said["methods"].values()} == {""}
    assert contrasts.also_differs(bench, "demo", question) == {"twin": {"protocol": [], "methods": []}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"qc": "he2gene"}, "quality control"),
        ({"panel": {"size": 60}}, "panel of genes"),
        ({"seeds": [0, 1]}, "seeds"),
        ({"sections": ["P1_1", "P2_1", "P3_1"]}, "sections"),
        ({"folds": {"valid_patients": 1}}, "folds"),
        ({"folds": {"scheme": "k_fold_patients", "k": 3}}, "folds"),
    ],
)
def test_one_more_difference_ends_the_comparison_and_has_a_name(project, change, words):
    bench = twins(project, transform="stnet", **change)
    assert contrasts.others(bench, "demo", "transform") == []
    assert words in contrasts.contrast(bench, "demo", "twin", "transform")["methods"]["stnet"]["also_differs"]


def test_words_maps_and_other_cohorts_are_no_difference(project):
    bench = twins(
        project,
        transform="stnet",
        description="Another.",
        maps={"genes": ["TUMOUR-03"]},
        scatter=["knn", "stnet"],
    )
    assert contrasts.others(bench, "demo", "transform") == ["twin"]


def test_a_key_that_the_schema_gains_counts_as_a_difference_under_its_own_name():
    base = {"patches": None, "folds": {"scheme": "x"}, "sections": ["a"], "methods": {}, "start_from": None}
    assert contrasts.differences({**base, "tissue_mask": 1}, {**base, "tissue_mask": 2}) == ["tissue_mask"]
    assert contrasts.in_words(["tissue_mask"]) == ["tissue mask"]
    assert contrasts.differences({**base, "sections": ["a", "b"]}, {**base, "sections": ["b", "a"]}) == []


def test_a_method_whose_own_settings_differ_is_named(project):
    bench = twins(project, transform="stnet", methods={"knn": {"params": {"k": 7}}})
    assert contrasts.also_differs(bench, "demo", "transform")["twin"]["methods"] == ["knn"]


def test_methods_that_see_the_same_field_have_nothing_to_say_about_the_window(project):
    """hbcis_stnet and hbcis_stnet_windows share ST-Net, which sees 224 px in both."""
    demo = Benchmark({"run": ["hbcis_stnet", "hbcis_stnet_windows"]}, project).experiments
    assert contrasts.differences(*demo.values()) == ["window"]
    assert contrasts.shared(*demo.values(), "window") == []
