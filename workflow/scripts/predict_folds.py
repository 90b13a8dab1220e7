"""Predict the tested sections of every fold; all logic is in histobench.training.folds."""

from histobench.runtime import job_log
from histobench.training.every_gene import score_every_gene
from histobench.training.folds import predict_folds

with job_log(snakemake.log[0]):
    predict_folds(
        columns=dict(snakemake.input.items()),
        folders=list(snakemake.output),
        device=snakemake.config["device"],
        score_further=score_every_gene,
        **snakemake.params.settings,
    )
