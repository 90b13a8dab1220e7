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
        code=code_hash("histobench.methods.external"),
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
        code=code_hash("histobench.methods.external"),
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
        code=code_hash("histobench.methods.external"),
    script:
        "../scripts/describe_external.py"


rule external:
    """Every table of every external prediction."""
    input:
        [file for name in BENCH.branches for file in branch_files(name)],
