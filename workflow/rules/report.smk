"""The report and where its numbers come from."""


rule write_provenance:
    """Record code, configuration, data, environment and hardware behind the results."""
    input:
        sections=expand("results/data/{cohort}/sections.tsv", cohort=read_cohorts()),
        runs=[file for name in TESTED for file in experiment_runs(name)],
    output:
        "results/report/provenance.json",
    log:
        "results/logs/write_provenance.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        settings={
            "cohorts": read_cohorts(),
            "configuration": recorded_configuration(),
        },
        code=code_hash("scripts/write_provenance.py"),
    script:
        "../scripts/write_provenance.py"


rule collect_maps:
    """Collect measured and predicted expression of every section for the report's map explorer."""
    input:
        unpack(maps_input),
    output:
        "results/{experiment}/maps.json",
    log:
        "results/logs/collect_maps/{experiment}.log",
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=8000,
    params:
        settings=maps_settings,
        code=code_hash("scripts/collect_maps.py"),
    script:
        "../scripts/collect_maps.py"


rule write_report:
    """Put everything into one HTML file that opens offline."""
    input:
        report_files(),
    output:
        report(
            "results/report/index.html",
            caption="../report/page.rst",
            category="Report",
            labels={"page": "everything in one file"},
        ),
    log:
        "results/logs/write_report.log",
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(20),
    params:
        settings=report_manifest(),
        code=code_hash("scripts/write_report.py"),
    script:
        "../scripts/write_report.py"
