"""Every figure, as vector and raster, with the table that it was drawn from."""


rule draw_figure:
    """Draw one figure of an experiment."""
    input:
        unpack(figure_input),
    output:
        svg=report(
            "results/{experiment}/figures/{figure}.svg",
            caption="../report/figure.rst",
            category="{experiment}",
            subcategory="Figures",
            labels={"figure": "{figure}"},
        ),
        png="results/{experiment}/figures/{figure}.png",
        table="results/{experiment}/tables/figures/{figure}.tsv",
        caption="results/{experiment}/figures/{figure}.txt",
    log:
        "results/logs/draw_figure/{experiment}/{figure}.log",
    wildcard_constraints:
        figure="[a-z_]+",
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(20),
    params:
        settings=figure_settings,
        code=lambda wildcards: code_hash(
            "scripts/draw_figure.py", f"histobench.figures.{wildcards.figure}"
        ),
    script:
        "../scripts/draw_figure.py"


rule figures:
    """The figures of every experiment."""
    input:
        [
            f"results/{name}/figures/{figure}.svg"
            for name in TESTED
            for figure in experiment_figures(name)
        ],
