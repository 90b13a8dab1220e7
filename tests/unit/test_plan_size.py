"""How much a run is, told before it: `histobench plan`, and one job alone: `histobench debug`."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from histobench import paths
from histobench.cli import command as cli
from histobench.config.benchmark import Benchmark
from histobench.plan import size
from histobench.plan.model import make_plan

SETTINGS = {
    "run": ["small"],
    "device": "auto",
    "cohorts": {"simulated": {"options": {"n_patients": 3, "sections_per_patient": 2, "grid_columns": 9, "grid_rows": 8}}},
    "experiments": {
        "small": {
            "title": "Small", "cohort": "simulated", "weights": "none", "patches": {"um_per_px": 4.8, "width_px": 32},
            "methods": {"train_mean": None, "stnet": {"params": {"architecture": "small_cnn", "input_px": None}}},
        }
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def plan(project):
    return make_plan(Benchmark(SETTINGS, project))


def test_jobs_are_counted_from_the_report_to_the_raw_files(plan):
    numbers = Counter(job.rule for job in size.jobs(plan))
    assert numbers["train_method"] == 3 and numbers["train_quick"] == 1  # all folds of the mean
    assert numbers["predict_folds"] == 2 and size.size(plan).trainings == 6
    assert numbers["score_method"] == 2 and numbers["select_panel"] == 3 and numbers["estimate_ceilings"] == 1
    assert numbers["simulate_section"] == numbers["read_section"] == 6
    assert numbers["cut_patches"] == numbers["check_spots"] == numbers["images"] == 1
    assert numbers["write_report"] == numbers["list_results"] == numbers["tabulate_results"] == 1
    alone = Counter(job.rule for job in size.jobs(plan, paths.at(paths.FOLDS, experiment="small")))
    assert alone == {"make_folds": 1}


def test_hours_disk_and_the_longest_job_follow_from_methods_and_sections(plan):
    found = size.size(plan)
    stnet = plan.experiments["small"].arms["stnet"]
    assert found.gpu_jobs == 4 and found.gpu_hours == 4 * stnet.minutes / 60
    assert found.longest[0] == stnet.minutes / 60 and found.longest[1].startswith("ST-Net on fold P")
    assert found.disk.patches == 6 * 72 * 3 * 32**2 and found.disk.downloads == found.n_files == 0


def test_the_command_says_it_in_ten_lines(tmp_path, capsys):
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump({**SETTINGS, "device": "cpu"}))
    assert cli.main(["plan", "--configfile", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    demo = str(Path(__file__).parents[2] / "config/demo.yaml")
    assert cli.main(["plan", "--configfile", demo, "--configfile", str(file)]) == 0
    assert capsys.readouterr().out.splitlines() == lines, "each counts, and the last most"
    assert len(lines) == 10 and "no job asks for one" in lines[5]
    assert re.search(r"^Jobs: +\d+: ", lines[4]) and "1 experiment on 1 cohort" in lines[0]


@pytest.mark.slow
def test_one_job_runs_alone_in_this_process(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(yaml.safe_dump({**SETTINGS, "device": "cpu"}))
    given = ["--configfile", "small.yaml"]
    assert cli.main(["debug", "make_folds", "experiment=small", *given]) == 0
    assert Path(paths.at(paths.FOLDS, experiment="small")).is_file()
    assert not Path("results/logs").exists(), "its words are on the terminal"
    assert cli.main(["debug", "train_method", "experiment=small", "method=stnet", "fold=P1", *given]) == 1
    told = capsys.readouterr().err
    assert re.search(
        r"train_method: input (\S+) is missing \(4 in all\); make it first: `snakemake --cores 1 \1`", told
    )
    for asked, says in {
        ("make_fold", "experiment=small"): "there is no rule `make_fold`; did you mean `make_folds`?",
        (
            "train_method",
            "experiment=small",
            "method=stnet",
            "fold=Z",
        ): "no job has the wildcards experiment=small",
        ("make_folds", "experiment=small", "experiment=other"): "experiment is given as small and as other",
    }.items():
        assert cli.main(["debug", *asked, *given]) == 1
        assert says in capsys.readouterr().err
    assert cli.main(["debug", "make_folds", "small", *given]) == 1
    assert "small is no wildcard; write NAME=VALUE" in capsys.readouterr().err
