"""How long trainings take on a GPU: images by the rates of their networks, for the shipped configurations."""

from __future__ import annotations

import pytest
from snakemake.utils import update_config

from histobench.config.benchmark import Benchmark
from histobench.plan import cost
from histobench.plan.disk import spots
from histobench.plan.model import Plan, make_plan
from histobench.yamlfiles import read_yaml


def planned(project, *files: str) -> tuple[Plan, dict[str, float]]:
    settings: dict = {}
    for file in files:
        update_config(settings, read_yaml(project / "config" / file))
    plan = make_plan(Benchmark(settings, project))
    return plan, {name: spots(plan, name) for name in plan.read}


def test_the_images_of_an_epoch_are_those_that_a_method_runs_through_its_network():
    """ST-Net: 3 of 4 inner folds for each of 4, the last training, and a spot held out once in eight views."""
    stnet = {"selection": "inner_folds", "inner_folds": 4, "selection_views": 8}
    assert cost.passes(stnet, 1200, 0) == pytest.approx(1200 * 4 + 1200 * 8 / 3)
    assert cost.passes({**stnet, "selection_views": 1}, 1200, 0) == pytest.approx(1200 * 4 + 1200 / 3)
    assert cost.passes({**stnet, "selection": "fixed"}, 1200, 0) == 1200
    assert cost.passes({**stnet, "selection": "valid"}, 900, 300) == pytest.approx(900 + 300 * 8 / 3)
    he2gene = {"valid_folds": 10, "spatial": "none"}
    assert cost.passes(he2gene, 1000, 0) == pytest.approx(900 + 100 / 3)
    near = cost.passes({**he2gene, "spatial": "mean"}, 1000, 0)
    assert near == pytest.approx(7.25 * 900 + 100 / 3)
    brstnet = {"valid_folds": 5, "selection": "retrained"}
    assert cost.passes(brstnet, 1000, 0) == pytest.approx(800 + 1000 + 200 / 3)


def test_a_step_takes_what_arithmetic_or_starting_operations_takes():
    rate = cost.Rate(images=4000, operations=1600)
    work = cost.Work("net", "bf16", 224, 32, images=4000 * 3600)
    assert rate.hours(work) == pytest.approx(4000 * 1600 * 8e-6 / 32)  # the host: 2,500 images a second
    large = cost.Work("net", "bf16", 224, 1024, images=4000 * 3600)
    assert rate.hours(large) == pytest.approx(1.0)
    assert rate.hours(cost.Work("net", "tf32", 224, 1024, 4000 * 3600)) == pytest.approx(2.0)
    assert rate.hours(cost.Work("net", "tf32", 448, 1024, 4000 * 3600)) == pytest.approx(8.0)


def test_the_fast_benchmark_trains_at_most_40_hours_in_bfloat16_with_every_method_of_the_full_one(project):
    """All but those of the experiments that it leaves out."""
    full, spots = planned(project, "config.yaml")
    fast, _ = planned(project, "config.yaml", "fast.yaml")
    assert cost.hours(fast, spots) <= 40 < cost.hours(full, spots) / 5
    assert {work.precision for work in cost.trainings(fast, spots)} == {"bf16"}
    left_out = {"hbcis_stnet_windows", "hbcis_stnet_genes", "hbcis_brstnet_folds"}
    assert set(fast.experiments) == {
        name
        for name in full.experiments
        # neither comparisons of encoders nor what changes one respect of a fair experiment
        if name not in left_out and "encoders" not in name and "_lopo_" not in name
    }
    for name, experiment in fast.experiments.items():
        assert set(experiment.arms) == set(full.experiments[name].arms)


def test_genes_apart_are_as_many_networks(project):
    """Ten genes with a network each, and one for all others, beside one network for all of them."""
    plan, spots = planned(project, "config.yaml")
    experiment = plan.experiments["hbcis_stnet_genes"]
    images = {
        run: sum(w.images for w in cost.work_of(experiment, [run], spots["hbcis"])) for run in experiment.runs
    }
    assert images["stnet_apart"] == pytest.approx(11 * images["stnet"]) and images["stnet"] > 1e6


def test_every_network_of_the_full_benchmark_has_a_rate(project):
    plan, spots = planned(project, "config.yaml")
    assert {work.network for work in cost.trainings(plan, spots)} <= set(cost.rates(plan))
