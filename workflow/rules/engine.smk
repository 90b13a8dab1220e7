"""What Snakemake does slowly with thousands of jobs, done faster and alike. No rules here.

Each replaces a part of Snakemake by something with the same result; without them plans are the same, only later.
"""

import gc
import graphlib
from collections import defaultdict

from snakemake.dag import DAG
from snakemake.output_index import OutputIndex

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
