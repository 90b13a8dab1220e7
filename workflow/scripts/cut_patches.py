"""Cut the patches of sections; all logic is in histobench.imaging.patches."""

from histobench.imaging.patches import write_section_patches
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    write_section_patches(
        sections=snakemake.params.sections,
        images=snakemake.input.images,
        h5ads=snakemake.input.h5ads,
        stains=snakemake.input.get("stains"),
        reference=snakemake.input.get("reference"),
        scale_json=snakemake.input.get("scale"),
        output_patches=snakemake.output.patches,
        output_indexes=snakemake.output.index,
        output_list=snakemake.output.get("list"),
        processes=snakemake.threads,
        **snakemake.params.settings,
    )
