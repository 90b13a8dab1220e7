"""Hash the images of sections; all logic is in histobench.imaging.phash."""

from histobench.imaging.phash import write_hashes
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_hashes(snakemake.input, snakemake.output, snakemake.params.cohort, snakemake.params.sections)
