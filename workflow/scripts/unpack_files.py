"""Take files out of an archive; all logic is in histobench.cohorts.fetch.archives."""

from histobench.cohorts.fetch.archives import unpack_files
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    unpack_files(snakemake.params.settings, snakemake.input[0], list(snakemake.output))
