"""Compare predictions for slides with bulk expression; all logic is in histobench.slides.pseudobulk."""

from histobench.runtime import job_log
from histobench.slides.pseudobulk import write_pseudobulk

with job_log(snakemake.log[0]):
    settings = dict(snakemake.params.settings)
    write_pseudobulk(
        tiles=dict(zip(settings["patients"], snakemake.input.tiles, strict=True)),
        counts=dict(zip(settings.pop("counted"), snakemake.input.counts, strict=True)),
        subtypes_tsv=snakemake.input.get("subtypes"),
        **{f"output_{name}": path for name, path in snakemake.output.items()},
        **settings,
    )
