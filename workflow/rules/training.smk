"""Training and prediction, the same rules for every method; a model sees the tested sections in another job.

Rules that make a file of every fold are written once for each experiment, NAME_of_EXPERIMENT: folds have to be known
when a rule is read.
"""


rule train_method:
    """Fit one method on the training sections of one fold."""
    input:
        # lists of images; counts and kept spots of the training sections are in the list of the fold
        unpack(of(training.training_input)),
        training=paths.TRAINING,
        # a gate, not data: an audit that ran again and passed changes nothing about a model
        audit=ancient(paths.AUDIT),
        panel=paths.PANEL,
    output:
        # which weights stay, `keep` says (engine.smk); checksums and a card lie beside them, undeclared, as a plan takes time
        # for every file, and stay: they tell whether weights that come back are the same
        weights=paths.WEIGHTS,
        history=paths.HISTORY,
        run=paths.RUN_RECORD,
    log:
        paths.log("train_method/{experiment}/{method}/{fold}"),
    benchmark:
        paths.benchmark("train_method/{experiment}/{method}/{fold}")
    wildcard_constraints:
        experiment=among(PLAN.experiments),
        method=among(training.slow_runs(PLAN)),
    priority: of(training.turn)
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


# A fold of a control takes less time than the start of its job, so all of them are trained in one.
for each in training.experiments_with_quick_runs(PLAN):

    rule:
        name:
            f"train_quick_of_{each.rule_name}"
        input:
            unpack(of(training.quick_training_input)),
            training=training.of_every_fold(each, paths.TRAINING),
            audit=ancient(paths.AUDIT),
            panel=training.of_every_fold(each, paths.PANEL),
        output:
            weights=training.of_every_fold(each, paths.WEIGHTS),
            history=training.of_every_fold(each, paths.HISTORY),
            run=training.of_every_fold(each, paths.RUN_RECORD),
        log:
            paths.log("train_quick/{experiment}/{method}"),
        benchmark:
            paths.benchmark("train_quick/{experiment}/{method}")
        wildcard_constraints:
            experiment=among([each.name]),
            method=among(training.quick_runs(PLAN)),
        priority: of(training.turn)
        # on a cluster, several methods share a submission
        group:
            quick_or()
        conda:
            "../../envs/torch.yaml"
        threads: of(training.method_threads)
        resources:
            mem_mb=growing(training.method_memory),
            runtime=growing(training.quick_minutes),
            gpu=of(training.method_gpu),
        params:
            settings=of(training.quick_training_settings),
            code=code_of("train_quick", training.method_modules),
        message:
            "Train {method_title:{wildcards.experiment} {wildcards.method} } on every fold of {wildcards.experiment}"
        script:
            "../scripts/train_quick.py"


# Heads on the features of one encoder take seconds, too: all of them, on every fold, are one job.
for each in PLAN.experiments.values():
    for heads in training.heads_together(PLAN, each.name):

        rule:
            name:
                f"train_heads_of_{each.rule_name}{heads.label}"
            input:
                unpack(of(training.head_training_input)),
                training=training.of_every_fold(each, paths.TRAINING),
                audit=ancient(paths.AUDIT),
                panel=training.of_every_fold(each, paths.PANEL),
            output:
                weights=heads.of_each(training.of_every_fold(each, paths.WEIGHTS)),
                run=heads.of_each(training.of_every_fold(each, paths.RUN_RECORD)),
            log:
                paths.log("train_heads/{experiment}/{encoder}"),
            benchmark:
                paths.benchmark("train_heads/{experiment}/{encoder}")
            wildcard_constraints:
                experiment=among([each.name]),
                encoder=among(heads.encoders),
            priority: of(training.head_turn)
            group:
                group_of("heads")
            conda:
                "../../envs/torch.yaml"
            threads: of(training.head_threads)
            resources:
                mem_mb=growing(training.head_memory),
                runtime=growing(training.head_minutes),
            params:
                settings=of(training.head_training_settings),
                code=code_of("train_heads", training.head_modules),
            message:
                "Train every head on {wildcards.encoder} on every fold of {wildcards.experiment}"
            script:
                "../scripts/train_heads.py"


for each in PLAN.tested.values():

    rule:
        name:
            f"predict_folds_of_{each.rule_name}"
        input:
            unpack(of(training.prediction_input)),
        output:
            # folders, because their files are named by the sections of a fold, which are no wildcards here
            directory(training.of_tested_folds(each, paths.PREDICTIONS)),
        log:
            paths.log("predict_folds/{experiment}/{method}"),
        wildcard_constraints:
            **training.only_alone(PLAN, each),
            experiment=among([each.name]),
        priority: training.AT_ONCE
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
            code=code_of("predict_folds", training.method_modules),
        message:
            "Predict every fold of {wildcards.experiment} by {method_title:{wildcards.experiment} {wildcards.method} }"
        script:
            "../scripts/predict_folds.py"


for each in PLAN.tested.values():
    for heads in training.heads_together(PLAN, each.name):

        rule:
            name:
                f"predict_heads_of_{each.rule_name}{heads.label}"
            input:
                unpack(of(training.head_prediction_input)),
            output:
                directory(
                    heads.of_each(training.of_tested_folds(each, paths.PREDICTIONS))
                ),
            log:
                paths.log("predict_heads/{experiment}/{encoder}"),
            wildcard_constraints:
                experiment=among([each.name]),
                encoder=among(heads.encoders),
            priority: training.AT_ONCE
            group:
                group_of("heads")
            conda:
                "../../envs/torch.yaml"
            threads: of(training.head_threads)
            resources:
                mem_mb=growing(training.head_memory),
                runtime=growing(training.head_minutes),
            params:
                settings=of(training.head_prediction_settings),
                code=code_of("predict_heads", training.head_modules),
            message:
                "Predict every fold of {wildcards.experiment} by every head on {wildcards.encoder}"
            script:
                "../scripts/predict_heads.py"
