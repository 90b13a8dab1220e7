"""Turn raw files into a validated section; all logic is in histobench.cohorts.section."""

from histobench.cohorts.section import write_section
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_section(
        cohort=snakemake.wildcards.cohort,
        section=snakemake.wildcards.section,
        files=dict(snakemake.input.items()),
        output_h5ad=snakemake.output.h5ad,
        output_json=snakemake.output.row,
        **snakemake.params.settings,
    )
