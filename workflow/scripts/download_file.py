"""Fetch one raw file and verify it; all logic is in histobench.cohorts.fetch.download."""

from histobench.cohorts.fetch.download import download_file
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    download_file(
        snakemake.params.settings,
        snakemake.output[0],
        mirrors=snakemake.config["mirrors"].get(snakemake.wildcards.source, ()),
    )
