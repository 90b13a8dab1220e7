"""Check an experiment for leaks; all logic is in histobench.splits.audit."""

from histobench.runtime import job_log
from histobench.splits.audit import write_audit

panels, twins = snakemake.input.get("panels"), snakemake.input.get("twins")

with job_log(snakemake.log[0]):
    write_audit(
        folds_tsv=snakemake.input.folds,
        output=snakemake.output[0],
        panels=panels and dict(zip(snakemake.params.folds, panels, strict=True)),
        images=snakemake.input.get("images"),
        twins=twins and dict(zip(snakemake.params.compared, twins, strict=True)),
        **snakemake.params.settings,
    )
