"""Where this workflow and Snakemake part. No rules here.

Parts of Snakemake that are slow with thousands of jobs are replaced by something with the same result; without them
plans and results are the same, only later. One of its reasons to run a job again is left out, and all reasons are told in
short.
"""

import atexit
import functools
import gc
import graphlib
import os
import re
import subprocess
import sys
import threading
import types
from collections import defaultdict

from snakemake import common, dag, io, jobs, persistence, rules
from snakemake.dag import DAG, ScriptProcessor
from snakemake.io import AnnotatedString, fmt, regex_from_filepattern
from snakemake.jobs import Reason
from snakemake.output_index import OutputIndex
from snakemake.pathvars import Pathvars
from snakemake.script import PythonScript
from snakemake.settings.enums import RerunTrigger
from snakemake.workflow import Workflow

from histobench.plan.ends import Ends, Flags
from histobench.plan.told import shorter
from histobench.warm import Starters

# A plan is millions of objects that stay; looking through them for garbage again and again finds next to none.
gc.set_threshold(200_000, 50, 50)
# and to take it apart at the end, object by object, takes a sixth of a dry run
atexit.register(gc.freeze)


def by_ends(index, rules):
    """Sort what rules make by the ends of paths, where Snakemake goes by their beginnings."""
    made = ((str(it.file), maker) for maker in rules for it in maker.products())
    index.ends = Ends(made, regex_from_filepattern)


def check_groups(dag, thorough=DAG._check_groups):
    """Refuse a group that waits for itself: in one pass, where Snakemake follows every path from every job.

    For that, two submissions must at least wait for each other. If there are such, Snakemake decides, and explains.
    """
    needs = defaultdict(set)
    for job, dependencies in dag._dependencies.items():
        own = id(dag._group.get(job, job))
        needs[own] |= {id(dag._group.get(other, other)) for other in dependencies} - {
            own
        }
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError:
        thorough(dag)


def check_directory_outputs(dag, thorough=DAG.check_directory_outputs):
    """Refuse a file in a folder that another job makes: Snakemake decides and explains, where two lie in each other."""
    made = sorted(
        str(file).replace(os.sep, "\0") for job in dag.jobs for file in job.output
    )
    if any(after.startswith(f"{before}\0") for before, after in zip(made, made[1:])):
        thorough(dag)


MISSING = "output files have to be generated"  # as a reason says it


@functools.cache
def lost(job):
    """What is gone of the files that others read without declaring them, by a list or beside a panel that is there."""
    told = job.output.get("list") or job.output.get("panel")
    made = workflow.is_main_process and isinstance(told, str) and os.path.exists(told)
    return [file for file in job.output if made and not os.path.exists(file)]


def vanished(job):
    """Whether a job has ended whose results were not all kept."""
    gone = VANISHING.intersection(job.output)
    gone = {file for file in gone if not os.path.exists(file)}
    return gone and any(map(os.path.exists, {*job.output} - gone))


async def missing_output(job, requested, thorough=jobs.Job.missing_output):
    """Say which files are missing of those that are asked for, and which of those that are read with them."""
    async for file in thorough(job, {*requested, *lost(job)}):
        yield file


async def update_needrun(dag, *given, again=None, thorough=DAG.update_needrun, **more):
    """Decide what must run, and let what comes after some jobs be judged by itself.

    Snakemake looks at no reason of a job that comes after another one that runs, as it would run anyway. Behind a gate (an
    ancient file that is there) it would not, and a changed parameter would be missed until the next call. Nor need it
    after a job that only makes again what is lost or was not kept: it makes the same.
    """
    if again is None:
        again = {job for job in dag.jobs if lost(job) or vanished(job)}
    whole = {}
    for job in dag.jobs:
        for source, files in dag._dependencies[job].items():
            gates = [file.is_ancient and await file.exists() for file in files]
            if source in again or all(gates):
                whole.setdefault(source, dag.depending[source])
                dag.depending[source] = dict(dag.depending[source])
                del dag.depending[source][job]
    try:
        await thorough(dag, *given, **more)
    finally:
        dag.depending.update(whole)
    only = {job for job in again if {*dag.reason(job).get_names()} <= {MISSING}}
    made_again = filter(vanished, only & dag._needrun)
    dag.again = {job: await job.output_mintime for job in made_again}
    if only != again:
        await update_needrun(dag, *given, again=only, **more)


async def handle_temp(dag, job, thorough=DAG.handle_temp):
    """Let what was made again be as old as it was: nothing that was made of it is out of date."""
    for each in job if job.is_group() else [job]:
        if each in dag.again:
            for file in filter(os.path.exists, each.output):
                os.utime(file, (dag.again[each],) * 2)
    await thorough(dag, job)


def is_flagged(path, flag):
    """Whether a path has a flag, without asking an abstract class first whether it could have any: 6 million times."""
    flags = getattr(getattr(path, "_file", path), "_flags", None)
    return bool(flags and flags.get(flag))


