"""Describe patches by a frozen network; all logic is in histobench.encoders.features."""

from histobench.encoders.features import write_features
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_features(
        snakemake.input.patches,
        snakemake.output[0],
        device=snakemake.config["device"],
        **snakemake.params.settings,
    )
