"""Write the report; all logic is in histobench.report."""

from histobench.report.page import write_report
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_report(snakemake.params.settings, snakemake.output[0])
