"""Fit one method on one fold; all logic is in histobench.training.run."""

from histobench.filelists import files_of, read_lists
from histobench.paths import universe
from histobench.runtime import job_log
from histobench.training.run import train

with job_log(snakemake.log[0]):
    settings = dict(snakemake.params.settings)
    lists = [snakemake.input.training, *snakemake.input.get("images", [])]
    further = ("photos", "start_weights", "weights_file", "encoder_file")
    train(
        sections=files_of(read_lists(lists), settings["roles"]),
        **{name: snakemake.input.get(name) for name in further},
        panel_tsv=snakemake.input.panel,
        genes_tsv=universe(snakemake.input.panel),
        device=snakemake.config["device"],
        terms=snakemake.config["weights_terms"],
        **{f"output_{kind}": file for kind, file in snakemake.output.items()},
        **settings,
    )
