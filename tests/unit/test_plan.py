"""The typed plan: what jobs are given of sections, seeds, memory and devices; asked of the library, without Snakemake."""

from __future__ import annotations

from collections import Counter

import pytest

from histobench import paths
from histobench.config.benchmark import Benchmark
from histobench.plan import data, figures, size, tables, training
from histobench.plan.batches import KEPT, PATCHES
from histobench.plan.model import Variant, among, constraints, make_plan
from histobench.yamlfiles import read_yaml

SETTINGS = {
    "run": ["seams"],
    "device": "auto",
    "cohorts": {
        "simulated": {
            "options": {
                "n_patients": 4, "sections_per_patient": 2, "grid_columns": 9, "grid_rows": 9, "um_per_px": 2.0
            }
        }
    },
    "experiments": {
        "seams": {
            "title": "Seams",
            "cohort": "simulated",
            "folds": {"scheme": "leave_one_patient_out", "valid_patients": 1},
            "panel": {"size": 30},
            "patches": {"um_per_px": 4.8, "width_px": 32},
            "weights": "none",
            "seeds": [7, 8],
            "methods": {
                "train_mean": None,
                "depth": None,
                "ridge_probe": None,
                "stnet": {"params": {"architecture": "small_cnn", "input_px": None}},
            },
        }
    },
}  # fmt: skip


# A second simulated cohort.
OTHER = {
    "title": "Another",
    "origin": "simulation",
    "reader": "histobench.cohorts.simulation.reader:read_section",
    "pitch_um": 200,
    "spot_um": 100,
    "files": {"image": "{section}.jpg", "counts": "{section}_counts.tsv.gz"},
}


@pytest.fixture(scope="module")
def plan(project):
    return make_plan(Benchmark(SETTINGS, project))


@pytest.fixture(scope="module")
def seams(plan):
    return plan.experiments["seams"]


FOLDS = ["P1", "P2", "P3", "P4"]


@pytest.mark.parametrize("fold", FOLDS)
def test_no_job_before_the_prediction_is_given_a_tested_section(plan, seams, fold):
    tested = set(seams.fold(fold).test)
    assert tested == {f"{fold}_1", f"{fold}_2"}
    assert not set(training.training_sections(plan, "seams", fold)) & tested
    for run in seams.runs:
        roles = training.method_settings(plan, "seams", run, fold)["roles"]
        assert not set(roles) & tested
        assert set(roles.values()) == {"train", "valid"}
        # where all folds train in one job, each is handed what it would be handed alone
        together = training.quick_training_settings(plan, "seams", run)
        assert together["folds"][fold] == roles
        alone = training.method_settings(plan, "seams", run, fold)
        assert {**together, "fold": fold, "roles": roles} == {**alone, "folds": together["folds"]}
    assert not set(training.panel_sections(plan, "seams", fold)) & tested
    assert not set(training.audit_settings(plan, "seams")["training"][fold]) & tested


@pytest.mark.parametrize("fold", FOLDS)
def test_the_prediction_is_given_the_tested_sections_and_no_others(plan, seams, fold):
    tested = {f"{fold}_1", f"{fold}_2"}
    for run in seams.runs:
        files = training.prediction_input(plan, "seams", run)
        settings = training.prediction_settings(plan, "seams", run)
        assert list(settings["folds"]) == FOLDS and "roles" not in settings
        assert set(settings["folds"][fold]) == tested
        assert files["weights"] == [f"results/seams/models/{run}/{name}/weights.pt" for name in FOLDS]
    assert set(tables.ceiling_settings(plan, "seams")["folds"][fold]) == tested


def test_every_configured_seed_reaches_its_training(plan, seams):
    """The first one, too: seeds [7, 8] are not [0, 1]."""
    trained = {name: run.seed for name, run in seams.runs.items() if run.arm.name == "stnet"}
    assert sorted(trained.values()) == [7, 8]
    for name, seed in trained.items():
        assert training.method_settings(plan, "seams", name, "P1")["seed"] == seed
        assert training.prediction_settings(plan, "seams", name)["seed"] == seed


@pytest.mark.parametrize(("device", "wanted"), [("auto", 1), ("cuda", 1), ("cpu", 0)])
def test_a_gpu_is_asked_for_by_networks_only_and_never_for_runs_on_the_cpu(project, device, wanted):
    plan = make_plan(Benchmark({**SETTINGS, "device": device}, project))
    runs = plan.experiments["seams"].runs
    assert {name for name, run in runs.items() if run.arm.needs["gpu"]} == {"stnet", "stnet.seed8"}
    for name, run in runs.items():
        asked = training.method_gpu(plan, "seams", name)
        assert asked == (wanted if run.arm.needs["gpu"] else 0)
        assert not (asked and training.is_quick(plan, name))


