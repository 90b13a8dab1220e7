"""Predict the tiles of a whole-slide image; all logic is in histobench.slides.tiles."""

from pathlib import Path

from histobench.runtime import job_log
from histobench.slides.tiles import predict_tiles

with job_log(snakemake.log[0]):
    predict_tiles(
        Path(snakemake.input.weights).parent,
        snakemake.input.slide,
        snakemake.output[0],
        device=snakemake.config["device"],
        **snakemake.params.settings,
    )
