"""Cut photographs into tiles; all logic is in histobench.cohorts.readers.photos."""

from histobench.cohorts.readers.photos import write_photo_tiles
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_photo_tiles(
        snakemake.input[0],
        snakemake.output.tiles,
        snakemake.output.index,
        **snakemake.params.settings,
    )
