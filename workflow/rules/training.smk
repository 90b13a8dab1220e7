"""Training and prediction, the same two rules for every method."""


rule train_method:
    """Fit one method on the training sections of one fold."""
    input:
        # images; counts and kept spots of the same sections are in the list of the fold
        unpack(of(training.training_input)),
        training=paths.TRAINING,
        # a gate, not data: an audit that ran again and passed changes nothing about a model
        audit=ancient(paths.AUDIT),
        panel=paths.PANEL,
        genes=paths.PANEL_UNIVERSE,
    output:
        weights=paths.WEIGHTS,
        checksum=paths.WEIGHTS_CHECKSUM,
        history=paths.HISTORY,
        run=paths.RUN_RECORD,
        run_checksum=paths.RUN_CHECKSUM,
        card=paths.CARD,
    log:
        paths.log("train_method/{experiment}/{method}/{fold}"),
    benchmark:
        paths.benchmark("train_method/{experiment}/{method}/{fold}")
    wildcard_constraints:
        experiment=among(PLAN.experiments),
    # controls take seconds: on a cluster, those of many folds share a job
    group:
        quick_or()
    conda:
        "../../envs/torch.yaml"
    threads: of(training.method_threads)
    resources:
        mem_mb=growing(training.method_memory),
        runtime=growing(training.method_minutes),
        gpu=of(training.method_gpu),
    params:
        settings=of(training.method_settings),
        code=code_of("train_method", training.method_modules),
    message:
        "Train {method_title:{wildcards.experiment} {wildcards.method} } on fold {wildcards.fold} of {wildcards.experiment}"
    script:
        "../scripts/train_method.py"


rule predict_fold:
    """Predict the tested sections of one fold; the method does not see their truth."""
    input:
        unpack(of(training.prediction_input)),
    output:
        # a folder, because its files are named by the sections of the fold, which are no wildcards here
        directory(paths.PREDICTIONS),
    log:
        paths.log("predict_fold/{experiment}/{method}/{fold}"),
    # controls take seconds: on a cluster, those of many folds share a job
    group:
        quick_or()
    conda:
        "../../envs/torch.yaml"
    threads: of(training.method_threads)
    resources:
        mem_mb=growing(training.method_memory),
        runtime=growing(training.method_minutes),
        gpu=of(training.method_gpu),
    params:
        settings=of(training.prediction_settings),
        code=code_of("predict_fold", training.method_modules),
    message:
        "Predict fold {wildcards.fold} of {wildcards.experiment} by {method_title:{wildcards.experiment} {wildcards.method} }"
    script:
        "../scripts/predict_fold.py"
