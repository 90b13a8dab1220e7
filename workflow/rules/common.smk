"""What the rules ask the configuration: names, files and parameters; by subject in the folder common. No rules here."""

import functools
import os
import re

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake_interface_executor_plugins.settings import ExecMode

from histobench.branches import AS
from histobench.codehash import code_hash as library_code_hash
from histobench.cohorts.archives import split_member
from histobench.cohorts.gdc import lock_rows, read_manifest
from histobench.cohorts.lock import WEIGHTS, missing
from histobench.cohorts.sheet import section_options
from histobench.config import Benchmark, read_configuration
from histobench.devices import jobs_per_device, visible_devices
from histobench.errors import UserError
from histobench.evaluation.published import HISTORIES, SECTION_GENES
from histobench.evaluation.published import TABLES as PUBLISHED_TABLES
from histobench.evaluation.published import asked, read_ledger
from histobench.expression.qc import PROFILES
from histobench.runtime import begin_run, prefer_this_library
from histobench.figures.catalogue import catalogue
from histobench.files import check_scratch, check_writable
from histobench.imaging.stains import DEFAULT, NORMALISED, stain_file, stain_name
from histobench.plan import shown
from histobench.plan.contrasts import also_differs, contrast, others
from histobench.plan.ledger import published_facts
from histobench.plan.weights import (
    feature_file,
    published_rows,
    start_file,
    used_files,
    used_weights,
)
from histobench.software import installed_versions, pinned_versions
from histobench.report.embed import LARGEST_MAPS
from histobench.splits.folds import FULL_FOLD

prefer_this_library()

# Snakemake's own files lie in the working folder; where it cannot make them it would end with a traceback.
try:
    check_writable([".snakemake/log"])
except UserError as error:
    raise WorkflowError(str(error)) from None

# The user's own files come last, as they do in the merge; errors name the last one.
CONFIG_FILES = [Path(file) for file in workflow.configfiles]
DEFAULT_CONFIG = PROJECT / "config" / "config.yaml"
CONFIG_FILES.sort(
    key=lambda file: not file.exists() or file.resolve() != DEFAULT_CONFIG
)

try:
    # Snakemake reads YAML otherwise than we do: of a key that stands twice it keeps the last, and NO is false to it. So the
    # files are read again, unless another workflow uses this one as a module and hands its configuration over.
    settings = config
    if not workflow.modifier.skip_configfile:
        given = workflow.config_settings
        files = given.configfiles if given.replace_workflow_config else CONFIG_FILES
        settings = read_configuration(files, PROJECT, given.config)
    in_job = workflow.exec_mode != ExecMode.DEFAULT
    BENCH = Benchmark(settings, PROJECT, CONFIG_FILES, in_job=in_job)
    GPU_JOBS = len(visible_devices()) * jobs_per_device()
except UserError as error:
    raise WorkflowError(str(error)) from None

# How and where a run computes and fetches, which is no part of its results: jobs find it in `snakemake.config`, where a
# change runs nothing again.
WAYS = ("device", "mirrors")
config.update({key: BENCH.config[key] for key in WAYS})

# What a job computes with: an environment of its own, or the one that Snakemake runs in.
CONDA = "conda" in {
    str(method) for method in workflow.deployment_settings.deployment_method
}
VERSIONS = frozenset(
    (
        pinned_versions(sorted((PROJECT / "envs").glob("*.yaml")))
        if CONDA
        else installed_versions()
    ).items()
)
code_hash = functools.partial(library_code_hash, versions=VERSIONS)

# Stain and whose is the target; scale, or whose training sections set it; width.
VARIANT = (
    rf"(raw|({'|'.join(NORMALISED)})(@[^/]+)?)"
    r"-(native|[0-9.]+um|as\.[A-Za-z0-9_.-]+)-\d+px"
)

# As many jobs with a GPU at a time as this machine's devices take, unless `--resources gpu=N` says otherwise. A cluster
# counts its own; that the run is for one shows in its number of jobs, because the executor is not known yet.
if workflow.resource_settings.nodes is None and GPU_JOBS:
    workflow.global_resources.setdefault("gpu", GPU_JOBS)

# Question to a pair of experiments -> the placeholder of figures for those that answer it.
CONTRASTS = {
    "folds": "section_wise",
    "start": "other_start",
    "stain": "other_stain",
    "transform": "other_transform",
    "weights": "other_weights",
    "window": "other_window",
}

# Slides on a figure of maps: more would be too small to see.
MAPPED_SLIDES = 4

# A method whose YAML file states at most so many minutes does not get cluster jobs of its own.
QUICK_MINUTES = 20

LOCK = BENCH.lock | published_rows(BENCH)
for name, cohort in BENCH.cohorts.items():
    if cohort["origin"] == "slides":  # their manifests say what a lock says
        LOCK |= lock_rows(read_manifest(BENCH.table(name)), cohort["source"])


# What has results of its own: experiments that test somebody, and their branches to other cohorts.
TESTED = {
    name: settings
    for name, settings in (BENCH.experiments | BENCH.branches).items()
    if settings["folds"]["made"]
}


wildcard_constraints:
    experiment="|".join(BENCH.experiments | BENCH.branches),
    cohort="|".join(BENCH.cohorts),
    section="|".join(
        sorted(
            {
                re.escape(name)
                for cohort in BENCH.cohorts.values()
                for name in cohort["sections"]
            }
        )
    ),
    fold="|".join(
        sorted(
            {
                re.escape(name)
                for e in (BENCH.experiments | BENCH.branches).values()
                for name in [*e["folds"]["made"], FULL_FOLD]
            }
        )
    ),
    method=r"[A-Za-z][A-Za-z0-9_]*(\.seed\d+)?",
    profile=r"[a-z0-9]+",
    stain="|".join(name for name in NORMALISED if name != DEFAULT),
    variant=VARIANT,
    backbone=rf"[a-z0-9_]+\.(pretrained|none)\.{VARIANT}",


def begin_writing():
    """Refuse to write where another run does, and clear away what killed runs left; jobs started by a run do neither."""
    if (
        workflow.exec_mode == ExecMode.DEFAULT
        and workflow.execution_settings.lock  # not so with --nolock
    ):
        try:
            begin_run("results")
        except UserError as error:
            raise WorkflowError(str(error)) from None


def check_outputs(dag):
    """Stop before the first job where the output of any job that has to run could not be written."""
    try:
        check_writable(file for job in dag.needrun_jobs() for file in job.output)
        check_scratch()
    except UserError as error:
        raise WorkflowError(str(error)) from None


def shipped(file):
    """A file of this repository as seen from the working folder, so that both can be moved together."""
    return os.path.relpath(PROJECT / file)


def growing(amount):
    """A resource that a retry gets more of: memory (MB) or time (minutes) of the first attempt."""
    return lambda wildcards, attempt: amount * attempt


include: "common/cohorts.smk"
include: "common/experiments.smk"
include: "common/slides.smk"
include: "common/results.smk"
include: "common/figures.smk"
include: "common/across.smk"
include: "common/report.smk"
