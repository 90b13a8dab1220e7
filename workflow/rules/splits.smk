"""Who is trained on and who is tested, on which genes, and whether anything leaks."""


rule make_folds:
    """Write down the role of every section in every fold."""
    output:
        "results/{experiment}/folds.tsv",
    log:
        "results/logs/make_folds/{experiment}.log",
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        settings=fold_settings,
        code=code_hash("scripts/make_folds.py"),
    script:
        "../scripts/make_folds.py"


rule select_panel:
    """Choose the predicted genes of a fold on its training sections, and list those."""
    input:
        unpack(panel_input),
    output:
        panel="results/{experiment}/panels/{fold}.tsv",
        genes="results/{experiment}/panels/{fold}.universe.tsv",
        dropped="results/{experiment}/panels/{fold}.dropped.tsv",
        sections="results/{experiment}/panels/{fold}.sections.tsv",
        training="results/{experiment}/panels/{fold}.training.tsv",
    log:
        "results/logs/select_panel/{experiment}/{fold}.log",
    wildcard_constraints:
        experiment="|".join(BENCH.experiments),
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=growing(6000),
        runtime=growing(30),
    params:
        settings=panel_settings,
        training=lambda wildcards: fold_sections(wildcards, "train", "valid"),
        code=code_hash("scripts/select_panel.py"),
    script:
        "../scripts/select_panel.py"


rule audit_plan:
    """Check the folds and what the configuration says for leaks, before anything is downloaded or read."""
    input:
        folds="results/{experiment}/folds.tsv",
    output:
        "results/{experiment}/audit/plan.tsv",
    log:
        "results/logs/audit_plan/{experiment}.log",
    priority: 100
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        settings=audit_settings,
        code=code_hash("scripts/audit_leakage.py"),
    script:
        "../scripts/audit_leakage.py"


rule compare_cohorts:
    """Find sections that two cohorts, or one under two names, share, by their spots and counts."""
    input:
        unpack(twin_input),
    output:
        "results/data/{cohort}/same_sections/{other}.tsv",
    log:
        "results/logs/compare_cohorts/{cohort}/{other}.log",
    wildcard_constraints:
        other="|".join(BENCH.cohorts),
    conda:
        "../../envs/data.yaml"
    params:
        code=code_hash("scripts/compare_cohorts.py"),
    script:
        "../scripts/compare_cohorts.py"


rule audit_leakage:
    """Check that nothing of a tested patient reaches training, under any name; a leak stops the run."""
    input:
        unpack(audit_input),
        folds="results/{experiment}/folds.tsv",
        # a gate: it fails first where the configuration alone shows a leak
        plan="results/{experiment}/audit/plan.tsv",
    output:
        "results/{experiment}/audit/leakage.tsv",
    log:
        "results/logs/audit_leakage/{experiment}.log",
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        compared=lambda wildcards: [
            experiment_of(wildcards)["cohort"],
            *other_cohorts(experiment_of(wildcards)),
        ],
        folds=lambda wildcards: [
            fold.name for fold in trained_folds(experiment_of(wildcards))
        ],
        settings=audit_settings,
        code=code_hash("scripts/audit_leakage.py"),
    script:
        "../scripts/audit_leakage.py"
