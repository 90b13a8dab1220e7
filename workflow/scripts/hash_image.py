"""Hash a section's image; all logic is in histobench.imaging.phash."""

from histobench.imaging.phash import write_hash
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_hash(
        snakemake.input.image,
        snakemake.output[0],
        snakemake.wildcards.cohort,
        snakemake.wildcards.section,
    )
