"""Describe the patches of sections by a frozen network; all logic is in histobench.encoders.features."""

from histobench.encoders.features import write_section_features
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_section_features(
        snakemake.input.patches,
        snakemake.output.features,
        sections=snakemake.params.sections,
        output_list=snakemake.output.list,
        output_cost=snakemake.output.cost,
        device=snakemake.config["device"],
        **snakemake.params.settings,
    )
