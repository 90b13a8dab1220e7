"""Find sections of two cohorts that are the same measurement; all logic is in histobench.cohorts.identity."""

from histobench.cohorts.identity import write_twins
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_twins(
        h5ads=snakemake.input.h5ads,
        other_h5ads=snakemake.input.get("other_h5ads"),
        output=snakemake.output[0],
    )
