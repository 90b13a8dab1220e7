"""Describe a cohort; all logic is in histobench.cohorts.table."""

from histobench.cohorts.table import write_cohort_table, write_gene_table
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_cohort_table(snakemake.input.rows, snakemake.output.sections)
    write_gene_table(snakemake.input.h5ads, snakemake.output.genes)