def test_methods_of_minutes_without_a_gpu_train_all_folds_in_one_job(plan, seams, project):
    """What is quick here and slow elsewhere has a job for every fold, as a rule knows methods by name only."""
    assert training.quick_runs(plan) >= {"train_mean", "depth", "ridge_probe", "train_mean.seed8"}
    assert training.slow_runs(plan) == ["stnet", "stnet.seed8"]
    minutes = training.method_minutes(plan, "seams", "train_mean")
    assert minutes <= training.quick_minutes(plan, "seams", "train_mean") <= len(FOLDS) * minutes
    twice = {**SETTINGS["experiments"]["seams"], "methods": {"train_mean": {"resources": {"runtime": 90}}}}
    both = {**SETTINGS, "run": ["seams", "other"], "experiments": {**SETTINGS["experiments"], "other": twice}}
    plan = make_plan(Benchmark(both, project))
    assert "train_mean" in training.slow_runs(plan) and "depth" in training.quick_runs(plan)


def test_memory_and_time_are_those_of_the_methods_file(plan, seams):
    for name, run in seams.runs.items():
        assert training.method_memory(plan, "seams", name) == run.arm.settings["resources"].get(
            "mem_mb", 4000
        )
        assert training.method_memory(plan, "seams", name) >= 500
        assert training.method_minutes(plan, "seams", name) >= 1


def test_threads_are_those_of_the_methods_file_for_the_scheduler_and_for_the_training(plan, seams):
    for name in seams.runs:
        told = training.method_settings(plan, "seams", name, "P1")["threads"]
        assert told == training.method_threads(plan, "seams", name)


def test_an_oracle_is_told_to_the_audit_and_to_the_training(plan):
    audited = training.audit_settings(plan, "seams")["methods"]
    assert audited["depth"] == {"family": "oracle", "oracle": True}
    assert {name for name in audited if audited[name]["oracle"]} == {"depth"}
    assert training.method_settings(plan, "seams", "depth", "P1")["needs"]["oracle"] is True
    assert training.method_settings(plan, "seams", "stnet", "P1")["needs"]["oracle"] is False


def test_the_audit_knows_whom_networks_saw_in_every_training_before(project):
    """From one cohort by way of another back to the first: its patients were seen at the start."""
    seams = {
        **SETTINGS["experiments"]["seams"],
        "methods": {"stnet": SETTINGS["experiments"]["seams"]["methods"]["stnet"]},
    }
    other = {**project_cohort(project), "options": SETTINGS["cohorts"]["simulated"]["options"]}
    experiments = {
        "seams": seams,
        "second": {**seams, "title": "Second", "cohort": "other", "start_from": "seams"},
        "third": {**seams, "title": "Third", "start_from": "second"},
    }
    cohorts = {**SETTINGS["cohorts"], "other": other}
    config = {**SETTINGS, "run": list(experiments), "cohorts": cohorts, "experiments": experiments}
    plan = make_plan(Benchmark(config, project))

    def seen(name):
        return {(told["cohort"], told["patient"]) for told in training.audit_settings(plan, name)["start"]}

    first = {("simulated", f"P{number}") for number in (1, 2, 3, 4)}
    assert seen("seams") == set() and seen("second") == first
    assert seen("third") == first | {("other", f"P{number}") for number in (1, 2, 3, 4)}


def project_cohort(project):
    """The simulated cohort, as a cohort of another name would be written."""
    return read_yaml(project / "config/cohorts/simulated.yaml")


def test_the_ceiling_and_the_folds_use_the_smallest_seed(plan):
    assert tables.ceiling_settings(plan, "seams")["seed"] == 7
    assert training.fold_settings(plan, "seams")["seed"] == 7


def test_tables_are_computed_from_every_method_seed_and_fold(plan, seams):
    files = tables.table_input(plan, "seams")
    names = list(seams.runs)
    assert len(names) == 8
    assert files["metrics"] == [f"results/seams/metrics/{name}" for name in names]
    assert files["spots"] == [f"results/seams/spots/{name}" for name in names]
    assert len(files["runs"]) == len(names) * len(FOLDS) == len(set(files["runs"]))
    assert files["ceilings"] == [f"results/seams/ceiling/{fold}.parquet" for fold in FOLDS]
    assert tables.predicted_folds(plan, "seams", "stnet") == [
        f"results/seams/predictions/stnet/{fold}" for fold in FOLDS
    ]


