"""Set published numbers beside those of an experiment; all logic is in histobench.evaluation.published."""

from histobench.evaluation.published import write_published
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_published(
        ledger_tsv=snakemake.input.ledger,
        tables=snakemake.input.tables,
        metrics=snakemake.input.metrics,
        histories=snakemake.input.histories,
        output=snakemake.output[0],
        facts=snakemake.params.facts,
    )
