"""From images to patches and frozen features."""


rule fit_stain:
    """Estimate the stains of a section and draw a before/after preview."""
    input:
        image=of(data.raw_image),
    output:
        json=paths.STAIN,
        preview=paths.STAIN_PREVIEW,
    log:
        paths.log("fit_stain/{cohort}/{section}"),
    benchmark:
        paths.benchmark("fit_stain/{cohort}/{section}")
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(20),
    params:
        code=code_of("fit_stain"),
    message:
        "Estimate the stains of section {wildcards.section} of {wildcards.cohort}"
    script:
        "../scripts/fit_stain.py"


use rule fit_stain as fit_stain_otherwise with:
    output:
        json=paths.OTHER_STAIN,
        preview=paths.OTHER_STAIN_PREVIEW,
    log:
        paths.log("fit_stain/{cohort}/{stain}/{section}"),
    benchmark:
        paths.benchmark("fit_stain/{cohort}/{stain}/{section}")
    resources:
        # StainTools keeps several float64 copies of the whole image
        mem_mb=lambda wildcards, attempt: attempt
        * (10000 if wildcards.stain.endswith("staintools") else 4000),
        runtime=growing(20),
    message:
        "Estimate the stains of section {wildcards.section} of {wildcards.cohort}, {wildcards.stain}"


rule hash_image:
    """Describe an image by a perceptual hash, which tells whether it occurs under two names."""
    input:
        image=of(data.raw_image),
    output:
        paths.IMAGE_HASH,
    log:
        paths.log("hash_image/{cohort}/{section}"),
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        code=code_of("hash_image"),
    message:
        "Hash the image of section {wildcards.section} of {wildcards.cohort}"
    script:
        "../scripts/hash_image.py"


rule cut_patches:
    """Cut the field around every spot into one memory-mappable array."""
    input:
        unpack(of(data.patch_input)),
    output:
        patches=paths.PATCHES,
        index=paths.PATCH_INDEX,
    log:
        paths.log("cut_patches/{cohort}/{variant}/{section}"),
    benchmark:
        paths.benchmark("cut_patches/{cohort}/{variant}/{section}")
    # seconds: on a cluster, in one job with the rest of the section's preparation
    group:
        patch_group
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(20),
    params:
        settings=of(data.patch_settings),
        code=code_of("cut_patches"),
    message:
        "Cut patches of section {wildcards.section} of {wildcards.cohort}, {wildcards.variant}"
    script:
        "../scripts/cut_patches.py"


# One job per cohort, encoder and field: loading an encoder takes as long as a section or more.
for batch in data.batches(PLAN):

    rule:
        """Describe every patch of a cohort's sections by the pooled output of a frozen network."""
        name:
            f"extract_features_of_{batch.label}"
        input:
            unpack(of(data.features_input, batch=batch)),
        output:
            data.batch_files(batch),
        log:
            paths.log(f"extract_features/{batch.label}/{{backbone}}"),
        benchmark:
            paths.benchmark(f"extract_features/{batch.label}/{{backbone}}")
        wildcard_constraints:
            backbone=among(batch.features),
        conda:
            "../../envs/torch.yaml"
        # one, so that results are the same on every machine; encoders and cohorts run side by side
        threads: 1
        resources:
            mem_mb=growing(8000),
            runtime=growing(240),
            gpu=int(PLAN.uses_gpu),
        params:
            settings=of(data.features_settings),
            code=code_of("extract_features"),
        message:
            f"Describe patches of {batch.told}, {{wildcards.backbone}}"
        script:
            "../scripts/extract_features.py"


rule measure_nuclei:
    """Find the nuclei in every patch of a section, and say how many there are and what they look like."""
    input:
        unpack(of(nuclei.nuclei_input)),
    output:
        paths.NUCLEI,
    log:
        paths.log("measure_nuclei/{experiment}/{section}"),
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        settings=of(nuclei.nuclei_settings),
        code=code_of("measure_nuclei"),
    message:
        "Describe the nuclei of section {wildcards.section} in {wildcards.experiment}"
    script:
        "../scripts/measure_nuclei.py"
