"""Count what a filter of spots dropped; all logic is in histobench.expression.qc."""

from histobench.expression.qc import write_summary
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_summary(snakemake.input, snakemake.params.sections, snakemake.output[0])
