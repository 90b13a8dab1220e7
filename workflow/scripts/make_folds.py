"""Write down the folds; all logic is in histobench.splits.folds."""

from histobench.runtime import job_log
from histobench.splits.folds import make_folds, write_folds

with job_log(snakemake.log[0]):
    settings = snakemake.params.settings
    folds = make_folds(settings["patients"], seed=settings["seed"], **settings["folds"])
    write_folds(folds, settings["patients"], settings["cohort"], snakemake.output[0])
