"""Cut the patches of a section; all logic is in histobench.imaging.patches."""

from histobench.imaging.patches import write_patches
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_patches(
        snakemake.input.image,
        snakemake.input.h5ad,
        snakemake.output.patches,
        snakemake.output.index,
        stain_json=snakemake.input.get("stain"),
        reference_json=snakemake.input.get("reference"),
        scale_json=snakemake.input.get("scale"),
        **snakemake.params.settings,
    )
