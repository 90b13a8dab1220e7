"""Set the experiments of a run side by side; all logic is in histobench.evaluation.across."""

from histobench.evaluation.across import write_comparisons
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_comparisons(
        metrics=snakemake.input.metrics,
        contrasts_tsv=snakemake.output.contrasts,
        transfer_tsv=snakemake.output.transfer,
        **snakemake.params.settings,
    )
