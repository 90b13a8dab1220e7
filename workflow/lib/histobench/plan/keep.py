"""Which weights stay after a run: ``keep`` of the configuration.

Weights that do not stay are temporary: they go as soon as no job of the run waits for them. What a training
was and took, its history and its predictions always stay.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from histobench import paths
from histobench.figures.catalogue import catalogue
from histobench.plan.external import own_slide_model
from histobench.plan.figures import experiment_figures, figure_input
from histobench.plan.model import Plan
from histobench.splits.folds import FULL_FOLD

WEIGHTS = f"/{paths.WEIGHTS.rpartition('/')[2]}"


@functools.cache
def every(plan: Plan) -> frozenset[str]:
    """Return the weights of every training of a run."""
    return frozenset(
        described.model(run, fold.name).weights
        for described in plan.experiments.values()
        for run in described.runs
        for fold in described.every_fold
    )


@functools.cache
def kept(plan: Plan) -> frozenset[str]:
    """Return the weights that stay; the others go as soon as nothing waits for them.

    With ``all``, all of them; with ``full``, those of models on all patients, those that figures read, and
    those behind a slide of the user's own; with ``none``, none.
    """
    if plan.keep == "none":
        return frozenset()
    if plan.keep == "all":
        return every(plan)
    full = {
        described.model(run, FULL_FOLD).weights
        for described in plan.experiments.values()
        for run in described.runs
        if described.full
    }
    slides = {own_slide_model(plan, slide).weights for slide in plan.bench.config["slides"]}
    return frozenset(full | slides | set(_drawn_from(plan)))


def _drawn_from(plan: Plan) -> Iterator[str]:
    """Yield the weights that figures read."""
    reading = {name for name, entry in catalogue().items() if entry.reads_weights}
    for name in {**plan.experiments, **plan.tested}:
        for figure in reading.intersection(experiment_figures(plan, name)):
            for files in figure_input(plan, name, figure).values():
                read = [files] if isinstance(files, str) else files
                yield from (file for file in read if file.endswith(WEIGHTS))
