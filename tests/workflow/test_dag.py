"""The whole graph is known before the first job, quickly and without network."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from histobench.cohorts.fetch.lock import load_lock
from histobench.config.benchmark import Benchmark
from histobench.config.files import merge
from histobench.figures.catalogue import catalogue
from histobench.plan import figures, size, training
from histobench.plan.model import make_plan
from histobench.yamlfiles import read_yaml

# Cohorts that the full benchmark does not run, and why.
NOT_RUN = {
    "simulated": "the demo's",
    "her2st_zenodo": "the measurements of her2st from another deposit; config/experiments/her2st_zenodo.yaml runs them",
    "tcga_brca": "slides without spots, of which the list is built by the user: resources/tcga_brca_manifest.tsv is empty",
}
# Figures of an experiment beside others of its run, of variants beside each other, of a paper's protocol, or of slides.
PROTOCOLS = {
    "ablation_bars",
    "leakage_inflation",
    "published_numbers",
    "slide_maps",
    "stain_ablation",
    "start_ablation",
    "transfer_matrix",
    "transform_ablation",
    "weights_ablation",
    "window_ablation",
}
# A process that touches the network ends at once.
NO_NETWORK = """
import socket
def refuse(*_):
    raise SystemExit("a dry run must not touch the network")
socket.socket.connect = socket.socket.connect_ex = refuse
"""


def full(project) -> Benchmark:
    return Benchmark(read_yaml(project / "config/config.yaml"), project)


def names(folder: Path) -> set[str]:
    return {file.stem for file in folder.glob("*.yaml")}


def test_every_cohort_experiment_and_method_takes_part(project):
    bench = full(project)
    assert set(bench.cohorts) == names(project / "config/cohorts") - set(NOT_RUN)
    assert set(bench.experiments) == names(project / "config/experiments") - {
        *("demo", "demo_methods", "demo_tumour"),  # on the simulated cohort
        "her2st_zenodo",
    }
    compared = {
        method["entry"]
        for experiment in bench.experiments.values()
        for method in experiment["methods"].values()
    }
    entries = {file.stem: read_yaml(file)["entry"] for file in (project / "config/methods").glob("*.yaml")}
    assert {name for name, entry in entries.items() if entry not in compared} == set()
    # a cohort that is trained on stands in the fair protocol, with every control that its labels allow
    fair = {
        e["cohort"]: e
        for e in bench.experiments.values()
        if e["mode"] == "harmonised" and e["patches"] and not e["encoders"]
    }
    assert set(fair) == {"her2st", "hbcis", "cscc", "dlpfc"}
    controls = {
        "random",
        "train_mean",
        "section_mean",
        "neighbour_mean",
        "depth",
        "colour_ridge",
        "shuffled_image",
    }
    detection = {"tumour_prevalence", "tumour_colour", "tumour_shuffled"}
    for name, experiment in bench.experiments.items():
        if experiment["patches"]:
            needed = detection if name.endswith("_tumour") else controls
            assert needed <= set(experiment["methods"]), experiment["title"]


def test_published_protocols(project):
    """What the papers state about their folds and targets, as far as a configuration says it."""
    experiments = full(project).experiments
    stnet, brstnet, he2gene = (experiments[f"hbcis_{name}"] for name in ("stnet", "brstnet", "he2gene"))
    assert (len(stnet["folds"]["made"]), stnet["transform"], stnet["panel"]["scope"]) == (23, "stnet", "all")
    (fold,) = brstnet["folds"]["made"].values()
    assert len(fold.test) == 3 and len(fold.train) == 65 and all(s.startswith("BC23903") for s in fold.test)
    released = experiments["hbcis_brstnet_released"]
    (fold,) = released["folds"]["made"].values()
    assert {section.split("_")[0] for section in fold.test} == {"BC23450", "BC23903"}
    assert released["patches"] == {**brstnet["patches"], "width_px": 299}
    params = released["methods"]["brstnet_released"]["params"]
    script = {
        "backbone": "efficientnet_b4",
        "epochs": 50,
        "auxiliary_weight": 1,
        "selection": "retrained",
        "valid_folds": 5,
    }
    assert script.items() <= params.items()
    networks = [name for name in brstnet["methods"] if name.removeprefix("brstnet_").removesuffix("_aux") in
                {"b0", "b1", "b2", "b3", "b4", "b5", "resnet101", "inception_v3", "vit_b_16", "vit_b_32"}]  # fmt: skip
    assert len(networks) == 20
    histogene = experiments["her2st_histogene"]
    assert len(histogene["folds"]["made"]) == 32
    assert set(experiments["her2st_loso"]["sections"]) == set(histogene["sections"])
    assert (histogene["transform"], histogene["patches"]["width_px"]) == ("log10_cp10k_panel", 112)
    networks = {m["entry"].rpartition(":")[2] for m in histogene["methods"].values() if m["family"] == "deep"}
    assert networks == {"HisToGene", "Hist2ST", "THItoGene"}
    (fold,) = he2gene["folds"]["made"].values()
    subtypes = full(project).cohorts["hbcis"]["sections"]
    assert (
        len({subtypes[s]["subtype"] for s in fold.test})
        == len({subtypes[s]["patient"] for s in fold.test})
        == 5
    )
    assert len({subtypes[s]["patient"] for s in fold.train}) == 18
    # HER2+ E to H are patients of HBCIS, and never an external test of it
    for experiment in experiments.values():
        if experiment["cohort"] == "hbcis":
            for other in experiment["external"]:
                assert not {section[0] for section in other["sections"]} & set("EFGH")


def plan(fresh, project, name):
    """Plan a configuration without network; jobs by rule, and seconds of computing time."""
    checkout = fresh(f"dag_{name}")
    (checkout.folder / "quiet").mkdir()
    (checkout.folder / "quiet/sitecustomize.py").write_text(NO_NETWORK)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    jobs = checkout.jobs(
        configfile=f"config/{name}.yaml", extra={"PYTHONPATH": str(checkout.folder / "quiet")}
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert not (checkout.folder / "results").exists()
    return jobs, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize(
    "name",
    [
        "demo",
        "demo_protocols",
        "demo_encoders",
        "her2st_mini",
        pytest.param("config", marks=[pytest.mark.slow, pytest.mark.alone]),
    ],
)
def test_a_dry_run_of_each_configuration_plans_every_training(fresh, project, name):
    config = merge(read_yaml(project / "config/config.yaml"), read_yaml(project / f"config/{name}.yaml"))
    bench = Benchmark(config, project)
    jobs, seconds = plan(fresh, project, name)
    numbers = Counter(rule for rule, _ in jobs)
    trainings = sum(
        len(bench.arms(experiment))
        * (len(settings["folds"]["made"]) + (settings["folds"]["full"] is not None))
        for experiment, settings in bench.experiments.items()
    )
    tested = [name for name, each in (bench.experiments | bench.branches).items() if each["folds"]["made"]]
    planned = make_plan(bench)
    together = {
        name: training.quick_runs(planned) & set(each.runs) for name, each in planned.experiments.items()
    }
    # heads on the same features are one job, of every fold and of as many methods
    shared = {
        name: {
            encoder: each.runs(encoder)
            for each in training.heads_together(planned, name)
            for encoder in each.encoders
        }
        for name in planned.tested
    }
    together |= {
        name: together[name] | {run for runs in shared[name].values() for run in runs} for name in together
    }
    quick = sum(len(runs) * len(planned.experiments[name].every_fold) for name, runs in together.items())
    assert numbers["train_method"] + quick == trainings
    heads = {name: sum(map(len, encoders.values())) for name, encoders in shared.items()}
    assert numbers["train_heads"] == sum(len(shared[name]) for name in planned.experiments)
    assert numbers["train_quick"] == sum(len(runs) - heads[name] for name, runs in together.items()) > 0
    assert size.size(planned).trainings == trainings
    # what `histobench plan` follows from the report is what Snakemake plans
    assert Counter(job.rule for job in size.jobs(planned)) == numbers
    assert numbers["score_method"] == sum(len(bench.arms(name)) for name in tested)
    assert numbers["predict_folds"] == numbers["score_method"] - sum(heads.values())
    assert numbers["predict_heads"] == sum(map(len, shared.values()))
    assert numbers["tabulate_results"] == len(tested)
    papers = [e for e in (bench.experiments | bench.branches).values() if e["mode"] == "paper"]
    assert numbers["compare_published"] == sum(bool(e["folds"]["made"]) for e in papers)
    assert numbers["write_report"] == numbers["compare_experiments"] == 1
    drawn = {
        figure
        for rule, about in jobs
        if rule.startswith("draw_")
        for figure in figures.families(planned, about.removeprefix("experiment="))[rule.removeprefix("draw_")]
    }
    if name == "demo":  # which repeats no paper's protocol
        of_papers = {
            figure for figure, entry in catalogue().items() if {"paper", "nuclei"} & {*entry.placeholders}
        }
        assert set(catalogue()) - drawn <= PROTOCOLS | of_papers | {"encoders"}
    if name == "demo_protocols":  # all but those that need slides, a second cohort or pretrained weights
        assert drawn & PROTOCOLS == PROTOCOLS - {
            "slide_maps",
            "start_ablation",
            "transfer_matrix",
            "weights_ablation",
        }
    # of computing time, which does not depend on what else the machine does
    assert seconds < 60, f"{len(jobs)} jobs in {seconds:.0f} s"
    if name == "config":
        assert len(jobs) > 3000
        for cohort, settings in bench.cohorts.items():
            rule = "cut_photos" if settings["origin"] == "photos" else "read_section"
            assert any(made == rule and f"cohort={cohort}" in about for made, about in jobs), cohort


PROFILE = ("--workflow-profile", "workflow/profiles/slurm")


def groups(text: str) -> dict[str, Counter]:
    """Groups that a dry run has printed: how many jobs of which rule are in all groups of a name."""
    found: dict[str, Counter] = {}
    for name, body in re.findall(r"Group job (\w+) .*\n((?:(?:[ \t].*)?\n)*)", text):
        rules = re.findall(r"^\s+(?:local)?rule (\w+):", body, re.M)
        found.setdefault(name, Counter()).update(rule.partition("_of_")[0] for rule in rules)
    return found


@pytest.mark.slow
def test_on_a_cluster_short_jobs_share_submissions_also_where_models_meet_other_cohorts(fresh):
    """A branch looks at other cohorts at the scale of the training, and takes its panel through the audit."""
    checkout = fresh("groups")
    (checkout.folder / "one.yaml").write_text("run: [hbcis_he2gene]\ndevice: cpu\n")
    text = checkout.snakemake(*PROFILE, "--dry-run", configfile="one.yaml", check=True).stdout
    shared = groups(text)
    preparation = {"check_spots", "images", "cut_patches"}
    assert {name: set(rules) for name, rules in shared.items()} == {
        "sections": {"read_section"},
        "cohorts": preparation,
        "folds": {"select_panel"},
        "quick": {"train_quick", "predict_folds", "score_method"},
        "scores": {"score_method"},
        "figures": {rule for rule, _ in checkout.planned(text) if rule.startswith("draw_")},
    }
    # the rules that are grouped are the short ones, and all of these
    jobs = Counter(rule for rule, _ in checkout.planned(text))
    inside = sum(shared.values(), Counter())
    for rule in preparation | {
        "read_section",
        "select_panel",
        "score_method",
        "draw_per_gene",
        "train_quick",
    }:
        assert inside[rule] == jobs[rule], rule
    assert not inside["extract_features"] and not inside["train_method"] and jobs["train_method"]
    # without a cluster nothing is grouped, and the jobs are the same
    alone = checkout.snakemake("--dry-run", configfile="one.yaml", check=True).stdout
    assert groups(alone) == {} and checkout.planned(alone) == checkout.planned(text)


def test_a_group_that_waits_for_itself_is_refused(fresh):
    wrong = ("--groups", "read_section=one", "score_method=one", "--group-components", "one=100")
    done = fresh("circle").snakemake("--dry-run", *wrong)
    assert done.returncode != 0 and "Group one depends on itself" in done.stdout


@pytest.mark.parametrize(
    "arguments, limit", [((), "gpu=2"), (("--resources", "gpu=1"), "gpu=1"), (PROFILE, "")]
)
def test_gpus_are_counted_on_this_machine_and_left_to_a_cluster(fresh, arguments, limit):
    """Two devices here allow two jobs with a GPU at a time; those of a login node say nothing about its cluster."""
    checkout = fresh("gpus")
    with (checkout.folder / "Snakefile").open("a") as snakefile:
        snakefile.write("\nprint('allowed', {n: v.value for n, v in workflow.global_resources.items()})\n")
    extra = {"CUDA_VISIBLE_DEVICES": "0,1"}
    done = checkout.snakemake("results/tiny/folds.tsv", "--dry-run", *arguments, check=True, extra=extra)
    found = re.search(r"allowed .*'gpu': (\d+)", done.stdout)
    assert (f"gpu={found[1]}" if found else "") == limit


def test_a_dry_run_says_how_much_is_missing_of_every_cohort(fresh, project):
    checkout = fresh("data")
    text = checkout.snakemake("data", "--dry-run", configfile=None, check=True).stdout
    said = re.search(
        r"Raw data: (\d+) files are missing: ([\d.]+) MB, and (\d+) of them of unknown size", text
    )
    downloads = [about for rule, about in checkout.planned(text) if rule == "download_file"]
    lock = load_lock(project / "resources/data_lock.tsv")
    wanted = [lock[tuple(re.fullmatch(r"source=(.*), file=(.*)", about).groups())] for about in downloads]
    assert int(said[1]) == len(wanted)
    assert float(said[2]) == pytest.approx(sum(row.size or 0 for row in wanted) / 1e6, abs=0.06)
    assert int(said[3]) == sum(row.size is None for row in wanted)
    sources = {settings["source"] for settings in full(project).cohorts.values()}
    assert sources == {"hbcis", "her2st", "cscc", "dlpfc", "visium_breast", "bach"}
    assert {row.source for row in wanted} == {*sources, "weights"}


def test_an_image_free_experiment_reads_no_image(fresh):
    jobs = fresh("counts").jobs(
        "results/her2st_counts/tables/leaderboard.tsv", configfile="config/her2st_mini.yaml"
    )
    assert not any(rule in {"cut_patches", "images", "extract_features"} for rule, _ in jobs)
    assert not any(".jpg" in wildcards for rule, wildcards in jobs if rule == "download_file")
    assert Counter(rule for rule, _ in jobs)["read_section"] == 36


def test_a_fold_never_trains_on_a_tested_patient(fresh):
    """What the training rule is given as input, not only what the table of folds says."""
    checkout = fresh("inputs")
    text = checkout.snakemake("--dry-run", configfile="config/demo.yaml", check=True).stdout
    blocks = re.split(r"\n *rule ", text)
    # images are in lists of the whole cohort, of which a training is handed the sections that have a role in it
    for rule, least in (("train_method:", 40), ("select_panel:", 6)):
        found = [block for block in blocks if block.startswith(rule)]
        assert len(found) >= least
        for block in found:
            fold = re.search(r"fold=(\w+)", block).group(1)
            inputs = re.search(r"input: (.*)", block).group(1)
            assert f"/{fold}_" not in inputs, block
            if rule == "train_method:":
                listed = re.findall(r"panels/(\w+)\.training\.tsv", inputs)
                assert listed == [fold], block


def test_figures_of_one_method_show_the_network_that_the_experiment_compares(fresh):
    checkout = fresh("leader")
    target = "results/demo/figures/gene_overlay.svg"
    text = checkout.snakemake("--dry-run", target, configfile="config/demo.yaml", check=True).stdout
    blocks = re.split(r"\n *rule ", text)
    drawn = next(block for block in blocks if block.startswith("draw_on_tissue_of_demo:"))
    assert "results/demo/predictions/stnet/P1" in re.search(r"input: (.*)", drawn).group(1)


def test_a_dry_run_is_a_sentence_a_job_and_can_be_read(fresh):
    """With the titles of methods and figures, and the reason in short."""
    checkout = fresh("sentences")
    text = checkout.snakemake("--dry-run", configfile="config/demo.yaml", check=True, messages=True).stdout
    assert len(text.encode()) <= 60_000 and max(map(len, text.splitlines())) < 600
    said = dict(re.findall(r"^Job (\d+): (.*)\nReason: ", text, re.M))
    jobs = int(re.search(r"^total +(\d+)$", text, re.M)[1])
    assert len(said) == jobs and len(set(said.values())) == jobs
    assert {
        "Train ST-Net on fold P1 of demo",
        "Train training mean on every fold of demo",
        "Predict every fold of demo by ST-Net",
        "Write the report",
    } <= set(said.values())
    assert "results/data/simulated/raw/P4_1.jpg and 3 more" in text


def test_the_workflow_passes_snakemakes_own_check(project):
    done = subprocess.run(
        [Path(sys.executable).with_name("snakemake"), "--lint", "--configfile", "config/demo.yaml"],
        cwd=project,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_help_and_readme_agree_with_what_exists(project):
    shown = subprocess.run(["make", "help"], cwd=project, capture_output=True, text=True).stdout
    targets = set(re.findall(r"^  make ([a-z-]+)", shown, re.M))
    makefile = (project / "Makefile").read_text()
    made = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    assert targets == made, "every target is listed, and every listed target is there"
    readme = (project / "README.md").read_text()
    pages = readme + "".join(page.read_text() for page in sorted((project / "docs").glob("*.md")))

    def helped(*command):
        command = [sys.executable, "-m", "histobench", *command, "--help"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    commands = {name: helped(name) for name in re.findall(r"^    ([a-z-]+)(?: |$)", helped(), re.M)}
    assert all(text.startswith(f"usage: histobench {name}") for name, text in commands.items())
    # in code, not in prose: `histobench recover`, .venv/bin/histobench predict, python -m histobench check-cohort
    used = re.findall(r"(?:`|/bin/|-m |^)histobench ([a-z-]+)([^`\n]*)", pages, re.M)
    assert {name for name, _ in used} >= {"predict", "check-cohort", "check-method", "recover"}
    for name, rest in used:
        assert name in commands, name
        for option in re.findall(r"--[a-z-]+", rest.partition(" -- ")[0]):
            assert option in commands[name], f"histobench {name} {option}"
    assert set(re.findall(r"(?<![A-Za-z])make ([a-z]+(?:-[a-z]+)*)\b`? ", readme)) <= targets
    for path in re.findall(r"\]\(([^)#]+)\)", readme):
        assert path.startswith("http") or (project / path).exists(), path
    for path in re.findall(
        r"(?:config|workflow|resources|tests)/[A-Za-z0-9_./-]+\.(?:yaml|py|tsv|md)", readme
    ):
        if "mine" not in path:
            assert (project / path).exists(), path


def test_the_engine_does_not_plan_by_the_clock(fresh):
    """Its limit of jobs per second starts a timer after every job, and each timer lives to the end of the run."""
    checkout = fresh("timers")
    spy = checkout.folder / "spy"
    spy.mkdir()
    (spy / "sitecustomize.py").write_text(
        "import os, threading\n"
        "before = threading.Timer.__init__\n"
        "def noted(self, *arguments, **named):\n"
        "    with open(os.environ['SPY'], 'a') as stream:\n"
        "        stream.write(f'{arguments[0]}\\n')\n"
        "    before(self, *arguments, **named)\n"
        "threading.Timer.__init__ = noted\n"
    )
    seen = checkout.folder / "timers.txt"
    extra = {"PYTHONPATH": str(spy), "SPY": str(seen)}
    checkout.snakemake("results/tiny/folds.tsv", check=True, extra=extra)
    assert (checkout.folder / "results/tiny/folds.tsv").exists()
    assert not seen.exists()


def described_jobs(text: str) -> list[list[list[str]]]:
    """What a dry run has printed of each job, but the reason, which is told in short, and the number of the job."""
    blocks = re.findall(r"^( *)((?:local)?rule \w+:\n(?:\1    .*\n)+)", text, re.M)
    lines = [[line.strip() for line in block.splitlines()] for _, block in blocks]
    # lists have no order: resources come from sets
    return sorted(
        [sorted(re.split(r", |: ", line)) for line in block if not line.startswith(("reason:", "jobid:"))]
        for block in lines
    )


def longest_reason(text: str) -> int:
    return max(len(line) for line in text.splitlines() if line.lstrip().startswith("reason:"))


def test_without_the_parts_of_the_engine_that_are_replaced_the_plan_is_the_same(fresh):
    """On a cluster, so that groups are formed, too; and with Snakemake's own words for reasons."""
    checkout = fresh("plain")
    engine = checkout.folder / "workflow/rules/engine.smk"
    code = engine.read_text()
    demo = ("--dry-run", *PROFILE)
    configured = "config/demo_protocols.yaml"
    replaced = checkout.snakemake(*demo, configfile=configured, check=True).stdout
    imports = re.search(r"^from snakemake.settings.*\n.*\n", code, re.M)[0]
    engine.write_text(imports + code[code.index("Workflow.rerun_triggers =") :])
    plain = checkout.snakemake(*demo, configfile=configured, check=True).stdout
    assert longest_reason(plain) > 4 * longest_reason(replaced), "nothing was taken out"
    assert len(described_jobs(plain)) > 150
    assert described_jobs(replaced) == described_jobs(plain)
    assert groups(replaced) == groups(plain)


