"""Compare methods on a cohort of slides; all logic is in histobench.evaluation.slide_tables."""

from histobench.evaluation.gather import by_folder
from histobench.evaluation.slide_tables import write_slide_tables
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    kinds = ("genes", "subtypes", "colocation")
    write_slide_tables(
        **{kind: {m: file for m, (file,) in by_folder(snakemake.input[kind]).items()} for kind in kinds},
        **{f"output_{name}": path for name, path in snakemake.output.items()},
        name=snakemake.wildcards.experiment,
    )
