"""Apply a QC profile to a section; all logic is in histobench.expression.qc."""

from histobench.expression.qc import write_section_qc
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_section_qc(
        snakemake.wildcards.profile,
        snakemake.params.limits,
        snakemake.input.h5ad,
        snakemake.output[0],
        patch_index=snakemake.input.get("index"),
    )
