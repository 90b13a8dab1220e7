"""From predictions to tables."""


rule score_method:
    """Compute every metric of one method on the tested sections of every fold, and clusters of their spots."""
    input:
        predicted_folds,
    output:
        # folders with a table per fold, together because a fold takes less time than starting a job
        metrics=directory("results/{experiment}/metrics/{method}"),
        spots=directory("results/{experiment}/spots/{method}"),
    log:
        "results/logs/score_method/{experiment}/{method}.log",
    group:
        method_group("scores")
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=growing(3000),
        runtime=growing(30),
    params:
        settings=lambda wildcards: experiment_of(wildcards)["statistics"],
        code=code_hash("scripts/score_method.py"),
    script:
        "../scripts/score_method.py"


rule estimate_ceiling:
    """Estimate the best reachable score of each gene by thinning the counts of the tested sections."""
    input:
        unpack(ceiling_input),
        panel="results/{experiment}/panels/{fold}.tsv",
        genes=lambda wildcards: f"results/{trained_by(wildcards.experiment)}/panels/{wildcards.fold}.universe.tsv",
    output:
        "results/{experiment}/ceiling/{fold}.parquet",
    log:
        "results/logs/estimate_ceiling/{experiment}/{fold}.log",
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        settings=ceiling_settings,
        code=code_hash("scripts/estimate_ceiling.py"),
    script:
        "../scripts/estimate_ceiling.py"


rule tabulate_results:
    """Average, test and compare: all result tables of an experiment."""
    input:
        unpack(table_input),
    output:
        expand("results/{{experiment}}/tables/{name}.tsv", name=TABLES),
        spots="results/{experiment}/tables/spots.parquet",
    log:
        "results/logs/tabulate_results/{experiment}.log",
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
    params:
        settings=table_settings,
        code=code_hash("scripts/tabulate_results.py"),
    script:
        "../scripts/tabulate_results.py"


rule compare_published:
    """Set what the papers report beside our own numbers, for an experiment that repeats a paper's protocol."""
    input:
        unpack(published_input),
        ledger=shipped("resources/published.tsv"),
        tables=expand("results/{{experiment}}/tables/{name}.tsv", name=PUBLISHED_TABLES),
    output:
        "results/{experiment}/tables/published.tsv",
    log:
        "results/logs/compare_published/{experiment}.log",
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        facts=lambda wildcards: published_facts(BENCH, wildcards.experiment),
        code=code_hash("scripts/compare_published.py"),
    script:
        "../scripts/compare_published.py"


rule compare_experiments:
    """Set the same methods side by side under two protocols of this run, and on the cohorts that models were tested on."""
    input:
        metrics=contrast_metrics(),
        boards=list(transfer_boards().values()),
    output:
        contrasts="results/report/contrasts.tsv",
        transfer="results/report/transfer.tsv",
    log:
        "results/logs/compare_experiments.log",
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        settings={
            "boards": transfer_boards(),
            "pairs": contrasts(),
            "tested": transfers(),
        },
        code=code_hash("scripts/compare_experiments.py"),
    script:
        "../scripts/compare_experiments.py"


rule tables:
    """The result tables of every experiment, and those across experiments."""
    input:
        [file for name in TESTED for file in table_files(name)],
        "results/report/contrasts.tsv",
        "results/report/transfer.tsv",
