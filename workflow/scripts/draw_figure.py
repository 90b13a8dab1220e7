"""Draw one figure; all logic is in histobench.figures."""

from histobench.figures.draw import draw
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    draw(
        snakemake.wildcards.figure,
        dict(snakemake.input.items()),
        snakemake.params.settings,
        svg=snakemake.output.svg,
        png=snakemake.output.png,
        tsv=snakemake.output.table,
        caption=snakemake.output.caption,
    )
