"""From published archives to sections: download or simulate, verify, read, describe."""


rule download_file:
    """Fetch one raw file from a mirror or the web and verify it."""
    output:
        "results/data/{source}/raw/{file}",
    log:
        "results/logs/download_file/{source}/{file}.log",
    wildcard_constraints:
        source="|".join(
            {BENCH.cohorts[cohort]["source"] for cohort in downloaded_cohorts()}
            | {WEIGHTS}
        ),
        file=".+",
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        settings=download_settings,
        code=code_hash("scripts/download_file.py"),
    script:
        "../scripts/download_file.py"


rule unpack_file:
    """Take one file out of a published archive."""
    input:
        "results/data/{source}/raw/{archive}",
    output:
        "results/data/{source}/unpacked/{archive}/{member}",
    log:
        "results/logs/unpack_file/{source}/{archive}/{member}.log",
    wildcard_constraints:
        source="|".join(
            {BENCH.cohorts[cohort]["source"] for cohort in downloaded_cohorts()}
            or {"none"}
        ),
        archive="|".join(map(re.escape, ARCHIVES)) or "none",
        member=".+",
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        settings=unpack_settings,
        code=unpack_code,
    script:
        "../scripts/unpack_file.py"


rule cut_photos:
    """Cut photographs without spots into tiles that cover them."""
    input:
        lambda wildcards: raw_path(
            BENCH.cohorts[wildcards.cohort]["source"],
            BENCH.cohorts[wildcards.cohort]["files"]["photos"],
        ),
    output:
        tiles="results/data/{cohort}/tiles/{variant}.npy",
        index="results/data/{cohort}/tiles/{variant}.tsv",
    log:
        "results/logs/cut_photos/{cohort}/{variant}.log",
    wildcard_constraints:
        cohort="|".join(photo_cohorts() or ["none"]),
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=growing(3000),
        runtime=growing(30),
    params:
        settings=photo_settings,
        code=code_hash("scripts/cut_photos.py"),
    script:
        "../scripts/cut_photos.py"


rule simulate_section:
    """Draw one section of a simulated cohort: image, counts, spots and labels."""
    output:
        image="results/data/{cohort}/raw/{section}.jpg",
        counts="results/data/{cohort}/raw/{section}_counts.tsv.gz",
        spots="results/data/{cohort}/raw/{section}_spots.tsv",
        labels="results/data/{cohort}/raw/{section}_labels.tsv",
    log:
        "results/logs/simulate_section/{cohort}/{section}.log",
    wildcard_constraints:
        cohort="|".join(simulated_cohorts() or ["none"]),
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(15),
    params:
        settings=lambda wildcards: dict(
            sorted(BENCH.cohorts[wildcards.cohort]["options"].items())
        ),
        code=code_hash("scripts/simulate_section.py"),
    script:
        "../scripts/simulate_section.py"


rule simulate_truth:
    """Write down which genes of a simulated cohort are planted, and how strongly."""
    output:
        "results/data/{cohort}/raw/truth.tsv",
    log:
        "results/logs/simulate_truth/{cohort}.log",
    wildcard_constraints:
        cohort="|".join(simulated_cohorts() or ["none"]),
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=growing(1500),
        runtime=growing(10),
    params:
        settings=lambda wildcards: dict(
            sorted(BENCH.cohorts[wildcards.cohort]["options"].items())
        ),
        code=code_hash("scripts/simulate_truth.py"),
    script:
        "../scripts/simulate_truth.py"


rule read_section:
    """Turn the raw files of one section into a validated AnnData file."""
    input:
        unpack(raw_input),
    output:
        h5ad="results/data/{cohort}/sections/{section}.h5ad",
        row="results/data/{cohort}/sections/{section}.json",
    log:
        "results/logs/read_section/{cohort}/{section}.log",
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=growing(3000),
        runtime=growing(15),
    params:
        settings=section_settings,
        code=reader_code,
    script:
        "../scripts/read_section.py"


rule tabulate_cohort:
    """Describe a cohort: a row per section and a row per gene."""
    input:
        rows=lambda wildcards: [
            f"{name}.json" for name in sections_of(wildcards.cohort)
        ],
        h5ads=lambda wildcards: [
            f"{name}.h5ad" for name in sections_of(wildcards.cohort)
        ],
    output:
        sections="results/data/{cohort}/sections.tsv",
        genes="results/data/{cohort}/genes.tsv",
    log:
        "results/logs/tabulate_cohort/{cohort}.log",
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=growing(3000),
        runtime=growing(15),
    params:
        code=code_hash("scripts/tabulate_cohort.py"),
    script:
        "../scripts/tabulate_cohort.py"


rule check_spots:
    """Apply one paper's filter of spots to a section; says why each spot is dropped."""
    input:
        unpack(spot_filter_input),
    output:
        "results/data/{cohort}/qc/{profile}/{section}.tsv",
    log:
        "results/logs/check_spots/{cohort}/{profile}/{section}.log",
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        code=code_hash("scripts/check_spots.py"),
    script:
        "../scripts/check_spots.py"


rule summarise_qc:
    """Count what the experiment's spot filter dropped in each section."""
    input:
        lambda wildcards: section_counts(
            wildcards, experiment_of(wildcards)["sections"]
        )["qc"],
    output:
        "results/{experiment}/qc/summary.tsv",
    log:
        "results/logs/summarise_qc/{experiment}.log",
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=growing(1500),
        runtime=growing(10),
    params:
        code=code_hash("scripts/summarise_qc.py"),
    script:
        "../scripts/summarise_qc.py"


rule data:
    """Everything that has to be downloaded for the configured cohorts."""
    input:
        data_input,
