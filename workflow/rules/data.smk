"""From published archives to sections: download or simulate, verify, read, describe."""


rule download_file:
    """Fetch one raw file from a mirror or the web and verify it."""
    output:
        paths.RAW_FILE,
    log:
        paths.log("download_file/{source}/{file}"),
    wildcard_constraints:
        source=among(data.sources(PLAN)),
        file=".+",
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        settings=of(data.download_settings),
        code=code_of("download_file"),
    message:
        "Fetch {wildcards.file} from {wildcards.source}"
    script:
        "../scripts/download_file.py"


rule unpack_file:
    """Take one file out of a published archive."""
    input:
        paths.ARCHIVE,
    output:
        paths.UNPACKED_FILE,
    log:
        paths.log("unpack_file/{source}/{archive}/{member}"),
    wildcard_constraints:
        source=among(data.sources(PLAN)),
        archive=among(data.archives(PLAN)),
        member=".+",
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        settings=of(data.unpack_settings),
        code=code_of("unpack_file", data.unpack_modules),
    message:
        "Take {wildcards.member} out of {wildcards.archive} from {wildcards.source}"
    script:
        "../scripts/unpack_file.py"


rule cut_photos:
    """Cut photographs without spots into tiles that cover them."""
    input:
        of(data.photo_input),
    output:
        tiles=paths.PHOTO_TILES,
        index=paths.PHOTO_INDEX,
    log:
        paths.log("cut_photos/{cohort}/{variant}"),
    wildcard_constraints:
        cohort=among(data.cohorts_of(PLAN, "photos")),
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=growing(3000),
        runtime=growing(30),
    params:
        settings=of(data.photo_settings),
        code=code_of("cut_photos"),
    message:
        "Cut the photographs of {wildcards.cohort} into tiles, {wildcards.variant}"
    script:
        "../scripts/cut_photos.py"


rule simulate_section:
    """Draw one section of a simulated cohort: image, counts, spots and labels."""
    output:
        image=paths.SIMULATED_IMAGE,
        counts=paths.SIMULATED_COUNTS,
        spots=paths.SIMULATED_SPOTS,
        labels=paths.SIMULATED_LABELS,
    log:
        paths.log("simulate_section/{cohort}/{section}"),
    wildcard_constraints:
        cohort=among(data.cohorts_of(PLAN, "simulation")),
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(15),
    params:
        settings=of(data.simulation_settings),
        code=code_of("simulate_section"),
    message:
        "Draw section {wildcards.section} of {wildcards.cohort}"
    script:
        "../scripts/simulate_section.py"


rule simulate_truth:
    """Write down which genes of a simulated cohort are planted, and how strongly."""
    output:
        paths.PLANTED_TRUTH,
    log:
        paths.log("simulate_truth/{cohort}"),
    wildcard_constraints:
        cohort=among(data.cohorts_of(PLAN, "simulation")),
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=growing(1500),
        runtime=growing(10),
    params:
        settings=of(data.simulation_settings),
        code=code_of("simulate_truth"),
    message:
        "Write down which genes of {wildcards.cohort} are planted"
    script:
        "../scripts/simulate_truth.py"


rule read_section:
    """Turn the raw files of one section into a validated AnnData file."""
    input:
        unpack(of(data.raw_input)),
    output:
        h5ad=paths.SECTION,
        row=paths.SECTION_ROW,
    log:
        paths.log("read_section/{cohort}/{section}"),
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=growing(3000),
        runtime=growing(15),
    params:
        settings=of(data.section_settings),
        code=code_of("read_section", data.reader_modules),
    message:
        "Read section {wildcards.section} of {wildcards.cohort}"
    script:
        "../scripts/read_section.py"


rule tabulate_cohort:
    """Describe a cohort: a row per section and a row per gene."""
    input:
        unpack(of(data.cohort_input)),
    output:
        sections=paths.SECTIONS,
        genes=paths.GENES,
    log:
        paths.log("tabulate_cohort/{cohort}"),
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=growing(3000),
        runtime=growing(15),
    params:
        code=code_of("tabulate_cohort"),
    message:
        "Describe the sections and genes of {wildcards.cohort}"
    script:
        "../scripts/tabulate_cohort.py"


for batch in data.batches_of(PLAN, batches.KEPT):

    rule:
        """Apply one paper's filter of spots to sections; says why each spot is dropped."""
        name:
            f"check_spots_of_{batch.label}"
        input:
            unpack(of(data.spot_filter_input, batch=batch)),
        output:
            spots=batch.outputs(paths.KEPT_SPOTS),
            list=batch.list_pattern(),
        log:
            paths.log(batch.place("check_spots")),
        wildcard_constraints:
            profile=among(batch.whats),
        group:
            group_of("cohorts")
        conda:
            "../../envs/data.yaml"
        resources:
            mem_mb=growing(2000),
            runtime=growing(10 + len(batch.sections)),
        params:
            sections=list(batch.sections),
            limits=of(data.spot_limits),
            code=code_of("check_spots"),
        message:
            f"Filter the spots of {batch.told}, profile {{wildcards.profile}}"
        script:
            "../scripts/check_spots.py"


rule summarise_qc:
    """Count what the experiment's spot filter dropped in each section."""
    input:
        of(data.qc_input),
    output:
        paths.QC_SUMMARY,
    log:
        paths.log("summarise_qc/{experiment}"),
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=growing(1500),
        runtime=growing(10),
    params:
        sections=of(data.qc_sections),
        code=code_of("summarise_qc"),
    message:
        "Count the spots that {wildcards.experiment} drops"
    script:
        "../scripts/summarise_qc.py"


rule data:
    """Everything that has to be downloaded for the configured cohorts."""
    input:
        data_input,
    message:
        "Have every raw file"
