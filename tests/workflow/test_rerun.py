"""Reruns only what changed, and all that changed: sets of planned jobs are compared."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

pytestmark = pytest.mark.slow

# A change that means something: one more name in the module.
EDITED = ("from __future__ import annotations\n", "from __future__ import annotations\n\nEDITED = 1\n")

# of a method whose file states minutes, and of one that states hours
TRAINING = {"train_quick", "predict_folds", "score_method"}
SLOW_TRAINING = {"train_method", "predict_folds", "score_method"}
AFTERWARDS = {
    "compare_experiments",
    "collect_maps",
    "list_results",
    "tabulate_results",
    "write_report",
    "write_provenance",
    *(
        f"draw_{family}"
        for family in ("across", "curves", "latent", "on_tissue", "per_gene", "per_method", "per_section")
    ),
}


def rules(jobs):
    return {rule for rule, _ in jobs}


def methods(jobs):
    return {
        part.partition("=")[2]
        for _, wildcards in jobs
        for part in wildcards.split(", ")
        if part.startswith("method=")
    }


def test_a_second_run_does_nothing(finished):
    assert finished.jobs() == set()
    assert "Nothing to be done" in finished.snakemake(check=True).stdout


def test_a_methods_module_retrains_that_method_alone(finished):
    module = "workflow/lib/histobench/methods/colour_ridge.py"
    with finished.edit(module, *EDITED):
        jobs = finished.jobs()
    assert methods(jobs) == {"colour_ridge"}
    assert {rule for rule, wildcards in jobs if "method=" in wildcards} == TRAINING
    assert len([job for job in jobs if job[0] == "train_quick"]) == 1
    assert rules(jobs) - TRAINING <= AFTERWARDS
    assert {"tabulate_results", "write_report"} <= rules(jobs)


def test_a_slow_methods_yaml_retrains_every_fold_of_it_alone(finished):
    """Its module is that of colour_ridge, too, which builds on it."""
    with finished.edit("config/methods/ridge_probe.yaml", "alphas: [10.0,", "alphas: [0.25, 10.0,"):
        jobs = finished.jobs()
    assert methods(jobs) == {"ridge_probe"}
    assert {rule for rule, wildcards in jobs if "method=" in wildcards} == SLOW_TRAINING
    assert len([job for job in jobs if job[0] == "train_method"]) == 3


def test_a_methods_yaml_retrains_that_method_alone(finished):
    with finished.edit("config/methods/colour_ridge.yaml", "alphas: [0.1,", "alphas: [0.2,"):
        jobs = finished.jobs()
    assert methods(jobs) == {"colour_ridge"}
    assert {rule for rule, wildcards in jobs if "method=" in wildcards} == TRAINING
    assert rules(jobs) - TRAINING <= AFTERWARDS


def test_a_comment_in_a_methods_yaml_retrains_nothing(finished):
    with finished.edit("config/methods/colour_ridge.yaml", "title:", "# a comment\ntitle:"):
        jobs = finished.jobs()
    assert jobs == set()


def test_the_statistics_module_retrains_nothing(finished):
    module = "workflow/lib/histobench/evaluation/statistics.py"
    with finished.edit(module, *EDITED):
        jobs = finished.jobs()
    assert "tabulate_results" in rules(jobs)
    assert rules(jobs) <= AFTERWARDS


def test_the_metrics_module_scores_again_and_retrains_nothing(finished):
    module = "workflow/lib/histobench/evaluation/metrics.py"
    with finished.edit(module, *EDITED):
        jobs = finished.jobs()
    assert "score_method" in rules(jobs)
    assert not rules(jobs) & {"train_method", "train_quick", "predict_folds", "cut_patches"}


def test_one_family_of_figures_is_drawn_again(finished):
    module = "workflow/lib/histobench/figures/per_method/per_patient.py"
    with finished.edit(module, *EDITED):
        jobs = finished.jobs()
    assert ("draw_per_method", "experiment=tiny") in jobs
    assert rules(jobs) <= {"draw_per_method", "list_results", "write_report"}


def test_comments_docstrings_and_formatting_mean_nothing(finished):
    """In a module that every job runs, in a script, in a method and in a figure."""
    ruled = "# A comment.\nfrom __future__ import annotations\n\n\n"
    library = "workflow/lib/histobench"
    with (
        finished.edit(f"{library}/files.py", "from __future__ import annotations\n", ruled),
        finished.edit(f"{library}/methods/colour_ridge.py", '"""', '"""Said otherwise. '),
        finished.edit(
            f"{library}/figures/per_method/per_patient.py", "from __future__ import annotations\n", ruled
        ),
        finished.edit("workflow/scripts/train_method.py", "from histobench", "# A comment.\nfrom histobench"),
        finished.edit("workflow/rules/training.smk", "rule train_method", "# A comment.\nrule train_method"),
    ):
        assert finished.jobs() == set()


def test_a_script_counts_by_what_it_says(finished):
    script = "workflow/scripts/score_method.py"
    for file in (finished.folder / "workflow/scripts").glob("*.py"):
        os.utime(file)
    assert finished.jobs() == set()
    with finished.edit(script, "with job_log", "EDITED = 1\n\nwith job_log"):
        assert {"score_method"} <= rules(finished.jobs()) <= AFTERWARDS | {"score_method"}


def test_results_in_a_fresh_clone_are_results(finished, fresh):
    """Every file of the clone is newer than the results, and lies elsewhere."""
    clone = fresh("clone")
    for folder in ("results", ".snakemake"):
        subprocess.run(["cp", "-a", str(finished.folder / folder), str(clone.folder / folder)], check=True)
    assert clone.jobs() == set()


def test_where_it_is_computed_and_with_how_many_cores_is_no_reason(finished):
    with finished.edit("tiny.yaml", "device: cpu", "device: auto\nmirrors: {simulated: [elsewhere]}"):
        assert finished.jobs() == set()
    assert finished.planned(finished.snakemake("--dry-run", cores=1, check=True).stdout) == set()


def test_another_version_of_a_package_runs_again_what_computes_with_it(finished, tmp_path):
    """As an upgrade leaves it: the metadata of another version is what Python finds first."""
    installed = tmp_path / "statsmodels-99.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: statsmodels\nVersion: 99.0\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    jobs = finished.jobs(extra={"PYTHONPATH": path})
    assert "tabulate_results" in rules(jobs)
    assert rules(jobs) <= AFTERWARDS


def test_a_list_of_genes_that_is_edited_chooses_again(finished):
    """Its content counts, not only its name."""
    listed = finished.folder / "mine.txt"
    listed.write_text("TUMOUR-01\nTUMOUR-02\nTUMOUR-03\n")
    with finished.edit("tiny.yaml", "panel: {size: 30}", "panel: {rule: file, file: mine.txt, size: 3}"):
        text = finished.snakemake("--dry-run", check=True).stdout
    assert re.search(r"rule select_panel:\n    input: [^\n]*mine.txt", text)


def test_touching_a_readme_does_nothing(finished):
    for name in ("README.md", "config/README.md", "requirements.lock"):
        os.utime(finished.folder / name)
    assert finished.jobs() == set()


def test_another_section_concerns_only_what_depends_on_it(finished):
    """P1 gets a second section: P1's own fold trains on the others only, so it is predicted anew but not trained."""
    with finished.edit("tiny.yaml", "sections: [P1_1,", "sections: [P1_1, P1_2,"):
        text = finished.snakemake("--dry-run", check=True).stdout
        jobs = finished.planned(text)
    trained = {wildcards for rule, wildcards in jobs if rule == "train_method"}
    # all folds of what takes seconds are trained together, so again together
    assert any(rule == "train_quick" for rule, _ in jobs)
    assert trained and not any("fold=P1" in wildcards for wildcards in trained)
    assert {"fold=P2", "fold=P3"} == {part for w in trained for part in w.split(", ") if "fold" in part}
    assert {"colour_ridge", "ridge_probe"} <= methods(job for job in jobs if job[0] == "predict_folds")
    for rule in ("cut_patches", "check_spots"):
        made = re.findall(rf"rule {rule}_of_\w+:\n\s+input: [^\n]*\n\s+output: ([^\n]*)", text)
        assert len(made) == 1 and set(re.findall(r"/(P\d_\d)\.", made[0])) == {"P1_2"}, rule