def test_a_figure_is_told_of_the_methods_that_it_shows_and_of_no_others(plan):
    def told(figure):
        settings = figures.figure_settings(plan, "seams", figure)
        assert list(settings["families"]) == list(settings["titles"])
        return set(settings["titles"])

    every = {"train_mean", "depth", "ridge_probe", "stnet"}
    assert told("cohort_overview") == told("qc_dropped") == told("spot_depth") == set()
    assert told("leaderboard") == told("z_maps") == told("run_time") == every
    assert told("learning_curves") == told("attributions") == {"stnet"}
    assert told("section_boxes") == {"ridge_probe", "stnet"}


def test_a_branch_takes_its_models_genes_and_scale_from_its_experiment(project):
    settings = {
        **SETTINGS,
        "cohorts": {**SETTINGS["cohorts"], "another": {**OTHER, "options": SETTINGS["cohorts"]["simulated"]["options"]}},
        "experiments": {
            "seams": {
                **SETTINGS["experiments"]["seams"],
                "patches": {"um_per_px": "native", "width_px": 32},
                "external": [{"cohort": "another", "sections": ["P1_1", "P2_1"]}],
            }
        },
    }  # fmt: skip
    plan = make_plan(Benchmark(settings, project))
    branch = plan.branches["seams/external/another"]
    assert branch.trained_by == "seams" and branch.takes_scale and not plan.experiments["seams"].takes_scale
    files = training.prediction_input(plan, branch.name, "stnet")
    assert files["weights"] == ["results/seams/models/stnet/all/weights.pt"]
    assert files["panel"] == ["results/seams/panels/all.tsv"]
    assert files["measured"] == ["results/seams/external/another/panels/all.tsv"]
    assert files["scale"] == "results/seams/scale.json"
    kept, patches = files["lists"]
    (cut,) = (each for each in data.batches_of(plan, PATCHES) if each.cohort == "another")
    (filtered,) = (each for each in data.batches_of(plan, KEPT) if each.cohort == "another")
    assert cut.sections == filtered.sections == ("P1_1", "P2_1")
    assert patches == cut.listed("raw-as.seams-32px") and kept == filtered.listed(branch.qc)
    asked = data.patch_input(plan, branch.patches.variant, cut)
    assert asked["scale"] == "results/seams/scale.json"
    assert asked["h5ads"] == [f"results/data/another/sections/{name}.h5ad" for name in ("P1_1", "P2_1")]
    assert branch.audit == "results/seams/audit/leakage.tsv"
    assert training.compared_cohorts(plan, "seams") == ["simulated", "another"]


@pytest.mark.parametrize(
    "name",
    [
        "raw-native-224px",
        "vahadane-0.5um-64px",
        "macenko_staintools@P1_1@hbcis-as.a-b.c-299px",
        "vahadane@A1-2um-8px",
    ],
)
def test_the_name_of_a_patch_variant_is_taken_apart_as_it_was_put_together(name):
    found = Variant.named(name)
    target = f"@{found.target}" if found.target else ""
    assert f"{found.stain}{target}-{found.scale}-{found.width_px}px" == name
    with pytest.raises(ValueError, match="no patches"):
        Variant.named("raw-native")


def test_wildcards_are_constrained_to_what_there_is(plan):
    allowed = constraints(plan)
    assert allowed["experiment"] == "seams" and allowed["cohort"] == "simulated"
    assert set(allowed["fold"].split("|")) == {*FOLDS, "all"}
    assert among([]) == "none" and among(["a.b", "c"]) == r"a\.b|c"


def test_a_path_is_filled_in_whole():
    assert paths.at(paths.PANEL, experiment="e", fold="f") == "results/e/panels/f.tsv"
    with pytest.raises(KeyError):
        paths.at(paths.PANEL, experiment="e")
    assert paths.each("{a}/{b}/{c}", {"a": ["1", "2"], "b": ["x", "y"]}, c="z") == [
        "1/x/z", "1/y/z", "2/x/z", "2/y/z"
    ]  # fmt: skip


# -- encoders under several heads -----------------------------------------------------------------
HEADS = {
    **SETTINGS,
    "experiments": {
        "seams": {
            **SETTINGS["experiments"]["seams"],
            "encoders": [{"encoder": "small_cnn", "weights": "none"}, {"encoder": "resnet18", "weights": "none"}],
            "fields": [60, 120],
            "methods": {
                "train_mean": None,
                "ridge_probe": None,
                "knn": None,
                "random_forest": {"resources": {"runtime": 500}},  # hours: a job for every fold
                "he2rna": None,
            },
        }
    },
}  # fmt: skip
FEATURES_OF = [f"{name}_random__{field}um" for name in ("small_cnn", "resnet18") for field in (60, 120)]


