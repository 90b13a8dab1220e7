"""Name every file that the report shows of an experiment; all logic is in histobench.report.manifest."""

from histobench.report.manifest import write_manifest
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_manifest(snakemake.input, snakemake.params.settings, snakemake.output[0])
