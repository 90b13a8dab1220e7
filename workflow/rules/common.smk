"""The plan of the run, and how rules ask it. No rules here; what the plan knows is in workflow/lib/histobench/plan."""

import contextlib
import functools
import inspect
import os
import re
import sys

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake_interface_executor_plugins.settings import ExecMode

from histobench import paths
from histobench.codehash import code_hash
from histobench.config.benchmark import Benchmark
from histobench.config.files import read_configuration
from histobench.devices import jobs_per_device, visible_devices
from histobench.errors import UserError
from histobench.evaluation.published import TABLES as PUBLISHED_TABLES
from histobench.files import check_scratch, check_writable
from histobench.plan import across, batches, data, external, figures
from histobench.plan import keep, manifest, nuclei, tables, training
from histobench.plan.model import among, constraints, make_plan
from histobench.plan.told import Titled
from histobench.plan.weights import used_weights
from histobench.runtime import begin_run, prefer_this_library
from histobench.software import installed_versions, pinned_versions

prefer_this_library()


@contextlib.contextmanager
def in_one_sentence():
    """Let what a person has to mend end the run without a traceback."""
    try:
        yield
    except UserError as error:
        raise WorkflowError(str(error)) from None


# Snakemake's own files lie in the working folder; where it cannot make them it would end with a traceback.
with in_one_sentence():
    check_writable([".snakemake/log"])

# The user's own files come last, as they do in the merge; errors name the last one.
CONFIG_FILES = [Path(file) for file in workflow.configfiles]
DEFAULT_CONFIG = PROJECT / "config" / "config.yaml"
CONFIG_FILES.sort(key=lambda it: not it.exists() or it.resolve() != DEFAULT_CONFIG)

with in_one_sentence():
    # Snakemake reads YAML otherwise than we do: of a key that stands twice it keeps the last, and NO is false to it. So the
    # files are read again, unless another workflow uses this one as a module and hands its configuration over.
    settings = config
    if not workflow.modifier.skip_configfile:
        given = workflow.config_settings
        files = given.configfiles if given.replace_workflow_config else CONFIG_FILES
        settings = read_configuration(files, PROJECT, given.config, sys.argv)
    in_job = workflow.exec_mode != ExecMode.DEFAULT
    PLAN = make_plan(Benchmark(settings, PROJECT, CONFIG_FILES, in_job=in_job))
    VANISHING |= keep.every(PLAN)
    TEMPORARY |= keep.every(PLAN) - keep.kept(PLAN)
    GPU_JOBS = len(visible_devices()) * jobs_per_device()

if not in_job:
    for told in PLAN.bench.left_out:
        logger.info(told)

# Jobs find how and where they compute in `snakemake.config`, where a change runs nothing again.
config.update({key: PLAN.bench.config[key] for key in manifest.WAYS})
# Licences are recorded with a model; one that is corrected changes no number.
config["weights_terms"] = used_weights(PLAN.bench)

# What a job computes with: an environment of its own, or the one that Snakemake runs in.
CONDA = "conda" in {
    str(method) for method in workflow.deployment_settings.deployment_method
}
ENVIRONMENTS = sorted((PROJECT / "envs").glob("*.yaml"))
VERSIONS = pinned_versions(ENVIRONMENTS) if CONDA else installed_versions()
VERSIONS = frozenset(VERSIONS.items())

# As many jobs with a GPU at a time as this machine's devices take, unless `--resources gpu=N` says otherwise. A cluster
# counts its own; that the run is for one shows in its number of jobs, because the executor is not known yet.
if workflow.resource_settings.nodes is None and GPU_JOBS:
    workflow.global_resources.setdefault("gpu", GPU_JOBS)


wildcard_constraints:
    **constraints(PLAN),


# Messages look for names in the outermost workflow, also where this one is a module of it.
workflow.modifier_stack[0].globals.update(
    method_title=Titled(lambda name, run: PLAN.described(name).runs[run].title),
)


def of(function, **given):
    """A function of the plan as rules ask it; its parameters name the wildcards that it needs, unless they are given."""
    wanted = list(inspect.signature(function).parameters)[1:]
    names = [name for name in wanted if name not in given]

    def asked(wildcards):
        with in_one_sentence():
            return function(
                PLAN, **given, **{name: getattr(wildcards, name) for name in names}
            )

    return asked


def code_of(script, modules=None, **given):
    """What stands for the code of a job: a hash of its script, of the modules that its wildcards ask for, and of both's."""
    hashed = functools.partial(code_hash, f"scripts/{script}.py", versions=VERSIONS)
    asked = of(modules, **given) if modules else None
    return (lambda wildcards: hashed(*asked(wildcards))) if asked else hashed()


def growing(amount):
    """A resource that a retry gets more of, memory (MB) or minutes: a number, or a function of the plan."""
    first = of(amount) if callable(amount) else lambda wildcards: amount
    return lambda wildcards, attempt: first(wildcards) * attempt


def grouped():
    """Whether jobs are put in groups, which serve submissions to a cluster.

    Elsewhere they are not used, but a dry run checks them all, which takes a quarter of its time. So it has none, unless
    it is one of a profile for a cluster. Known only when jobs are made: a Snakefile is read before there is an executor.
    """
    return not workflow.local_exec or bool(workflow.group_settings.group_components)


def quick_or(otherwise=None):
    """The group of a method's jobs: those of a quick one share a submission on a cluster."""
    quick = of(training.is_quick)
    return lambda wildcards: (
        None if not grouped() else "quick" if quick(wildcards) else otherwise
    )


def group_of(name):
    """The group of small jobs, such as figures, of which several share a submission on a cluster."""
    return lambda wildcards: name if grouped() else None


@functools.cache
def data_input(wildcards):
    """Every raw file. Asked only if `data` is a target, so a dry run can say here what is missing."""
    logger.info(of(data.told_missing)(wildcards))
    return of(data.raw_files)(wildcards)


def begin_writing():
    """Refuse to write where another run does, and clear away what killed runs left; jobs started by a run do neither."""
    if in_job:
        return
    with in_one_sentence():
        if workflow.execution_settings.lock:  # not so with --nolock
            begin_run(paths.ROOT)
        data.record_batches(PLAN)


def check_outputs(dag):
    """Stop before the first job where the output of any job that has to run could not be written."""
    with in_one_sentence():
        check_writable(file for job in dag.needrun_jobs() for file in job.output)
        check_scratch()
