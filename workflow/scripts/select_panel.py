"""Choose the predicted genes of a fold and list its training sections."""

from histobench.expression.panels import write_panel
from histobench.filelists import files_of, read_lists, write_part
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    lists = snakemake.input.lists
    deciding = files_of(read_lists(lists), snakemake.params.deciding).values()
    write_panel(
        h5ads=[files["h5ad"] for files in deciding],
        qc_tables=[files["qc"] for files in deciding],
        output_panel=snakemake.output.panel,
        output_universe=snakemake.output.genes,
        output_dropped=snakemake.output.dropped,
        output_sections=snakemake.output.sections,
        file=snakemake.input.get("listed"),
        **snakemake.params.settings,
    )
    write_part(lists, snakemake.params.training, snakemake.output.training)
