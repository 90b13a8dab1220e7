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
    return {
        "seed": min(experiment["seeds"]),
        "transform": experiment["transform"],
        **experiment["statistics"],
    }


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


@functools.cache
def published_ledger():
    return read_ledger(shipped("resources/published.tsv"))


def published_input(wildcards):
    """Scores of single sections and learning histories of the methods of which the ledger asks for them."""
    experiment = experiment_of(wildcards)
    wanted = asked(published_ledger(), list(experiment["methods"]))
    runs = BENCH.arms(wildcards.experiment)

    def of(kind):
        return [run for run, (arm, _) in runs.items() if arm in wanted[kind]]

    return {
        "metrics": expand(
            "results/{experiment}/metrics/{method}",
            experiment=wildcards.experiment,
            method=of(SECTION_GENES),
        ),
        "histories": expand(
            "results/{experiment}/models/{method}/{fold}/history.tsv",
            experiment=trained_by(wildcards.experiment),
            method=of(HISTORIES),
            fold=list(experiment["folds"]["made"]),
        ),
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
        **experiment["statistics"],
    }
