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


for batch in data.batches_of(PLAN, HASHES):

    rule:
        """Describe images by a perceptual hash, which tells whether one occurs under two names."""
        name:
            f"hash_images_of_{batch.label}"
        input:
            data.hash_input(PLAN, batch),
        output:
            batch.outputs(paths.IMAGE_HASH),
        log:
            paths.log(f"hash_images/{batch.label}"),
        conda:
            "../../envs/images.yaml"
        resources:
            mem_mb=growing(2000),
            runtime=growing(10 + len(batch.members)),
        params:
            cohort=batch.owner,
            sections=list(batch.members),
            code=code_of("hash_images"),
        message:
            f"Hash the images of {batch.told}"
        script:
            "../scripts/hash_images.py"


for batch in data.batches_of(PLAN, PATCHES):

    rule:
        """Cut the field around every spot into one memory-mappable array per section."""
        name:
            f"cut_patches_of_{batch.label}"
        input:
            unpack(of(data.patch_input, batch=batch)),
        output:
            patches=batch.outputs(paths.PATCHES),
            index=batch.outputs(paths.PATCH_INDEX),
            list=batch.list_pattern(),
        log:
            paths.log(f"cut_patches/{batch.label}/{{variant}}"),
        benchmark:
            paths.benchmark(f"cut_patches/{batch.label}/{{variant}}")
        wildcard_constraints:
            variant=among(batch.whats),
        conda:
            "../../envs/images.yaml"
        # sections side by side; with few, starting processes takes longer than cutting
        threads: min(data.CUT_THREADS, 1 + len(batch.members) // 8)
        resources:
            mem_mb=lambda wildcards, attempt, threads: 4000 * attempt * threads,
            runtime=growing(20 + 2 * len(batch.members)),
        params:
            sections=list(batch.members),
            settings=of(data.patch_settings),
            code=code_of("cut_patches"),
        message:
            f"Cut patches of {batch.told}, {{wildcards.variant}}"
        script:
            "../scripts/cut_patches.py"


# Loading an encoder takes as long as a section or more.
for batch in data.batches_of(PLAN, FEATURES):

    rule:
        """Describe every patch of a cohort's sections by the pooled output of a frozen network."""
        name:
            f"extract_features_of_{batch.label}"
        input:
            unpack(of(data.features_input, batch=batch)),
        output:
            features=batch.outputs(paths.FEATURES),
            list=batch.list_pattern(),
        log:
            paths.log(f"extract_features/{batch.label}/{{backbone}}"),
        benchmark:
            paths.benchmark(f"extract_features/{batch.label}/{{backbone}}")
        wildcard_constraints:
            backbone=among(batch.whats),
        conda:
            "../../envs/torch.yaml"
        # one, so that results are the same on every machine; encoders and cohorts run side by side
        threads: 1
        resources:
            mem_mb=growing(8000),
            runtime=growing(240),
            gpu=int(PLAN.uses_gpu),
        params:
            sections=list(batch.members),
            settings=of(data.features_settings),
            code=code_of("extract_features"),
        message:
            f"Describe patches of {batch.told}, {{wildcards.backbone}}"
        script:
            "../scripts/extract_features.py"


rule measure_nuclei:
    """Find the nuclei in every patch of a section, and say how many there are and what they look like."""
    input:
        unpack(of(data.nuclei_input)),
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
