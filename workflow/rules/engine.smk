"""Where this workflow and Snakemake part. No rules here.

Two parts of Snakemake that are slow with thousands of jobs are replaced by something with the same result; without them
plans are the same, only later. And one of its reasons to run a job again is left out.
"""

import gc
import graphlib
from collections import defaultdict

from snakemake.dag import DAG
from snakemake.output_index import OutputIndex
from snakemake.settings.enums import RerunTrigger
from snakemake.workflow import Workflow

# A plan is millions of objects that stay; looking through them for garbage again and again finds next to none.
gc.set_threshold(200_000, 50, 50)


def match_producers(index, file, search=OutputIndex.match_producers):
    """Rules that make a file: the same for every job that asks for it, and twenty ask on average."""
    known = vars(index).setdefault("known", {})
    if str(file) not in known:
        known[str(file)] = frozenset(search(index, file))
    return known[str(file)]


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


OutputIndex.match_producers = match_producers
DAG._check_groups = check_groups


# Snakemake compares the time of a script with that of its results, so that a clone, a switch of branches or a `touch` would
# compute everything again. Every rule has the meaning of its script among its parameters instead, see `code_hash`. Here
# and not in a profile: a profile is left out as soon as the user names another. Settings come after this file is read.
Workflow.rerun_triggers = property(
    lambda workflow: frozenset(workflow.dag_settings.rerun_triggers)
    - {RerunTrigger.CODE}
)
