"""Take one file out of an archive; all logic is in histobench.cohorts.fetch.archives."""

from histobench.cohorts.fetch.archives import unpack_file
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    unpack_file(snakemake.params.settings, snakemake.input[0], snakemake.output[0])
