"""Compare the encoders of an experiment; all logic is in histobench.evaluation.encoder_tables."""

from histobench.evaluation.encoder_tables import write_encoder_tables
from histobench.evaluation.gather import files_in
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_encoder_tables(
        metrics=files_in(snakemake.input.metrics),
        ceilings=snakemake.input.ceilings,
        costs=snakemake.input.costs,
        output_encoders=snakemake.output.encoders,
        output_scores=snakemake.output.scores,
        **snakemake.params.settings,
    )
