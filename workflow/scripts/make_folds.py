"""Write down the folds; all logic is in histobench.splits.folds."""

from histobench.runtime import job_log
from histobench.splits.folds import full_fold, make_folds, write_folds

with job_log(snakemake.log[0]):
    settings = snakemake.params.settings
    folds = make_folds(settings["patients"], seed=settings["seed"], **settings["folds"])
    if settings["full"]:
        drawn = {key: settings["folds"][key] for key in ("valid_patients", "held_out")}
        folds.append(full_fold(settings["patients"], seed=settings["seed"], **drawn))
    write_folds(folds, settings["patients"], settings["cohort"], snakemake.output[0])
