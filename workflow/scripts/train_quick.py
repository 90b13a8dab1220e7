"""Fit one method on every fold; all logic is in histobench.training.folds."""

from histobench.runtime import job_log
from histobench.training.folds import train_folds

with job_log(snakemake.log[0]):
    further = ("photos", "start_weights", "weights_file", "encoder_file")
    train_folds(
        columns=dict(snakemake.input.items()),
        outputs={kind: snakemake.output[kind] for kind in ("weights", "history", "run")},
        **{name: snakemake.input.get(name) for name in further},
        device=snakemake.config["device"],
        terms=snakemake.config["weights_terms"],
        **snakemake.params.settings,
    )
