"""Prints every job of a plan as a line of JSON: rule, wildcards, files, parameters, resources. For comparing two plans.

``python tests/workflow/dag.py PROJECT [CONFIGFILE] [TARGET ...]`` plans in an empty folder, as a first run would; two
versions of the workflow that plan the same print the same.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snakemake import api
from snakemake.settings import types


def described(job: Any) -> dict[str, Any]:
    """What a job is, in the order in which it names its files."""
    names = {name: str(value) for name, value in job.resources.items() if not name.startswith("_")}
    return {
        "rule": job.rule.name,
        "wildcards": dict(sorted(job.wildcards_dict.items())),
        "input": {name: str(value) for name, value in job.input.items()} | {"": sorted(map(str, job.input))},
        "output": {name: str(value) for name, value in job.output.items()} | {"": list(map(str, job.output))},
        "params": dict(job.params.items()),
        "resources": {name: value for name, value in names.items() if name != "tmpdir"},
        "threads": job.threads,
        "priority": job.priority,
        "local": job.is_local,
        "log": list(map(str, job.log)),
        "benchmark": str(job.benchmark),
    }


def jobs(project: Path, configfiles: Sequence[Path] = (), targets: Sequence[str] = ()) -> list[str]:
    """Every job that a run in an empty folder would have, a line each, sorted."""
    with (
        tempfile.TemporaryDirectory() as folder,
        api.SnakemakeApi(types.OutputSettings(quiet={types.Quietness.ALL})) as engine,
    ):
        plan = engine.workflow(
            resource_settings=types.ResourceSettings(cores=2),
            config_settings=types.ConfigSettings(configfiles=[file.resolve() for file in configfiles]),
            snakefile=project / "Snakefile",
            workdir=Path(folder),
        )
        dag = plan.dag(types.DAGSettings(targets=frozenset(targets)))
        dag.execute_workflow(executor="dryrun")
        made = plan._workflow.dag.jobs
        return sorted(json.dumps(described(job), sort_keys=True, default=str) for job in made)


if __name__ == "__main__":
    root = Path(sys.argv[1]).resolve()
    given = [Path(name) for name in sys.argv[2:3] if name]
    print("\n".join(jobs(root, given, sys.argv[3:])))
