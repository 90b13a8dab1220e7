"""Fit one method on one fold; all logic is in histobench.methods.run."""

from histobench.methods.run import section_files, train
from histobench.runtime import job_log
from histobench.splits.training import read_training_list

with job_log(snakemake.log[0]):
    settings = dict(snakemake.params.settings)
    images = section_files(snakemake.input, settings["roles"])
    counts = read_training_list(snakemake.input.training)
    train(
        sections={name: counts[name] | files for name, files in images.items()},
        panel_tsv=snakemake.input.panel,
        genes_tsv=snakemake.input.genes,
        threads=snakemake.threads,
        output_weights=snakemake.output.weights,
        output_history=snakemake.output.history,
        output_run=snakemake.output.run,
        **settings,
    )
