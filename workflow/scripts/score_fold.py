"""Compute every metric of one method and fold; all logic is in histobench.evaluation.score."""

from histobench.evaluation.score import write_metrics
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_metrics(snakemake.input[0], snakemake.output.metrics, snakemake.output.spots)
