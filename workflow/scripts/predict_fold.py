"""Predict the tested sections of one fold; all logic is in histobench.training.run."""

from pathlib import Path

from histobench.runtime import job_log
from histobench.training.run import predict, section_files

with job_log(snakemake.log[0]):
    settings = dict(snakemake.params.settings)
    predict(
        sections=section_files(snakemake.input, settings.pop("sections")),
        panel_tsv=snakemake.input.panel,
        genes_tsv=snakemake.input.genes,
        device=snakemake.config["device"],
        model_folder=Path(snakemake.input.weights).parent,
        output_folder=snakemake.output[0],
        measured_tsv=snakemake.input.get("measured"),
        scale_json=snakemake.input.get("scale"),
        **settings,
    )
