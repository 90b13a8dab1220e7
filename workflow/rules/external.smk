"""Trained models meet other cohorts; everything else about a branch is done by the rules of an experiment."""


rule training_scale:
    """Write down the scale of the training sections, at which models of native pixels look at other cohorts."""
    input:
        lambda wildcards: f"results/data/{experiment_of(wildcards)['cohort']}/sections.tsv",
    output:
        "results/{experiment}/scale.json",
    log:
        "results/logs/training_scale/{experiment}.log",
    wildcard_constraints:
        experiment="|".join(BENCH.experiments),
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        sections=lambda wildcards: experiment_of(wildcards)["sections"],
        code=code_hash("scripts/training_scale.py"),
    script:
        "../scripts/training_scale.py"


rule match_panel:
    """Divide the panel of a trained model into genes that the other cohort measures, and genes that it does not."""
    input:
        panel=lambda wildcards: f"results/{trained_by(wildcards.experiment)}/panels/{wildcards.fold}.tsv",
        genes=lambda wildcards: f"results/data/{experiment_of(wildcards)['cohort']}/genes.tsv",
        # a gate: a branch that shares a patient with the training is refused
        audit=lambda wildcards: ancient(
            f"results/{trained_by(wildcards.experiment)}/audit/leakage.tsv"
        ),
    output:
        panel="results/{experiment}/panels/{fold}.tsv",
        dropped="results/{experiment}/panels/{fold}.dropped.tsv",
    log:
        "results/logs/match_panel/{experiment}/{fold}.log",
    wildcard_constraints:
        experiment="|".join(BENCH.branches) or "none",
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        cohort=lambda wildcards: experiment_of(wildcards)["cohort"],
        code=code_hash("scripts/match_panel.py"),
    script:
        "../scripts/match_panel.py"


rule describe_external:
    """Write down how another cohort is predicted: genes that are not measured, scale and stain."""
    input:
        unpack(external_summary_input),
    output:
        "results/{experiment}/tables/external.tsv",
    log:
        "results/logs/describe_external/{experiment}.log",
    wildcard_constraints:
        experiment="|".join(BENCH.branches) or "none",
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        settings=external_summary_settings,
        code=code_hash("scripts/describe_external.py"),
    script:
        "../scripts/describe_external.py"


rule predict_tiles:
    """Predict every tile of tissue of a whole-slide image with the model of one method."""
    input:
        slide=lambda wildcards: section_raw(wildcards.cohort, wildcards.section)[
            "slide"
        ],
        weights="results/{experiment}/models/{method}/all/weights.pt",
        checksum="results/{experiment}/models/{method}/all/weights.pt.sha256",
        run="results/{experiment}/models/{method}/all/run.json",
        # a gate: a cohort that shares a patient with the training is refused
        audit=ancient("results/{experiment}/audit/leakage.tsv"),
    output:
        "results/{experiment}/external/{cohort}/tiles/{method}/{section}.parquet",
    log:
        "results/logs/predict_tiles/{experiment}/{cohort}/{method}/{section}.log",
    wildcard_constraints:
        experiment="|".join(BENCH.experiments),
    conda:
        "../../envs/torch.yaml"
    threads: SLIDE_THREADS
    resources:
        mem_mb=4000,
        gpu=method_gpu,
    params:
        settings=tile_settings,
        code=method_code("predict_tiles"),
    script:
        "../scripts/predict_tiles.py"


rule compare_pseudobulk:
    """Compare predictions for slides with bulk expression of the same patients."""
    input:
        unpack(pseudobulk_input),
    output:
        genes="results/{experiment}/external/{cohort}/pseudobulk/{method}/genes.tsv",
        patients="results/{experiment}/external/{cohort}/pseudobulk/{method}/patients.tsv",
        subtypes="results/{experiment}/external/{cohort}/pseudobulk/{method}/subtypes.tsv",
        colocation="results/{experiment}/external/{cohort}/pseudobulk/{method}/colocation.tsv",
    log:
        "results/logs/compare_pseudobulk/{experiment}/{cohort}/{method}.log",
    wildcard_constraints:
        experiment="|".join(BENCH.experiments),
    conda:
        "../../envs/data.yaml"
    params:
        settings=pseudobulk_settings,
        code=code_hash("scripts/compare_pseudobulk.py"),
    script:
        "../scripts/compare_pseudobulk.py"


rule tabulate_slides:
    """Set all methods beside each other: bulk expression, subtypes, and whether tumour and immune genes keep apart."""
    input:
        unpack(slide_table_input),
    output:
        pseudobulk="results/{experiment}/tables/pseudobulk.tsv",
        subtypes="results/{experiment}/tables/subtypes.tsv",
        colocation="results/{experiment}/tables/slide_colocation.tsv",
    log:
        "results/logs/tabulate_slides/{experiment}.log",
    wildcard_constraints:
        experiment="|".join(filter(of_slides, BENCH.branches)) or "none",
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        code=code_hash("scripts/tabulate_slides.py"),
    script:
        "../scripts/tabulate_slides.py"


rule external:
    """Every table of every external prediction, and maps of slides."""
    input:
        [file for name in BENCH.branches for file in branch_files(name)],
        [
            f"results/{name}/figures/slide_maps.svg"
            for name in BENCH.experiments
            if "slide_maps" in experiment_figures(name)
        ],


rule predict_slide:
    """Predict a slide of the user's own with a trained model."""
    input:
        image=lambda wildcards: BENCH.config["slides"][wildcards.slide]["image"],
        weights=lambda wildcards: f"{slide_model(wildcards)}/weights.pt",
        checksum=lambda wildcards: f"{slide_model(wildcards)}/weights.pt.sha256",
        run=lambda wildcards: f"{slide_model(wildcards)}/run.json",
    output:
        h5ad="results/slides/{slide}.h5ad",
        preview="results/slides/{slide}.png",
    log:
        "results/logs/predict_slide/{slide}.log",
    wildcard_constraints:
        slide="|".join(BENCH.config["slides"]) or "none",
    conda:
        "../../envs/torch.yaml"
    threads: SLIDE_THREADS
    resources:
        mem_mb=4000,
        gpu=0 if BENCH.config["device"] == "cpu" else 1,
    params:
        settings=lambda wildcards: {
            "threads": SLIDE_THREADS,
            "pitch_um": BENCH.config["slides"][wildcards.slide]["pitch_um"],
            "um_per_px": BENCH.config["slides"][wildcards.slide]["um_per_px"],
        },
        code=slide_code,
    script:
        "../scripts/predict_slide.py"


rule slides:
    """Predictions for every slide of the user's own."""
    input:
        expand("results/slides/{slide}.h5ad", slide=BENCH.config["slides"]),