@pytest.mark.parametrize(("inner", "refused"), [("made/b/c.txt", True), ("made/b-c.txt", False)])
def test_a_file_in_a_folder_that_another_job_makes_is_refused_as_by_snakemake_itself(
    project, tmp_path, inner: str, refused: bool
):
    """Beside it a file whose name only begins alike, which comes between the two by letters."""
    (tmp_path / "Snakefile").write_text(
        f"include: {str(project / 'workflow/rules/engine.smk')!r}\n"
        f"rule all:\n    input: 'made/b', {inner!r}, 'made/b-d.txt'\n"
        "rule folder:\n    output: directory('made/b')\n    shell: 'mkdir -p {output}'\n"
        f"rule file:\n    output: {inner!r}, 'made/b-d.txt'\n    shell: 'touch {{output}}'\n"
    )
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run", "--directory", str(tmp_path)]
    done = subprocess.run(
        [*command, "--snakefile", str(tmp_path / "Snakefile")], capture_output=True, text=True, check=False
    )
    assert (done.returncode != 0) == refused, done.stderr
    assert ("ChildIOException" in done.stdout + done.stderr) == refused


def test_another_workflow_uses_this_one_as_a_module(fresh, tmp_path):
    """It runs in a folder of its own, with its own configuration and a rule on top; as docs/module.md says."""
    checkout = fresh("module")
    outer = tmp_path / "outer"
    outer.mkdir()
    text = (checkout.folder / "docs/module.md").read_text()
    snakefile = re.search(r"```python\n(.*?)```", text, re.S).group(1)
    snakefile = snakefile.replace("HistoBench/", f"{checkout.folder}/").replace(
        "config/demo.yaml", "tiny.yaml"
    )
    (outer / "Snakefile").write_text(snakefile.replace("results/demo/", "results/tiny/"))
    shutil.copy(checkout.folder / "tiny.yaml", outer / "tiny.yaml")
    home, checkout.folder = checkout.folder, outer
    try:
        jobs = checkout.jobs(configfile=None)
        done = checkout.snakemake("results/tiny/folds.tsv", configfile=None)
    finally:
        checkout.folder = home
    assert ("mine", "") in jobs and {rule for rule, _ in jobs} >= {
        "histobench_train_quick", "histobench_tabulate_results"
    }  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert (outer / "results/tiny/folds.tsv").is_file() and not (home / "results").exists()
