"""What the rules give their jobs: sections, seeds, memory, devices, without running anything.

The Snakefile is read as Snakemake reads it, and the functions that its rules ask are asked here.
"""

from __future__ import annotations

import types

import pytest
import yaml
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, OutputSettings, ResourceSettings

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


@pytest.fixture(scope="module")
def asked(project, tmp_path_factory):
    """Names of the Snakefile and of what it includes, after it was read with the settings above."""
    folder = tmp_path_factory.mktemp("seams")
    (folder / "seams.yaml").write_text(yaml.safe_dump(SETTINGS))
    with SnakemakeApi(OutputSettings(verbose=False)) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(configfiles=[folder / "seams.yaml"]),
            snakefile=project / "Snakefile",
            workdir=folder,
        )._workflow
        yield types.SimpleNamespace(**{**workflow.globals, "workflow": workflow})


FOLDS = ["P1", "P2", "P3", "P4"]


def job(fold="P1", method="stnet", **more):
    return types.SimpleNamespace(experiment="seams", fold=fold, method=method, **more)


def sections(files):
    """Sections whose files are named."""
    listed = [file for value in files.values() for file in ([value] if isinstance(value, str) else value)]
    return {file.rpartition("/")[2].partition(".")[0] for file in listed if "/data/" in file}


def methods(asked):
    return list(asked.BENCH.arms("seams"))


@pytest.mark.parametrize("fold", FOLDS)
def test_no_job_before_the_prediction_is_given_a_tested_section(asked, fold):
    tested = set(asked.BENCH.experiments["seams"]["folds"]["made"][fold].test)
    assert tested == {f"{fold}_1", f"{fold}_2"}
    for method in methods(asked):
        wildcards = job(fold, method)
        assert not sections(asked.training_input(wildcards)) & tested
        settings = asked.method_settings(wildcards)
        assert not set(settings["roles"]) & tested
        assert set(settings["roles"].values()) == {"train", "valid"}
    assert not sections(asked.panel_input(job(fold))) & tested
    assert not set(asked.panel_sections(job(fold))) & tested
    training = asked.audit_settings(job(fold))["training"]
    assert not set(training[fold]) & tested


@pytest.mark.parametrize("fold", FOLDS)
def test_the_prediction_is_given_the_tested_sections_and_no_others(asked, fold):
    tested = {f"{fold}_1", f"{fold}_2"}
    for method in methods(asked):
        wildcards = job(fold, method)
        assert sections(asked.prediction_input(wildcards)) == tested
        assert set(asked.prediction_settings(wildcards)["sections"]) == tested
        assert "roles" not in asked.prediction_settings(wildcards)
        weights = asked.prediction_input(wildcards)["weights"]
        assert weights == f"results/seams/models/{method}/{fold}/weights.pt"
    assert sections(asked.ceiling_input(job(fold))) == tested


def test_every_configured_seed_reaches_its_training(asked):
    """The first one, too: seeds [7, 8] are not [0, 1]."""
    trained = {name: seed for name, (arm, seed) in asked.BENCH.arms("seams").items() if arm == "stnet"}
    assert sorted(trained.values()) == [7, 8]
    for name, seed in trained.items():
        assert asked.method_settings(job(method=name))["seed"] == seed
        assert asked.prediction_settings(job(method=name))["seed"] == seed


def test_a_retry_gets_more_memory_and_time(asked):
    for method in methods(asked):
        first, second, third = (asked.method_memory(job(method=method), attempt) for attempt in (1, 2, 3))
        assert (second, third) == (2 * first, 3 * first) and first >= 500
        assert asked.method_runtime(job(method=method), 2) == 2 * asked.method_runtime(job(method=method), 1)
    for rule in asked.workflow.rules:
        memory = rule.resources.get("mem_mb")
        if callable(memory) and rule.name not in ("train_method", "predict_fold"):
            assert memory(job(), attempt=2) == 2 * memory(job(), attempt=1), rule.name


@pytest.mark.parametrize(("device", "wanted"), [("auto", 1), ("cuda", 1), ("cpu", 0)])
def test_a_gpu_is_asked_for_by_networks_only_and_never_for_runs_on_the_cpu(
    asked, monkeypatch, device, wanted
):
    monkeypatch.setitem(asked.BENCH.config, "device", device)
    needs = {name: asked.BENCH.experiments["seams"]["methods"][arm]["needs"] for name, (arm, _) in
             asked.BENCH.arms("seams").items()}  # fmt: skip
    assert {name for name in needs if needs[name]["gpu"]} == {
        name for name in needs if name.startswith("stnet")
    }
    for name in needs:
        assert asked.method_gpu(job(method=name)) == (wanted if needs[name]["gpu"] else 0)


def test_threads_are_those_of_the_methods_file_for_the_scheduler_and_for_the_training(asked):
    for name in methods(asked):
        assert asked.method_settings(job(method=name))["threads"] == asked.method_threads(job(method=name))


def test_an_oracle_is_told_to_the_audit_and_to_the_training(asked):
    audited = asked.audit_settings(job())["methods"]
    assert audited["depth"] == {"family": "oracle", "oracle": True}
    assert {name for name in audited if audited[name]["oracle"]} == {"depth"}
    assert asked.method_settings(job(method="depth"))["needs"]["oracle"] is True
    assert asked.method_settings(job())["needs"]["oracle"] is False


def test_the_ceiling_and_the_folds_use_the_smallest_seed(asked):
    assert asked.ceiling_settings(job())["seed"] == 7
    assert asked.fold_settings(job())["seed"] == 7


def test_tables_are_computed_from_every_method_seed_and_fold(asked):
    files = asked.table_input(job())
    names = methods(asked)
    assert files["metrics"] == [f"results/seams/metrics/{name}" for name in names]
    assert files["spots"] == [f"results/seams/spots/{name}" for name in names]
    assert len(files["runs"]) == len(names) * len(FOLDS) == len(set(files["runs"]))
    assert files["ceilings"] == [f"results/seams/ceiling/{fold}.parquet" for fold in FOLDS]
    assert asked.predicted_folds(job()) == [f"results/seams/predictions/stnet/{fold}" for fold in FOLDS]


def test_a_figure_is_told_of_the_methods_that_it_shows_and_of_no_others(asked):
    def told(figure):
        settings = asked.figure_settings(job(figure=figure))
        assert list(settings["families"]) == list(settings["titles"])
        return set(settings["titles"])

    every = {"train_mean", "depth", "ridge_probe", "stnet"}
    assert told("cohort_overview") == told("qc_dropped") == told("spot_depth") == set()
    assert told("leaderboard") == told("z_maps") == told("run_time") == every
    assert told("learning_curves") == told("attributions") == {"stnet"}
    assert told("section_boxes") == {"ridge_probe", "stnet"}
