"""Who is trained on and who is tested, on which genes, and whether anything leaks."""


rule make_folds:
    """Write down the role of every section in every fold."""
    output:
        paths.FOLDS,
    log:
        paths.log("make_folds/{experiment}"),
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        settings=of(training.fold_settings),
        code=code_of("make_folds"),
    message:
        "Divide the sections of {wildcards.experiment} into folds"
    script:
        "../scripts/make_folds.py"


rule select_panel:
    """Choose the predicted genes of a fold on its training sections, and list those."""
    input:
        unpack(of(training.panel_input)),
    output:
        panel=paths.PANEL,
        genes=paths.PANEL_UNIVERSE,
        dropped=paths.PANEL_DROPPED,
        sections=paths.PANEL_SECTIONS,
        training=paths.TRAINING,
    log:
        paths.log("select_panel/{experiment}/{fold}"),
    wildcard_constraints:
        experiment=among(PLAN.experiments),
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=growing(6000),
        runtime=growing(30),
    params:
        settings=of(training.panel_settings),
        deciding=of(training.panel_sections),
        training=of(training.training_sections),
        code=code_of("select_panel"),
    message:
        "Choose the genes of fold {wildcards.fold} of {wildcards.experiment}"
    script:
        "../scripts/select_panel.py"


rule audit_plan:
    """Check the folds and what the configuration says for leaks, before anything is downloaded or read."""
    input:
        folds=paths.FOLDS,
    output:
        paths.AUDIT_PLAN,
    log:
        paths.log("audit_plan/{experiment}"),
    priority: 100
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        settings=of(training.audit_settings),
        code=code_of("audit_leakage"),
    message:
        "Check the plan of {wildcards.experiment} for leaks"
    script:
        "../scripts/audit_leakage.py"


rule compare_cohorts:
    """Find sections that two cohorts, or one under two names, share, by their spots and counts."""
    input:
        unpack(of(data.twin_input)),
    output:
        paths.SAME_SECTIONS,
    log:
        paths.log("compare_cohorts/{cohort}/{other}"),
    wildcard_constraints:
        other=among(PLAN.cohorts),
    conda:
        "../../envs/data.yaml"
    params:
        code=code_of("compare_cohorts"),
    message:
        "Look for sections that {wildcards.cohort} and {wildcards.other} share"
    script:
        "../scripts/compare_cohorts.py"


rule audit_leakage:
    """Check that nothing of a tested patient reaches training, under any name; a leak stops the run."""
    input:
        unpack(of(training.audit_input)),
        folds=paths.FOLDS,
        # a gate: it fails first where the configuration alone shows a leak
        plan=paths.AUDIT_PLAN,
    output:
        paths.AUDIT,
    log:
        paths.log("audit_leakage/{experiment}"),
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        compared=of(training.compared_cohorts),
        folds=of(training.audited_folds),
        settings=of(training.audit_settings),
        code=code_of("audit_leakage"),
    message:
        "Check that nothing of a tested patient reaches training in {wildcards.experiment}"
    script:
        "../scripts/audit_leakage.py"
