"""Find the genes of a panel that another cohort measures; all logic is in histobench.methods.external."""

from histobench.methods.external import write_measured_panel
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_measured_panel(
        snakemake.input.panel,
        snakemake.input.genes,
        snakemake.output.panel,
        snakemake.output.dropped,
        cohort=snakemake.params.cohort,
    )
