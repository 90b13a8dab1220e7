"""Draw one section of a simulated cohort; all logic is in histobench.cohorts.simulation.simulate."""

from histobench.cohorts.simulation.simulate import settings_from_options, simulate_section
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    simulate_section(
        settings_from_options(snakemake.params.settings),
        snakemake.wildcards.section,
        image_path=snakemake.output.image,
        counts_path=snakemake.output.counts,
        spots_path=snakemake.output.spots,
        labels_path=snakemake.output.labels,
    )
