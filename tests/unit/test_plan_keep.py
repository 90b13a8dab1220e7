"""Which weights stay under each value of `keep`, and what a run takes on disk."""

from __future__ import annotations

import json

import pytest

from histobench.config.benchmark import Benchmark
from histobench.config.files import read_configuration
from histobench.errors import UserError
from histobench.plan import disk, figures, keep, size
from histobench.plan import model as model_of_plan
from histobench.plan.model import make_plan
from histobench.training.contract import Extent
from histobench.training.entry import stored_bytes
from histobench.yamlfiles import read_yaml

STNET = {"params": {"architecture": "small_cnn", "input_px": None}}
SETTINGS = {
    "run": ["small"],
    "device": "cpu",
    "cohorts": {
        "simulated": {
            "options": {"n_patients": 3, "sections_per_patient": 2, "grid_columns": 9, "grid_rows": 8}
        }
    },
    "experiments": {
        "small": {
            "title": "Small",
            "cohort": "simulated",
            "weights": "none",
            "panel": {"size": 30},
            "patches": {"um_per_px": 4.8, "width_px": 32},
            "methods": {"train_mean": None, "knn": None, "stnet": STNET},
        }
    },
}


def plan(project, **changes):
    return make_plan(Benchmark({**SETTINGS, **changes}, project))


def model(run, fold):
    return f"results/small/models/{run}/{fold}/weights.pt"


def test_each_choice_keeps_what_it_says(project):
    every = {model(run, fold) for run in ("train_mean", "knn", "stnet") for fold in ("P1", "P2", "P3")}
    assert keep.every(plan(project)) == every
    assert keep.kept(plan(project, keep="all")) == every
    # the section of the maps is the first patient's, and figures look into the network that was not trained on it
    assert keep.kept(plan(project, keep="full")) == {model("stnet", "P1")}
    assert keep.kept(plan(project)) == every, (
        "by default nothing goes of a small run, so that a rerun is as exact as it can be"
    )
    assert keep.kept(plan(project, keep="none")) == frozenset()
    with pytest.raises(UserError, match="keep"):
        plan(project, keep="some")


def test_by_default_it_depends_on_the_number_of_trainings(project, monkeypatch):
    """One of nine is too many: three methods on three folds."""
    assert plan(project).keep == plan(project, keep="auto").keep == "all"
    monkeypatch.setattr(model_of_plan, "MANY_TRAININGS", 9)
    assert plan(project).keep == "all"
    monkeypatch.setattr(model_of_plan, "MANY_TRAININGS", 8)
    assert plan(project).keep == "full"
    assert keep.kept(plan(project)) == {model("stnet", "P1")}
    assert "networks" in figures.families(plan(project), "small")
    assert [plan(project, keep=choice).keep for choice in ("all", "none")] == ["all", "none"]


def test_models_on_all_patients_and_those_behind_slides_are_kept(project):
    slide = {"image": "a.svs", "experiment": "small", "method": "knn", "fold": "P2"}
    assert keep.kept(plan(project, keep="full", slides={"mine": slide})) == {
        model("stnet", "P1"),
        model("knn", "P2"),
    }
    started = {**SETTINGS["experiments"]["small"], "start_from": "small", "methods": {"stnet": STNET}}
    both = {"small": SETTINGS["experiments"]["small"], "tuned": started}
    kept = keep.kept(plan(project, keep="full", run=["small", "tuned"], experiments=both))
    assert {model(run, "all") for run in ("train_mean", "knn", "stnet")} < kept


def test_figures_that_read_weights_are_drawn_apart(project):
    """So that all others can be drawn again without them."""
    families = figures.families(plan(project, keep="full"), "small")
    assert families["networks"] == ["attributions"]
    assert "networks" not in figures.families(plan(project), "small")
    reading = {name for name in figures.catalogue() if figures.catalogue()[name].reads_weights}
    assert reading == {"attributions", "autoencoder_tiles"}


def test_bytes_follow_from_shapes_and_numbers_of_parameters(project):
    made = plan(project, keep="full")
    described = made.experiments["small"]
    fold = described.folds["P1"]
    (backbone, dimension), n = (97_680, 128), 72 * len(fold.train)
    stnet = disk.of_model(made, described, described.runs["stnet"], fold)
    assert stnet == pytest.approx(4 * (backbone + (dimension + 1) * 30), rel=0.02)
    assert disk.of_model(made, described, described.runs["knn"], fold) == n * 4 * (2048 + 30)
    assert (
        stored_bytes("histobench.methods.ridge_probe:RidgeProbe", {}, Extent(250, features=2048))[0]
        == 8 * 2049 * 250
    )
    stay, going = disk.weights(made)
    assert stay == {"small/stnet": round(stnet)}
    assert going["small/stnet"] == 2 * round(stnet) and going["small/knn"] == 3 * n * 4 * (2048 + 30)
    found = disk.disk(made, [])
    assert found.temporary == going["small/knn"] + going["small/stnet"] and found.weights == round(stnet)


@pytest.mark.parametrize(
    "method", ["stnet", "histospace", "nmf_composition", "hist2st", "thitogene", "linear_probe"]
)
def test_what_settings_build_is_what_the_method_states(project, method):
    """4 bytes for each of the stated parameters: weights are float32, and no state of an optimiser is with them."""
    settings = plan(project).bench.method(method, "a test")
    stated = settings["parameters"]
    extent = Extent(
        stated["genes"],
        stated.get("auxiliary") or 0,
        px=settings["params"].get("input_px") or 224,
        features=2048,
    )
    built, _ = stored_bytes(settings["entry"], settings["params"], extent)
    decoder = 1.6 if settings["gives"]["autoencoder"] else 0.0  # beside the encoder, for its reconstructions
    assert 1.0 <= built / (4 * stated["count"]) <= 1.02 + decoder


def first_examination(project, choice):
    """The default run of commit 4a05661: its experiments with the methods that they had then, one seed each."""
    had = json.loads((project / "tests/data/plans/first_examination.json").read_text())
    experiments = {}
    for name, methods in had.items():
        settings = read_yaml(project / f"config/experiments/{name}.yaml")
        settings["methods"] = {arm: change for arm, change in settings["methods"].items() if arm in methods}
        for key in ("further_seeds", "about", "scatter"):
            settings.pop(key, None)
        (settings.get("maps") or {}).pop("methods", None)
        if "start_from" in settings:
            settings["start_from"] = f"then_{settings['start_from']}"
        experiments[f"then_{name}"] = settings
    base = read_configuration([project / "config/config.yaml"], project)
    asked = {**base, "run": list(experiments), "experiments": experiments, "keep": choice}
    return make_plan(Benchmark(asked, project))


def test_the_default_run_of_the_first_examination_leaves_60_gb(project):
    """240 GB were estimated then, 190 of them weights; with all of them, what was added to methods since included."""
    before = disk.weights(first_examination(project, "all"))[0].total() / 1e9
    assert 190 < before < 260
    found = size.size(first_examination(project, "auto")).disk
    assert found.left < 60e9 and found.weights < 8e9
    assert found.total < 85e9, "with the weights that wait to be predicted from"


def test_the_full_benchmark_keeps_a_twentieth_of_its_weights(project):
    files = [project / "config/config.yaml"]
    made = make_plan(Benchmark(read_configuration(files, project), project, files))
    stay, going = disk.weights(made)
    assert stay.total() < (stay.total() + going.total()) / 20
    assert len(keep.kept(made)) < len(keep.every(made)) / 20
