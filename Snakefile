"""HistoBench: regenerates every figure and table of the benchmark.

    snakemake --cores 8 --use-conda                                   the full benchmark
    snakemake --cores 2 --configfile config/demo.yaml                 the demo
    snakemake --workflow-profile workflow/profiles/slurm --use-conda  on a cluster

Rules are in workflow/rules, one file per stage in the order of the pipeline; what they do is in workflow/lib/histobench.
"""

import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")

# The library behind the scripts; plain, conda and SLURM jobs all inherit this path.
sys.path.insert(0, str(Path(workflow.basedir, "workflow", "lib")))


configfile: str(Path(workflow.basedir, "config", "config.yaml"))


report: "workflow/report/workflow.rst"


include: "workflow/rules/engine.smk"
include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/images.smk"
include: "workflow/rules/splits.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/external.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"


onstart:
    begin_writing()
    # Snakemake itself would end with a traceback where it cannot make a folder.
    check_outputs(workflow.dag)
    # By default Snakemake starts at most 100 jobs a second, and to do so plans anew every second, once more for every job
    # that has ended: after some hundred jobs the planning fills a core. The limit serves nobody here.
    if getattr(workflow, "scheduler", None):
        workflow.scheduler.job_rate_limiter = None


rule all:
    """The report, which needs everything else."""
    default_target: True
    input:
        "results/report/index.html",
