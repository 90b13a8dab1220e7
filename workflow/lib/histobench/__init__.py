"""HistoBench: a reproducible benchmark of spatial gene-expression prediction from H&E histology.

The library behind the pipeline. It does not know Snakemake and is usable from a notebook.
"""
