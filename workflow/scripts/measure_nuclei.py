"""Describe the nuclei of a section's spots; all logic is in histobench.evaluation.nuclei."""

from histobench.evaluation.nuclei import write_nuclei
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_nuclei(
        snakemake.input.patches,
        snakemake.input.h5ad,
        snakemake.output[0],
        **snakemake.params.settings,
    )
