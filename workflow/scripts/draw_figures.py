"""Draw the figures of a family; all logic is in histobench.figures."""

from histobench.figures.draw import draw_all
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    draw_all(
        dict(snakemake.input.items()),
        snakemake.params.settings,
        svg=snakemake.output.svg,
        png=snakemake.output.png,
        tsv=snakemake.output.tsv,
        caption=snakemake.output.caption,
    )
