"""Every figure, as vector and raster, with the table that it was drawn from."""

# Of each experiment, the figures of a family in one job: most of what one of them takes is the start of its libraries.
for each, family, drawn in figures.every_family(PLAN):

    rule:
        name:
            f"draw_{family}_of_{each.rule_name}"
        input:
            unpack(of(figures.family_input, family=family)),
        output:
            svg=[
                report(
                    paths.fixed(paths.FIGURE_SVG, figure=figure),
                    # written with the figure, from the numbers in it; a template would not know which of them
                    caption=os.path.abspath(
                        paths.fixed(
                            paths.FIGURE_CAPTION, experiment=each.name, figure=figure
                        )
                    ),
                    category="{experiment}",
                    subcategory="Figures",
                    labels={"figure": figure},
                )
                for figure in drawn
            ],
            png=expand(paths.FIGURE_PNG, figure=drawn, allow_missing=True),
            tsv=expand(paths.FIGURE_TABLE, figure=drawn, allow_missing=True),
            caption=expand(paths.FIGURE_CAPTION, figure=drawn, allow_missing=True),
        log:
            paths.log(f"draw_figures/{{experiment}}/{family}"),
        wildcard_constraints:
            experiment=among([each.name]),
        group:
            group_of("figures")
        conda:
            "../../envs/report.yaml"
        resources:
            mem_mb=growing(4000),
            runtime=growing(20 + 5 * len(drawn)),
        params:
            settings=of(figures.family_settings, family=family),
            code=code_of("draw_figures", figures.family_modules, family=family),
        message:
            f"Draw {len(drawn)} figures of {{wildcards.experiment}}, {family.replace('_', ' ')}"
        script:
            "../scripts/draw_figures.py"


rule figures:
    """The figures of every experiment."""
    input:
        figures.every_figure(PLAN),
    message:
        "Have every figure"
