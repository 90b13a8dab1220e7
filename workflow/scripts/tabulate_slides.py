"""Compare methods on a cohort of slides; all logic is in histobench.slides.slide_tables."""

from histobench.evaluation.gather import by_folder
from histobench.runtime import job_log
from histobench.slides.slide_tables import write_slide_tables

with job_log(snakemake.log[0]):
    kinds = ("genes", "subtypes", "colocation")
    write_slide_tables(
        **{kind: {m: file for m, (file,) in by_folder(snakemake.input[kind]).items()} for kind in kinds},
        **{f"output_{name}": path for name, path in snakemake.output.items()},
        name=snakemake.wildcards.experiment,
    )
