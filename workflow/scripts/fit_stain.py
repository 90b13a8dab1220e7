"""Estimate the stains of a section; all logic is in histobench.imaging.stain."""

from histobench.imaging.stain import write_stain
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_stain(
        snakemake.input.image,
        snakemake.output.json,
        snakemake.output.preview,
        snakemake.wildcards.section,
        method=snakemake.wildcards.get("stain", "vahadane"),
    )
