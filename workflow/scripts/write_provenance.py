"""Record where the results come from; all logic is in histobench.report.provenance."""

from pathlib import Path

from histobench.report.provenance import write_provenance
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    settings = dict(snakemake.params.settings)
    cohorts = settings.pop("cohorts")
    project = Path(snakemake.scriptdir).resolve().parents[1]  # it comes as workflow/rules/../scripts
    write_provenance(
        snakemake.output[0],
        project=project,
        data_lock=project / "resources" / "data_lock.tsv",
        environment_lock=project / "requirements.lock",
        sections=dict(zip(cohorts, snakemake.input.sections, strict=True)),
        runs=snakemake.input.runs,
        **settings,
    )
