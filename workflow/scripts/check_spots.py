"""Apply a QC profile to sections; all logic is in histobench.expression.qc."""

from histobench.expression.qc import write_spot_tables
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_spot_tables(
        snakemake.wildcards.profile,
        snakemake.params.limits,
        snakemake.input.h5ads,
        snakemake.output.spots,
        sections=snakemake.params.sections,
        output_list=snakemake.output.list,
        patch_lists=snakemake.input.get("patches", []),
    )
