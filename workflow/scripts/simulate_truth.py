"""Write down the planted genes of a simulated cohort."""

from histobench.cohorts.simulation.simulate import settings_from_options, simulate_truth
from histobench.files import write_table
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_table(simulate_truth(settings_from_options(snakemake.params.settings)), snakemake.output[0])
