"""Write the report; all logic is in histobench.report."""

from histobench.report.manifest import read_manifests
from histobench.report.page import write_report
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    settings = dict(snakemake.params.settings)
    manifests = dict(zip(settings["experiments"], snakemake.input.manifests, strict=True))
    write_report({**settings, "experiments": read_manifests(manifests)}, snakemake.output[0])
