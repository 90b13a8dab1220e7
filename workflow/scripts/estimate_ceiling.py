"""Estimate the noise ceiling of a fold's tested sections; all logic is in histobench.evaluation.ceiling."""

from histobench.evaluation.ceiling import write_ceiling
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_ceiling(
        h5ads=snakemake.input.h5ad,
        qc_tables=snakemake.input.qc,
        panel_tsv=snakemake.input.panel,
        genes_tsv=snakemake.input.genes,
        output=snakemake.output[0],
        **snakemake.params.settings,
    )
