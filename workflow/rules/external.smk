"""Trained models meet other cohorts; everything else about a branch is done by the rules of an experiment."""


rule training_scale:
    """Write down the scale of the training sections, at which models of native pixels look at other cohorts."""
    input:
        of(external.scale_input),
    output:
        paths.SCALE,
    log:
        paths.log("training_scale/{experiment}"),
    wildcard_constraints:
        experiment=among(PLAN.experiments),
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        sections=of(external.scale_sections),
        code=code_of("training_scale"),
    message:
        "Write down the scale of the training sections of {wildcards.experiment}"
    script:
        "../scripts/training_scale.py"


rule match_panel:
    """Divide the panel of a trained model into genes that the other cohort measures, and genes that it does not."""
    input:
        unpack(of(external.panel_match_input)),
        # a gate: a branch that shares a patient with the training is refused
        audit=lambda wildcards: ancient(of(external.home_audit)(wildcards)),
    output:
        panel=paths.PANEL,
        dropped=paths.PANEL_DROPPED,
    log:
        paths.log("match_panel/{experiment}/{fold}"),
    wildcard_constraints:
        experiment=among(PLAN.branches),
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        cohort=of(external.branch_cohort),
        code=code_of("match_panel"),
    message:
        "Match the genes of {wildcards.experiment} with those that its models predict"
    script:
        "../scripts/match_panel.py"


rule describe_external:
    """Write down how another cohort is predicted: genes that are not measured, scale and stain."""
    input:
        unpack(of(external.external_summary_input)),
    output:
        paths.fixed(paths.TABLE, table="external"),
    log:
        paths.log("describe_external/{experiment}"),
    wildcard_constraints:
        experiment=among(PLAN.branches),
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        settings=of(external.external_summary_settings),
        code=code_of("describe_external"),
    message:
        "Write down how {wildcards.experiment} is predicted"
    script:
        "../scripts/describe_external.py"


rule predict_tiles:
    """Predict every tile of tissue of a whole-slide image with the model of one method."""
    input:
        slide=of(external.slide_image),
        weights=paths.FULL_WEIGHTS,
        run=paths.FULL_RUN_RECORD,
        encoder=of(external.tile_encoder),
        # a gate: a cohort that shares a patient with the training is refused
        audit=ancient(paths.AUDIT),
    output:
        paths.SLIDE_TILES,
    log:
        paths.log("predict_tiles/{experiment}/{cohort}/{method}/{section}"),
    wildcard_constraints:
        experiment=among(PLAN.experiments),
    conda:
        "../../envs/torch.yaml"
    threads: external.SLIDE_THREADS
    resources:
        mem_mb=4000,
        gpu=of(training.method_gpu),
    params:
        settings=of(external.tile_settings),
        code=code_of("predict_tiles", training.method_modules),
    message:
        "Predict slide {wildcards.section} of {wildcards.cohort} by {method_title:{wildcards.experiment} {wildcards.method} } of {wildcards.experiment}"
    script:
        "../scripts/predict_tiles.py"


rule compare_pseudobulk:
    """Compare predictions for slides with bulk expression of the same patients."""
    input:
        unpack(of(external.pseudobulk_input)),
    output:
        genes=paths.fixed(paths.BRANCH_PSEUDOBULK, table="genes"),
        patients=paths.fixed(paths.BRANCH_PSEUDOBULK, table="patients"),
        subtypes=paths.fixed(paths.BRANCH_PSEUDOBULK, table="subtypes"),
        colocation=paths.fixed(paths.BRANCH_PSEUDOBULK, table="colocation"),
    log:
        paths.log("compare_pseudobulk/{experiment}/{cohort}/{method}"),
    wildcard_constraints:
        experiment=among(PLAN.experiments),
    conda:
        "../../envs/data.yaml"
    params:
        settings=of(external.pseudobulk_settings),
        code=code_of("compare_pseudobulk"),
    message:
        "Compare {method_title:{wildcards.experiment} {wildcards.method} } of {wildcards.experiment} with bulk expression of {wildcards.cohort}"
    script:
        "../scripts/compare_pseudobulk.py"


rule tabulate_slides:
    """Set all methods beside each other: bulk expression, subtypes, and whether tumour and immune genes keep apart."""
    input:
        unpack(of(external.slide_table_input)),
    output:
        pseudobulk=paths.fixed(paths.TABLE, table="pseudobulk"),
        subtypes=paths.fixed(paths.TABLE, table="subtypes"),
        colocation=paths.fixed(paths.TABLE, table="slide_colocation"),
    log:
        paths.log("tabulate_slides/{experiment}"),
    wildcard_constraints:
        experiment=among(external.scored_slides(PLAN)),
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        code=code_of("tabulate_slides"),
    message:
        "Tabulate the slides of {wildcards.experiment}"
    script:
        "../scripts/tabulate_slides.py"


rule external:
    """Every table of every external prediction, and maps of slides."""
    input:
        external.every_branch_file(PLAN),
        figures.slide_figures(PLAN),
    message:
        "Have every external prediction"


rule predict_slide:
    """Predict a slide of the user's own with a trained model."""
    input:
        unpack(of(external.own_slide_input)),
    output:
        h5ad=paths.OWN_SLIDE,
        preview=paths.OWN_SLIDE_PREVIEW,
    log:
        paths.log("predict_slide/{slide}"),
    wildcard_constraints:
        slide=among(PLAN.bench.config["slides"]),
    conda:
        "../../envs/torch.yaml"
    threads: external.SLIDE_THREADS
    resources:
        mem_mb=4000,
        gpu=int(PLAN.uses_gpu),
    params:
        settings=of(external.own_slide_settings),
        code=code_of("predict_slide", external.own_slide_modules),
    message:
        "Predict your slide {wildcards.slide}"
    script:
        "../scripts/predict_slide.py"


rule slides:
    """Predictions for every slide of the user's own."""
    input:
        expand(paths.OWN_SLIDE, slide=PLAN.bench.config["slides"]),
    message:
        "Have every slide of your own predicted"
