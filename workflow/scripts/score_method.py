"""Compute every metric of one method; all logic is in histobench.evaluation.score."""

from histobench.evaluation.score import score_method
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    score_method(
        snakemake.input,
        snakemake.output.metrics,
        snakemake.output.spots,
        **snakemake.params.settings,
    )
