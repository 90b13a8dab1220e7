"""From predictions to tables."""


rule score_method:
    """Compute every metric of one method on the tested sections of every fold, and clusters of their spots."""
    input:
        of(tables.predicted_folds),
    output:
        # folders with a table per fold, together because a fold takes less time than starting a job
        metrics=directory(paths.METRICS),
        spots=directory(paths.SPOTS),
    log:
        paths.log("score_method/{experiment}/{method}"),
    group:
        quick_or("scores")
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=growing(3000),
        runtime=growing(30),
    params:
        settings=of(tables.score_settings),
        code=code_of("score_method"),
    message:
        "Score {method_title:{wildcards.experiment} {wildcards.method} } in {wildcards.experiment}"
    script:
        "../scripts/score_method.py"


for each in PLAN.tested.values():

    rule:
        name:
            f"estimate_ceilings_of_{each.rule_name}"
        input:
            unpack(of(tables.ceiling_input)),
            panel=training.of_tested_folds(each, paths.PANEL),
        output:
            training.of_tested_folds(each, paths.CEILING),
        log:
            paths.log("estimate_ceilings/{experiment}"),
        wildcard_constraints:
            experiment=among([each.name]),
        conda:
            "../../envs/data.yaml"
        resources:
            mem_mb=growing(4000),
            runtime=growing(60 + 10 * len(each.folds)),
        params:
            settings=of(tables.ceiling_settings),
            code=code_of("estimate_ceilings"),
        message:
            "Estimate the best reachable scores of {wildcards.experiment} by thinning the counts of its tested sections"
        script:
            "../scripts/estimate_ceilings.py"


rule tabulate_results:
    """Average, test and compare: all result tables of an experiment."""
    input:
        unpack(of(tables.table_input)),
    output:
        expand(paths.TABLE, table=tables.TABLES, allow_missing=True),
        spots=paths.SPOT_TABLE,
        records=paths.RECORDS,
        every_gene=paths.EVERY_GENE,
    log:
        paths.log("tabulate_results/{experiment}"),
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
    params:
        settings=of(tables.table_settings),
        code=code_of("tabulate_results"),
    message:
        "Tabulate the results of {wildcards.experiment}"
    script:
        "../scripts/tabulate_results.py"


rule tabulate_encoders:
    """Say what the compared encoders are, which could not be had, and how they score in several ways."""
    input:
        unpack(of(tables.encoder_table_input)),
    output:
        encoders=paths.fixed(paths.TABLE, table="encoders"),
        scores=paths.fixed(paths.TABLE, table="encoder_scores"),
    log:
        paths.log("tabulate_encoders/{experiment}"),
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        settings=of(tables.encoder_table_settings),
        code=code_of("tabulate_encoders"),
    message:
        "Compare the encoders of {wildcards.experiment}"
    script:
        "../scripts/tabulate_encoders.py"


rule compare_published:
    """Set what the papers report beside our own numbers, for an experiment that repeats a paper's protocol."""
    input:
        unpack(of(tables.published_input)),
        ledger=PLAN.shipped("resources/published.tsv"),
        tables=expand(paths.TABLE, table=PUBLISHED_TABLES, allow_missing=True),
    output:
        paths.fixed(paths.TABLE, table="published"),
    log:
        paths.log("compare_published/{experiment}"),
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        facts=of(tables.ledger_facts),
        code=code_of("compare_published"),
    message:
        "Set published numbers beside those of {wildcards.experiment}"
    script:
        "../scripts/compare_published.py"


rule compare_experiments:
    """Set the same methods side by side under two protocols of this run, and on the cohorts that models were tested on."""
    input:
        metrics=across.contrast_metrics(PLAN),
        boards=list(across.transfer_boards(PLAN).values()),
    output:
        contrasts=paths.CONTRASTS,
        transfer=paths.TRANSFER,
    log:
        paths.log("compare_experiments"),
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        settings=across.comparison_settings(PLAN),
        code=code_of("compare_experiments"),
    message:
        "Compare the experiments with each other"
    script:
        "../scripts/compare_experiments.py"


rule tables:
    """The result tables of every experiment, and those across experiments."""
    input:
        tables.every_table(PLAN),
        paths.CONTRASTS,
        paths.TRANSFER,
    message:
        "Have every table"
