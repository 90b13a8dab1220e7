"""Estimate the stains of sections; all logic is in histobench.imaging.stain."""

from histobench.imaging.stain import write_stains
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_stains(
        snakemake.input,
        snakemake.output.json,
        snakemake.output.preview,
        snakemake.params.sections,
        processes=snakemake.threads,
        method=snakemake.wildcards.stain,
    )