def test_the_list_of_a_fold_names_no_section_that_it_tests(finished):
    """What trainings read is listed; patches of all sections are in one list, of which they take these."""
    for fold in ("P1", "P2", "P3"):
        text = (finished.folder / f"results/tiny/panels/{fold}.training.tsv").read_text()
        assert set(re.findall(r"^(P\d_\d)\t", text, re.M)) == {"P1_1", "P2_1", "P3_1"} - {f"{fold}_1"}
        for method in ("train_mean", "colour_ridge", "ridge_probe"):
            card = finished.folder / f"results/tiny/models/{method}/{fold}/run.json"
            assert f"{fold}_1" not in card.read_text()


LOST = {
    "cut_patches": "results/data/simulated/patches/*/P2_1.npy",
    "select_panel": "results/tiny/panels/P1.universe.tsv",
}


@pytest.mark.parametrize("rule", LOST)
def test_a_lost_file_that_no_job_names_is_made_again_for_who_needs_it(finished, rule):
    """It lies beside a list or a panel that is there. What read it before is as it was: nobody else runs again."""
    (file,) = finished.folder.glob(LOST[rule])
    aside = file.rename(file.with_name(f"{file.name}.aside"))
    try:
        assert finished.jobs() == set()
        with finished.edit("config/methods/colour_ridge.yaml", "alphas: [0.1,", "alphas: [0.2,"):
            jobs = finished.jobs()
            # a job with another reason concerns all that comes after it
            module = f"workflow/lib/histobench/{'imaging/patches' if rule == 'cut_patches' else 'expression/panels'}.py"
            with finished.edit(module, *EDITED):
                changed = finished.jobs()
    finally:
        aside.rename(file)
    made = {job for job in jobs if job[0] == rule}
    assert len(made) == 1 and rules(jobs) - {rule} <= {*TRAINING, *AFTERWARDS}
    assert methods(jobs) == {"colour_ridge"}
    assert {"colour_ridge", "ridge_probe"} <= methods(changed)


def test_a_new_method_runs_alone(finished):
    with finished.edit("tiny.yaml", "      train_mean:", "      train_mean:\n      section_mean:"):
        jobs = finished.jobs()
    assert methods(jobs) == {"section_mean"}
    assert {rule for rule, wildcards in jobs if "method=" in wildcards} == TRAINING


def test_two_changes_at_once_are_both_seen(finished):
    """The audit, which asks who takes part, runs again; trainings wait for it, and are still judged by themselves."""
    with (
        finished.edit("tiny.yaml", "      train_mean:", "      train_mean:\n      section_mean:"),
        finished.edit("config/methods/colour_ridge.yaml", "alphas: [0.1,", "alphas: [0.2,"),
    ):
        jobs = finished.jobs()
    assert "audit_leakage" in rules(jobs)
    assert methods(jobs) == {"section_mean", "colour_ridge"}


def test_more_epochs_in_the_users_file_count(finished):
    with finished.edit("tiny.yaml", "      colour_ridge:", "      colour_ridge: {params: {alphas: [3.0]}}"):
        jobs = finished.jobs()
    assert methods(jobs) == {"colour_ridge"}
