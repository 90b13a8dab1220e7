"""Write down the planted genes of a simulated cohort."""

from histobench.cohorts.simulate import SimulationSettings, simulate_truth
from histobench.files import write_table
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_table(simulate_truth(SimulationSettings(**snakemake.params.settings)), snakemake.output[0])
