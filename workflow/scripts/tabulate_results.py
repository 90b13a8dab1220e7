"""Average, test and compare the methods of an experiment; all logic is in histobench.evaluation.tables."""

from pathlib import Path

from histobench.evaluation.gather import by_folder, files_in
from histobench.evaluation.tables import write_tables
from histobench.runtime import job_log
from histobench.training.record import collect_records

with job_log(snakemake.log[0]):
    write_tables(
        metrics=files_in(snakemake.input.metrics),
        runs=by_folder(snakemake.input.runs, level=1),
        spots=files_in(snakemake.input.spots),
        ceilings=snakemake.input.ceilings,
        every_gene=files_in(snakemake.input.every_gene, level=1),
        truth=next(iter(snakemake.input.truth), None),
        output_folder=Path(snakemake.output[0]).parent,
        **snakemake.params.settings,
    )
    collect_records(snakemake.input.runs, snakemake.output.records)
