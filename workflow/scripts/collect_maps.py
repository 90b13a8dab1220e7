"""Collect the maps of an experiment for the report; all logic is in histobench.report.maps."""

from histobench.report.maps import collect_maps
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    collect_maps(output=snakemake.output[0], **snakemake.params.settings)
