"""From images to patches and frozen features."""


rule fit_stain:
    """Estimate the stains of a section and draw a before/after preview."""
    input:
        image=raw_image,
    output:
        json="results/data/{cohort}/stain/{section}.json",
        preview="results/data/{cohort}/stain/{section}.png",
    log:
        "results/logs/fit_stain/{cohort}/{section}.log",
    benchmark:
        "results/benchmarks/fit_stain/{cohort}/{section}.jsonl"
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(20),
    params:
        code=code_hash("scripts/fit_stain.py"),
    script:
        "../scripts/fit_stain.py"


use rule fit_stain as fit_stain_otherwise with:
    output:
        json="results/data/{cohort}/stain/{stain}/{section}.json",
        preview="results/data/{cohort}/stain/{stain}/{section}.png",
    log:
        "results/logs/fit_stain/{cohort}/{stain}/{section}.log",
    benchmark:
        "results/benchmarks/fit_stain/{cohort}/{stain}/{section}.jsonl"
    resources:
        # StainTools keeps several float64 copies of the whole image
        mem_mb=lambda wildcards, attempt: attempt
        * (10000 if wildcards.stain.endswith("staintools") else 4000),
        runtime=growing(20),


rule hash_image:
    """Describe an image by a perceptual hash, which tells whether it occurs under two names."""
    input:
        image=raw_image,
    output:
        "results/data/{cohort}/image_hashes/{section}.json",
    log:
        "results/logs/hash_image/{cohort}/{section}.log",
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        code=code_hash("scripts/hash_image.py"),
    script:
        "../scripts/hash_image.py"


rule cut_patches:
    """Cut the field around every spot into one memory-mappable array."""
    input:
        unpack(patch_input),
    output:
        patches="results/data/{cohort}/patches/{variant}/{section}.npy",
        index="results/data/{cohort}/patches/{variant}/{section}.tsv",
    log:
        "results/logs/cut_patches/{cohort}/{variant}/{section}.log",
    benchmark:
        "results/benchmarks/cut_patches/{cohort}/{variant}/{section}.jsonl"
    # seconds: on a cluster, in one job with the rest of the section's preparation
    group:
        patch_group
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(20),
    params:
        settings=patch_settings,
        code=code_hash("scripts/cut_patches.py"),
    script:
        "../scripts/cut_patches.py"


rule extract_features:
    """Describe every patch by the pooled output of a frozen network."""
    input:
        patches=lambda wildcards: "results/data/{cohort}/patches/{variant}/{section}.npy".format(
            cohort=wildcards.cohort,
            section=wildcards.section,
            variant=wildcards.backbone.split(".", 2)[2],
        ),
        weights=backbone_weights,
    output:
        "results/data/{cohort}/features/{backbone}/{section}.npy",
    log:
        "results/logs/extract_features/{cohort}/{backbone}/{section}.log",
    benchmark:
        "results/benchmarks/extract_features/{cohort}/{backbone}/{section}.jsonl"
    conda:
        "../../envs/torch.yaml"
    # one: a section takes seconds, of which loading the libraries is half, so sections side by side are faster
    threads: 1
    resources:
        mem_mb=growing(8000),
        runtime=growing(120),
        gpu=0 if BENCH.config["device"] == "cpu" else 1,
    params:
        settings=lambda wildcards: {"encoder": backbone_recipe(wildcards)},
        code=code_hash("scripts/extract_features.py"),
    script:
        "../scripts/extract_features.py"
