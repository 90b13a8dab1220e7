"""Write down the scale of the training sections; all logic is in histobench.methods.external."""

from histobench.methods.external import write_training_scale
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_training_scale(snakemake.input[0], snakemake.params.sections, snakemake.output[0])
