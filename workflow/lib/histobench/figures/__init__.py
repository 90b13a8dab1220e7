"""Figures: a tidy table in, a matplotlib figure out. Nothing is computed here.

A figure is one function under ``@figure(...)`` in a family of this room: ``per_method``, ``per_gene``,
``per_section``, ``on_tissue``, ``curves`` or ``latent``. Its name is the figure's, and the decorator says all
that a run needs to know (:mod:`histobench.figures.catalogue`). ``drawing`` holds the tools that they share.
"""
