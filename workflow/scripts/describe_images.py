"""Hash images and estimate their stains; all logic is in histobench.imaging, modules phash and stain."""

from histobench.imaging.phash import write_hashes
from histobench.imaging.stain import write_stains
from histobench.runtime import job_log

with job_log(snakemake.log[0]):
    sections = snakemake.params.sections
    write_hashes(snakemake.input, snakemake.output.hashes, snakemake.params.cohort, sections)
    fits, previews = snakemake.output.json, snakemake.output.preview
    write_stains(snakemake.input, fits, previews, sections, processes=snakemake.threads)
