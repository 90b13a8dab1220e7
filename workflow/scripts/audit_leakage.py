"""Check an experiment for leaks; all logic is in histobench.splits.audit."""

from histobench.runtime import job_log
from histobench.splits.audit import write_audit

with job_log(snakemake.log[0]):
    write_audit(folds_tsv=snakemake.input.folds, output=snakemake.output[0], **snakemake.params.settings)