@pytest.fixture(scope="module")
def heads(project):
    return make_plan(Benchmark(HEADS, project))


def test_heads_of_minutes_share_a_job_by_what_they_see(heads):
    """However many heads, folds and seeds: the features of one encoder and field are read once for each seed."""
    (each,) = training.heads_together(heads, "seams")
    assert each.heads == ("ridge_probe", "knn")
    assert list(each.encoders) == [name + seed for name in FEATURES_OF for seed in ("", ".seed8")]
    shared = {run for name in each.encoders for run in each.runs(name)}
    assert shared == training.head_runs(heads)
    assert shared == {f"{head}__{name}" for head in each.heads for name in each.encoders}
    # every run trains in one kind of job and is predicted in one
    runs = set(heads.experiments["seams"].runs)
    slow, quick = set(training.slow_runs(heads)), training.quick_runs(heads)
    assert {run.partition("__")[0].partition(".")[0] for run in slow} == {"random_forest", "he2rna"}
    assert slow | quick | shared == runs and len(slow) + len(quick) + len(shared) == len(runs)
    alone = training.runs_alone(heads, heads.experiments["seams"])
    assert set(alone) == runs - shared
    numbers = Counter(job.rule for job in size.jobs(heads))
    assert numbers["train_heads"] == numbers["predict_heads"] == 8
    assert numbers["predict_folds"] == len(alone)
    assert size.size(heads).trainings == len(runs) * len(FOLDS)


def test_a_head_is_handed_in_company_what_it_would_be_handed_alone(heads):
    for name in training.heads_together(heads, "seams")[0].encoders:
        runs = training.runs_on(heads, "seams", name)
        files = training.head_training_input(heads, "seams", name)
        told = training.head_training_settings(heads, "seams", name)
        asked = training.head_prediction_settings(heads, "seams", name)
        predicted = training.head_prediction_input(heads, "seams", name)
        weights = iter(predicted.pop("weights"))
        for run, own, seen in zip(runs, told["methods"], asked["methods"], strict=True):
            assert files == training.quick_training_input(heads, "seams", run)
            assert {**own, "folds": told["folds"]} == training.quick_training_settings(heads, "seams", run)
            assert {**seen, "folds": asked["folds"]} == training.prediction_settings(heads, "seams", run)
            alone = training.prediction_input(heads, "seams", run)
            assert alone.pop("weights") == [next(weights) for _ in FOLDS]
            assert alone == predicted
        assert training.head_memory(heads, "seams", name) == max(
            training.method_memory(heads, "seams", run) for run in runs
        )
        minutes = [training.quick_minutes(heads, "seams", run) for run in runs]
        assert training.head_minutes(heads, "seams", name) == sum(minutes)
        modules = {module for run in runs for module in training.method_modules(heads, "seams", run)}
        assert set(training.head_modules(heads, "seams", name)) == modules


def test_a_head_that_takes_hours_on_one_encoder_trains_alone_on_it_everywhere(project):
    """A rule knows runs by name only; the others on that encoder go on sharing."""
    slow = {"methods": {"ridge_probe": {"resources": {"runtime": 500}}}, "encoders": ["efficientnet_lite0"]}
    other = {**HEADS["experiments"]["seams"], **slow, "seeds": [7]}
    both = {
        **HEADS["experiments"],
        "other": other,
        "seams": {**HEADS["experiments"]["seams"], "encoders": ["efficientnet_lite0"]},
    }
    plan = make_plan(Benchmark({**HEADS, "run": ["seams", "other"], "experiments": both}, project))
    alone = {"ridge_probe__efficientnet_lite0__60um", "ridge_probe__efficientnet_lite0__120um"}
    assert alone <= set(training.slow_runs(plan)) and not alone & training.head_runs(plan)
    found = {each.heads: each.encoders for each in training.heads_together(plan, "seams")}
    assert found == {
        ("knn",): ("efficientnet_lite0__60um", "efficientnet_lite0__120um"),
        ("ridge_probe", "knn"): ("efficientnet_lite0__60um.seed8", "efficientnet_lite0__120um.seed8"),
    }
    assert training.heads_together(plan, "other") == []  # which compares that head only
    labels = [each.label for each in training.heads_together(plan, "seams")]
    assert labels == ["", "_2"]
