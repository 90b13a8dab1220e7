"""HistoBench, from a checkout; the workflow itself is in workflow/Snakefile."""


include: "workflow/Snakefile"


# an included file has no say in what is made when nothing is asked for
workflow.default_target = "all"
