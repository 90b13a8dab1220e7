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
    script:
        "../scripts/collect_maps.py"


rule write_report:
    """Put everything into one HTML file that opens offline."""
    input:
        manifest.report_files(PLAN),
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
        settings=manifest.report_manifest(PLAN),
        code=code_of("write_report"),
    script:
        "../scripts/write_report.py"
