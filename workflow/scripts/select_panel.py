"""Choose the predicted genes of a fold and list its training sections."""

from histobench.expression.panels import write_panel
from histobench.runtime import job_log
from histobench.splits.training import write_training_list

with job_log(snakemake.log[0]):
    write_panel(
        h5ads=snakemake.input.h5ad,
        qc_tables=snakemake.input.qc,
        output_panel=snakemake.output.panel,
        output_universe=snakemake.output.genes,
        output_dropped=snakemake.output.dropped,
        output_sections=snakemake.output.sections,
        file=snakemake.input.get("listed"),
        **snakemake.params.settings,
    )
    counts = (snakemake.input.h5ad, snakemake.input.qc)
    write_training_list(snakemake.params.training, *counts, snakemake.output.training)
