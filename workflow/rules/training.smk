"""Training and prediction, the same two rules for every method."""


rule train_method:
    """Fit one method on the training sections of one fold."""
    input:
        # images; counts and kept spots of the same sections are in the list of the fold
        unpack(training_input),
        training="results/{experiment}/panels/{fold}.training.tsv",
        # a gate, not data: an audit that ran again and passed changes nothing about a model
        audit=ancient("results/{experiment}/audit/leakage.tsv"),
        panel="results/{experiment}/panels/{fold}.tsv",
        genes="results/{experiment}/panels/{fold}.universe.tsv",
    output:
        weights="results/{experiment}/models/{method}/{fold}/weights.pt",
        checksum="results/{experiment}/models/{method}/{fold}/weights.pt.sha256",
        history="results/{experiment}/models/{method}/{fold}/history.tsv",
        run="results/{experiment}/models/{method}/{fold}/run.json",
        run_checksum="results/{experiment}/models/{method}/{fold}/run.json.sha256",
    log:
        "results/logs/train_method/{experiment}/{method}/{fold}.log",
    benchmark:
        "results/benchmarks/train_method/{experiment}/{method}/{fold}.jsonl"
    wildcard_constraints:
        experiment="|".join(BENCH.experiments),
    # controls take seconds: on a cluster, those of many folds share a job
    group:
        method_group()
    conda:
        "../../envs/torch.yaml"
    threads: method_threads
    resources:
        mem_mb=method_memory,
        runtime=method_runtime,
        gpu=method_gpu,
    params:
        settings=method_settings,
        code=method_code("train_method"),
    script:
        "../scripts/train_method.py"


rule predict_fold:
    """Predict the tested sections of one fold; the method does not see their truth."""
    input:
        unpack(prediction_input),
    output:
        # a folder, because its files are named by the sections of the fold, which are no wildcards here
        directory("results/{experiment}/predictions/{method}/{fold}"),
    log:
        "results/logs/predict_fold/{experiment}/{method}/{fold}.log",
    # controls take seconds: on a cluster, those of many folds share a job
    group:
        method_group()
    conda:
        "../../envs/torch.yaml"
    threads: method_threads
    resources:
        mem_mb=method_memory,
        runtime=method_runtime,
        gpu=method_gpu,
    params:
        settings=prediction_settings,
        code=method_code("predict_fold"),
    script:
        "../scripts/predict_fold.py"
