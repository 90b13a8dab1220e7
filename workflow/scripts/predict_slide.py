"""Predict a slide of the user's own; all logic is in histobench.slides.newslide."""

from pathlib import Path

from histobench.runtime import job_log
from histobench.slides.newslide import write_slide_prediction

with job_log(snakemake.log[0]):
    write_slide_prediction(
        Path(snakemake.input.weights).parent,
        snakemake.input.image,
        snakemake.output.h5ad,
        snakemake.output.preview,
        device=snakemake.config["device"],
        **snakemake.params.settings,
    )
