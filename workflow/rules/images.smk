"""From images to patches and frozen features."""

for batch in data.batches_of(PLAN, batches.IMAGES):

    rule:
        """Describe images: a perceptual hash, which tells whether one occurs under two names, and the stains."""
        name:
            f"images_of_{batch.label}"
        input:
            data.image_input(PLAN, batch),
        output:
            hashes=batch.outputs(paths.IMAGE_HASH),
            json=batch.outputs(paths.STAIN),
            preview=batch.outputs(paths.STAIN_PREVIEW),
        log:
            paths.log(batch.place("images")),
        benchmark:
            paths.benchmark(batch.place("images"))
        group:
            group_of("cohorts")
        conda:
            "../../envs/images.yaml"
        threads: data.side_by_side(batch)
        resources:
            mem_mb=lambda wildcards, attempt, threads: 4000 * attempt * threads,
            runtime=growing(20 + 2 * len(batch.sections)),
        params:
            cohort=batch.cohort,
            sections=list(batch.sections),
            code=code_of("describe_images"),
        message:
            f"Hash the images and estimate the stains of {batch.told}"
        script:
            "../scripts/describe_images.py"


for batch in data.batches_of(PLAN, batches.OTHER_STAINS):

    rule:
        """Estimate the stains of sections by another method or another tool's fit."""
        name:
            f"fit_stains_of_{batch.label}"
        input:
            data.image_input(PLAN, batch),
        output:
            json=batch.outputs(paths.OTHER_STAIN),
            preview=batch.outputs(paths.OTHER_STAIN_PREVIEW),
        log:
            paths.log(batch.place("fit_stains")),
        benchmark:
            paths.benchmark(batch.place("fit_stains"))
        wildcard_constraints:
            stain=among(batch.whats),
        group:
            group_of("cohorts")
        conda:
            "../../envs/images.yaml"
        threads: data.side_by_side(batch)
        resources:
            mem_mb=lambda wildcards, attempt, threads: data.stain_memory(
                wildcards.stain, threads
            )
            * attempt,
            runtime=growing(20 + 2 * len(batch.sections)),
        params:
            sections=list(batch.sections),
            code=code_of("fit_stains"),
        message:
            f"Estimate the stains of {batch.told}, {{wildcards.stain}}"
        script:
            "../scripts/fit_stains.py"


for batch in data.batches_of(PLAN, batches.PATCHES):

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
            paths.log(batch.place("cut_patches")),
        benchmark:
            paths.benchmark(batch.place("cut_patches"))
        wildcard_constraints:
            variant=among(batch.whats),
        group:
            group_of("cohorts")
        conda:
            "../../envs/images.yaml"
        threads: data.side_by_side(batch)
        resources:
            mem_mb=lambda wildcards, attempt, threads: 4000 * attempt * threads,
            runtime=growing(20 + 2 * len(batch.sections)),
        params:
            sections=list(batch.sections),
            settings=of(data.patch_settings),
            code=code_of("cut_patches"),
        message:
            f"Cut patches of {batch.told}, {{wildcards.variant}}"
        script:
            "../scripts/cut_patches.py"


# Patches that nothing of the configuration needs can be asked for by their path; what it needs is cut together.
rule cut_patches:
    """Cut the field around every spot of one section."""
    input:
        unpack(of(data.section_patch_input)),
    output:
        patches=[paths.PATCHES],
        index=[paths.PATCH_INDEX],
    log:
        paths.log("cut_patches/{cohort}/{variant}/{section}"),
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(20),
    params:
        sections=lambda wildcards: [wildcards.section],
        settings=of(data.patch_settings),
        code=code_of("cut_patches"),
    message:
        "Cut patches of section {wildcards.section} of {wildcards.cohort}, {wildcards.variant}"
    script:
        "../scripts/cut_patches.py"


for batch in data.batches_of(PLAN, batches.PATCHES):
    workflow.ruleorder(f"cut_patches_of_{batch.label}", "cut_patches")


# Loading an encoder takes as long as a section or more.
for batch in data.batches_of(PLAN, batches.FEATURES):

    rule:
        """Describe every patch of a cohort's sections by the pooled output of a frozen network."""
        name:
            f"extract_features_of_{batch.label}"
        input:
            unpack(of(data.features_input, batch=batch)),
        output:
            features=batch.outputs(paths.FEATURES),
            list=batch.list_pattern(),
            cost=batch.cost_pattern(),
        log:
            paths.log(batch.place("extract_features")),
        benchmark:
            paths.benchmark(batch.place("extract_features"))
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
            sections=list(batch.sections),
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
