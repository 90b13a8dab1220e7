"""Tables of an experiment or branch, and what they are computed from. No rules here."""


def all_results(name, wildcards):
    """One path for every method folder and fold of an experiment."""
    return expand(
        name,
        experiment=wildcards.experiment,
        method=list(BENCH.arms(wildcards.experiment)),
        fold=list(experiment_of(wildcards)["folds"]["made"]),
    )


def truth_table(wildcards):
    """The planted truth of a simulated cohort; nothing for real ones."""
    cohort = experiment_of(wildcards)["cohort"]
    return (
        [f"results/data/{cohort}/raw/truth.tsv"]
        if cohort in simulated_cohorts()
        else []
    )


def ceiling_input(wildcards):
    return section_counts(wildcards, fold_sections(wildcards, "test"))


def ceiling_settings(wildcards):
    experiment = experiment_of(wildcards)
    return {"seed": min(experiment["seeds"]), "transform": experiment["transform"]}


TABLES = [
    "leaderboard",
    "metrics",
    "ranks",
    "variance",
    "genes",
    "patients",
    "sections",
    "comparisons",
    "consistency",
    "consistency_summary",
    "consistency_curve",
    "power",
    "tumour",
    "tumour_curves",
    "tumour_genes",
    "informative_genes",
    "colocation",
    "domains",
    "confusion",
    "latent_neighbours",
    "planted",
    "planted_genes",
    "failures",
]


# Of a cohort of slides; its branches have none of the others.
SLIDE_TABLES = ["pseudobulk", "subtypes", "slide_colocation"]


def table_files(name):
    """Tables of an experiment or branch; those of a paper's protocol have its numbers beside ours."""
    repeats = BENCH.described(name)["mode"] == "paper"
    return expand(
        "results/{experiment}/tables/{table}.tsv",
        experiment=name,
        table=[*TABLES, *(["published"] if repeats else [])],
    )


def published_facts(wildcards):
    """What decides whether a published number can be compared with one of this experiment."""
    experiment = experiment_of(wildcards)
    tested = [
        section
        for fold in experiment["folds"]["made"].values()
        for section in fold.test
    ]
    cohort = experiment["cohort"]
    return {
        "cohorts": sorted({cohort, BENCH.cohorts[cohort]["source"]}),
        "folds": experiment["folds"]["scheme"],
        "methods": list(experiment["methods"]),
        "n_patients": len(set(patients_of(experiment, tested).values())),
        "transform": experiment["transform"],
    }


def predicted_folds(wildcards):
    return expand(
        "results/{experiment}/predictions/{method}/{fold}",
        experiment=wildcards.experiment,
        method=wildcards.method,
        fold=list(experiment_of(wildcards)["folds"]["made"]),
    )


def table_input(wildcards):
    scored = {
        kind: expand(
            "results/{experiment}/{kind}/{method}",
            experiment=wildcards.experiment,
            kind=kind,
            method=list(BENCH.arms(wildcards.experiment)),
        )
        for kind in ("metrics", "spots")
    }
    return {
        **scored,
        "runs": experiment_runs(wildcards.experiment),
        "ceilings": expand(
            "results/{experiment}/ceiling/{fold}.parquet",
            experiment=wildcards.experiment,
            fold=list(experiment_of(wildcards)["folds"]["made"]),
        ),
        "truth": truth_table(wildcards),
    }


def table_settings(wildcards):
    experiment = experiment_of(wildcards)
    return {
        "experiment": wildcards.experiment,
        "families": {
            arm: method["family"] for arm, method in experiment["methods"].items()
        },
        "folds": list(experiment["folds"]["made"]),
        "transform": experiment["transform"],
    }
