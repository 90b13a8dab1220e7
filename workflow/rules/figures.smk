"""Every figure, as vector and raster, with the table that it was drawn from."""


rule draw_figure:
    """Draw one figure of an experiment."""
    input:
        unpack(of(figures.figure_input)),
    output:
        svg=report(
            paths.FIGURE_SVG,
            caption="../report/figure.rst",
            category="{experiment}",
            subcategory="Figures",
            labels={"figure": "{figure}"},
        ),
        png=paths.FIGURE_PNG,
        table=paths.FIGURE_TABLE,
        caption=paths.FIGURE_CAPTION,
    log:
        paths.log("draw_figure/{experiment}/{figure}"),
    wildcard_constraints:
        figure="[a-z_]+",
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(20),
    params:
        settings=of(figures.figure_settings),
        code=code_of("draw_figure", figures.figure_modules),
    message:
        'Draw "{figure_title:{wildcards.figure} }" of {wildcards.experiment}'
    script:
        "../scripts/draw_figure.py"


rule figures:
    """The figures of every experiment."""
    input:
        figures.every_figure(PLAN),
    message:
        "Have every figure"
