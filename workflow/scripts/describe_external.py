"""Write down how another cohort is predicted; all logic is in histobench.training.external."""

from histobench.runtime import job_log
from histobench.training.external import write_external_summary

with job_log(snakemake.log[0]):
    write_external_summary(
        panel_tsv=snakemake.input.panel,
        dropped_tsv=snakemake.input.dropped,
        sections_tsv=snakemake.input.sections,
        scale_json=snakemake.input.get("scale"),
        output_tsv=snakemake.output[0],
        **snakemake.params.settings,
    )
