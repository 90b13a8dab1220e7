"""Write down the scale of the training sections; all logic is in histobench.training.external."""

from histobench.runtime import job_log
from histobench.training.external import write_training_scale

with job_log(snakemake.log[0]):
    write_training_scale(snakemake.input[0], snakemake.params.sections, snakemake.output[0])
