"""Describe the patches of sections by a frozen network; all logic is in histobench.encoders.features."""

from histobench.encoders.features import write_features
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_features(
        snakemake.input.patches,
        list(snakemake.output),
        device=snakemake.config["device"],
        **snakemake.params.settings,
    )