def is_known(cache, path, thorough=io.ExistsDict.__contains__):
    """Whether it is known if a file exists, without a look at its folder where no folder is known as a whole."""
    return dict.__contains__(cache, path) or (
        bool(cache.has_inventory) and thorough(cache, path)
    )


def match(pattern, path, thorough=io._IOFile.match):
    """How a path fits a pattern, which is compiled only where the end is right: a rule makes some thirty, of long ones."""
    fits = pattern._regex or path.endswith(pattern.constant_suffix())
    return thorough(pattern, path) if fits else None


def annotate(path, value):
    """Make a path that can have flags, and has none: a dictionary for each takes a tenth of a plan's memory."""
    if io.is_callable(value):
        path.callable = value


def flags_of(path):
    """The flags of a path, to read or to add to."""
    return Flags(path) if path._flags is None else path._flags


def clone_flags(file, other, *skip, thorough=io._IOFile.clone_flags, **skipped):
    """Give a file the flags of another, which seldom has any."""
    if getattr(getattr(other, "_file", None), "_flags", None):
        thorough(file, other, *skip, **skipped)
    else:
        file._file = AnnotatedString(file._file)
    if file in TEMPORARY:
        file.flags["temp"] = True


def shown(file, as_input=False, as_output=False, thorough=fmt.fmt_iofile):
    """How a file stands in a message: as it is, unless there is something to say about it."""
    plain = not getattr(getattr(file, "_file", None), "_flags", True)
    return file if plain else thorough(file, as_input, as_output)


def find_script(processor, job, search=ScriptProcessor.process_job):
    """Look whether there is a script: the same for every job of a rule, as no path of a script holds a wildcard."""
    known = vars(processor).setdefault("known", set())
    own = job.rule
    if own not in known:
        search(processor, job)
        known.add(own)


STARTERS, BEGINNING = Starters(), threading.local()


def execute_script(script, path, edit=False, thorough=PythonScript.execute_script):
    """Remember for `begin`, which this thread will come to, what is to begin."""
    BEGINNING.network = training.has_network(PLAN, script.rulename, script.wildcards)
    thorough(script, path, edit)


def begin(command, thorough=subprocess.Popen, **how):
    """Start a script of Python from a process that has imported its packages, anything else as Snakemake does.

    Not where such a process could meet CUDA, where jobs run elsewhere, and in an environment of its own.
    """
    here = workflow.local_exec and not in_job and not GPU_JOBS
    network = getattr(BEGINNING, "network", False)
    running = here and STARTERS.popen(command, how["env"], network)
    return running or thorough(command, **how)


OutputIndex.__init__ = by_ends
OutputIndex.match_producers = lambda index, file: index.ends.makers(str(file))
DAG._check_groups, DAG.check_directory_outputs = check_groups, check_directory_outputs
DAG.update_needrun, DAG.handle_temp = update_needrun, handle_temp
jobs.Job.missing_output = missing_output
ScriptProcessor.process_job = find_script
PythonScript.execute_script = execute_script
for place in (dag, fmt, io, jobs, persistence, rules):
    place.is_flagged = is_flagged
jobs.fmt_iofile = shown
io._IOFile.is_storage = property(lambda path: is_flagged(path, "storage_object"))
io.ExistsDict.__contains__ = is_known
Pathvars.apply = lambda variables, path, thorough=Pathvars.apply: (
    thorough(variables, path) if "<" in path else path
)
# a file is equal to another as a string is, which takes a tenth of the time where no Python is asked
io._IOFile.__eq__, io._IOFile.__hash__ = str.__eq__, str.__hash__
io._IOFile.clone_flags, io._IOFile.match = clone_flags, match
AnnotatedString._flags = AnnotatedString.callable = None
AnnotatedString.__init__ = annotate
AnnotatedString.flags = property(flags_of, AnnotatedString.flags.fset)
# what a function wants to be given, which is looked up for every job, input, parameter and resource
for place in (common, jobs, rules):
    place.get_function_params = functools.cache(common.get_function_params)
started = types.SimpleNamespace(**{**vars(subprocess), "Popen": begin})
sys.modules["snakemake.shell"].sp = started
Reason.__str__ = lambda reason, told=Reason.__str__: shorter(told(reason))


# Snakemake compares the time of a script with that of its results, so that a clone, a switch of branches or a `touch` would
# compute everything again. Every rule has the meaning of its script among its parameters instead, see `code_hash`. Here
# and not in a profile: a profile is left out as soon as the user names another. Settings come after this file is read.
Workflow.rerun_triggers = property(
    lambda workflow: frozenset(workflow.dag_settings.rerun_triggers)
    - {RerunTrigger.CODE}
)

# Files that may be gone though the job that made them is done, and those of them that go as soon as nothing waits for them:
# some of those that a rule makes, where `temp` would mean all.
VANISHING, TEMPORARY = set(), set()
