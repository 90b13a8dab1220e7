"""Find the genes of a panel that another cohort measures; all logic is in histobench.training.external."""

from histobench.runtime import job_log
from histobench.training.external import write_measured_panel

with job_log(snakemake.log[0]):
    write_measured_panel(
        snakemake.input.panel,
        snakemake.input.genes,
        snakemake.output.panel,
        snakemake.output.dropped,
        cohort=snakemake.params.cohort,
    )
