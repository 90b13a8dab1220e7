"""Fit one method on one fold; all logic is in histobench.training.run."""

from histobench.runtime import job_log
from histobench.training.run import section_files, train

with job_log(snakemake.log[0]):
    settings = dict(snakemake.params.settings)
    further = ("photos", "start_weights", "weights_file", "encoder_file")
    train(
        sections=section_files(snakemake.input, settings["roles"]),
        **{name: snakemake.input.get(name) for name in further},
        panel_tsv=snakemake.input.panel,
        genes_tsv=snakemake.input.genes,
        device=snakemake.config["device"],
        terms=snakemake.config["weights_terms"],
        output_weights=snakemake.output.weights,
        output_history=snakemake.output.history,
        output_run=snakemake.output.run,
        **settings,
    )
