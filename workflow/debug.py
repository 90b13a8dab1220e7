"""One job of the workflow alone in this process, for a debugger: `histobench debug RULE NAME=VALUE ...`."""

from __future__ import annotations

import contextlib
import os
import pdb
import runpy
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace

from snakemake.api import SnakemakeApi
from snakemake.exceptions import UnknownRuleException, WorkflowError
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
)
from snakemake.target_jobs import TargetSpec

from histobench import runtime
from histobench.errors import UserError, near


def planned(
    rule: str, wildcards: Mapping[str, str], project: Path, configfiles: Iterable[Path]
) -> SimpleNamespace:
    """Return a job as its script sees it, and the script, without running anything.

    Raises
    ------
    UserError
        There is no such rule or job, or an input is missing.
    """
    quiet = OutputSettings(quiet={Quietness.ALL})
    with SnakemakeApi(quiet) as engine:
        workflow = engine.workflow(
            resource_settings=ResourceSettings(cores=len(os.sched_getaffinity(0))),
            config_settings=ConfigSettings(configfiles=[file.resolve() for file in configfiles]),
            snakefile=project / "Snakefile",
            workdir=Path.cwd(),
        )
        target = TargetSpec(rule, dict(wildcards))
        dag = workflow.dag(DAGSettings(target_jobs=[target], force_incomplete=True))
        try:
            dag.execute_workflow(executor="dryrun")
        except UnknownRuleException:
            known = [each.name for each in workflow._workflow.rules]
            raise UserError(f"there is no rule `{rule}`; {near(rule, known)}") from None
        except WorkflowError as error:
            raise UserError(f"{rule}: {error}") from None
        except AttributeError:  # so Snakemake ends where a wildcard may not be what it is said to be
            said = " ".join(f"{name}={value}" for name, value in wildcards.items())
            raise UserError(
                f"{rule}: no job has the wildcards {said}; `snakemake -n` prints those that there are."
            ) from None
        (job,) = [
            job for job in workflow._workflow.dag.jobs
            if job.rule.name == rule and dict(job.wildcards_dict) == dict(wildcards)
        ]  # fmt: skip
        missing = [str(file) for file in job.input if not Path(file).exists()]
        if missing:
            raise UserError(
                f"{rule}: input {missing[0]} is missing ({len(missing)} in all); make it first: "
                f"`snakemake --cores 1 {missing[0]}`."
            )
        if not job.rule.script:
            raise UserError(f"{rule} runs no script; name a rule that does.")
        return SimpleNamespace(
            script=(Path(job.rule.basedir.get_path_or_uri(secret_free=True)) / job.rule.script).resolve(),
            input=job.input,
            output=job.output,
            params=job.params,
            wildcards=job.wildcards,
            threads=job.threads,
            resources=job.resources,
            log=job.log,
            config=workflow._workflow.globals["config"],
            rule=rule,
        )


def debug(
    rule: str,
    wildcards: Mapping[str, str],
    project: Path,
    configfiles: Iterable[Path],
    *,
    post_mortem: bool = False,
) -> int:
    """Run one job here, its log on this terminal; ``post_mortem`` opens the debugger where it fails."""
    job = planned(rule, wildcards, project, configfiles)
    job.scriptdir = str(job.script.parent)
    for file in job.output:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
    runtime.job_log = lambda path: contextlib.nullcontext()  # type: ignore[assignment,return-value]
    try:
        runpy.run_path(str(job.script), init_globals={"snakemake": job}, run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    except UserError:
        raise
    except Exception:  # noqa: BLE001 - whatever a job fails by is to be looked at
        traceback.print_exc()
        if post_mortem:
            pdb.post_mortem(sys.exc_info()[2])
        return 1
    print(f"done: {', '.join(map(str, job.output))}")
    return 0
