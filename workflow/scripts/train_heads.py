"""Fit every head on the features of one encoder, on every fold; all logic is in histobench.training.folds."""

from histobench.runtime import job_log
from histobench.training.folds import train_heads

with job_log(snakemake.log[0]):
    train_heads(
        columns=dict(snakemake.input.items()),
        outputs={kind: snakemake.output[kind] for kind in ("weights", "run")},
        encoder_file=snakemake.input.get("encoder_file"),
        device=snakemake.config["device"],
        terms=snakemake.config["weights_terms"],
        **snakemake.params.settings,
    )
