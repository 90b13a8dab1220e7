"""Predict every fold by every head on one encoder; all logic is in histobench.training.folds."""

from histobench.runtime import job_log
from histobench.training.folds import predict_heads

with job_log(snakemake.log[0]):
    predict_heads(
        columns=dict(snakemake.input.items()),
        folders=list(snakemake.output),
        device=snakemake.config["device"],
        **snakemake.params.settings,
    )
