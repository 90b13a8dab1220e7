"""The report and where its numbers come from."""


rule write_provenance:
    """Record code, configuration, data, environment and hardware behind the results."""
    input:
        **manifest.provenance_input(PLAN),
    output:
        paths.PROVENANCE,
    log:
        paths.log("write_provenance"),
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        settings=manifest.provenance_settings(PLAN),
        code=code_of("write_provenance"),
    message:
        "Record where the results come from"
    script:
        "../scripts/write_provenance.py"


rule collect_maps:
    """Collect measured and predicted expression of every section for the report's map explorer."""
    input:
        unpack(of(manifest.maps_input)),
    output:
        paths.MAPS,
    log:
        paths.log("collect_maps/{experiment}"),
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=8000,
    params:
        settings=of(manifest.maps_settings),
        code=code_of("collect_maps"),
    message:
        "Collect the maps of {wildcards.experiment}"
    script:
        "../scripts/collect_maps.py"


rule list_results:
    """Name every file that the report shows of an experiment, with its checksum."""
    input:
        of(manifest.experiment_files),
    output:
        paths.MANIFEST,
    log:
        paths.log("list_results/{experiment}"),
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        settings=of(manifest.experiment_entry),
        code=code_of("list_results"),
    message:
        "List what the report shows of {wildcards.experiment}"
    script:
        "../scripts/list_results.py"


rule write_report:
    """Put everything into one HTML file that opens offline."""
    input:
        **manifest.report_input(PLAN),
    output:
        report(
            paths.REPORT,
            caption="../report/page.rst",
            category="Report",
            labels={"page": "everything in one file"},
        ),
    log:
        paths.log("write_report"),
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(20),
    params:
        settings=manifest.report_settings(PLAN),
        code=code_of("write_report"),
    message:
        "Write the report"
    script:
        "../scripts/write_report.py"
