"""Record where the results come from; all logic is in histobench.report.provenance."""

from histobench.report.provenance import write_provenance
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    settings = dict(snakemake.params.settings)
    cohorts = settings.pop("cohorts")
    write_provenance(
        snakemake.output[0],
        sections=dict(zip(cohorts, snakemake.input.sections, strict=True)),
        runs=snakemake.input.runs,
        **settings,
    )
