"""Estimate the noise ceilings of tested sections; all logic is in histobench.evaluation.ceiling."""

from histobench.evaluation.ceiling import write_ceilings
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_ceilings(
        lists=snakemake.input.lists,
        panels=snakemake.input.panel,
        gene_lists=snakemake.input.genes,
        outputs=snakemake.output,
        **snakemake.params.settings,
    )
