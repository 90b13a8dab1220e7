"""How long the trainings of a run take on a GPU: the images that networks see, over their rates.

The rates are estimates for one H200 (``resources/network_rates.tsv``); ``make bench`` measures those of one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histobench.plan.model import Experiment, Plan, Settings

#: A forward pass beside a step of training: backwards takes twice as long as forwards.
FORWARD = 1 / 3
#: Spots beside each other, itself among them, that a spatial arm runs through its network, counted on HER2+.
NEIGHBOURS = 7.25
#: Speed beside bfloat16, whose numbers are half as wide; single precision has no tensor cores.
SPEED = {"bf16": 1.0, "tf32": 0.5, "float32": 0.125}
#: The host starts an operation of a GPU in so many seconds, which small batches wait for.
START = 8e-6


@dataclass(frozen=True)
class Work:
    """Images that a network sees at most: no training stops early.

    Attributes
    ----------
    network, precision
        Name of the architecture, and the numbers that it computes with.
    width, batch
        Pixels of a patch, patches of a step.
    images
        Of all trainings, to which a view of a held-out spot adds the part :data:`FORWARD`.
    """

    network: str
    precision: str
    width: int
    batch: int
    images: float


@dataclass(frozen=True)
class Rate:
    """What a network does in a second of training at 224 pixels in bfloat16, and the operations of a step."""

    images: float
    operations: int

    def hours(self, work: Work) -> float:
        """Return the hours of some work: as arithmetic and memory allow, or as the host starts operations."""
        compute = (work.width / 224) ** 2 / (self.images * SPEED[work.precision])
        return work.images * max(compute, self.operations * START / work.batch) / 3600


def rates(plan: Plan) -> dict[str, Rate]:
    """Read the estimated rates by network."""
    lines = Path(plan.shipped("resources/network_rates.tsv")).read_text().splitlines()
    rows = (line.split("\t") for line in lines[1:])
    return {name: Rate(float(images), int(operations)) for name, images, operations, _ in rows}


def trainings(plan: Plan, spots: Mapping[str, float]) -> list[Work]:
    """Return the work of every method that trains a named network on patches.

    Methods of whole sections are not counted.

    Parameters
    ----------
    plan
        The run.
    spots
        Of an average section, by cohort.
    """
    found: Counter[tuple[str, str, int, int]] = Counter()
    for experiment in plan.experiments.values():
        for work in work_of(experiment, list(experiment.runs), spots[experiment.cohort.name]):
            found[work.network, work.precision, work.width, work.batch] += work.images  # type: ignore[assignment]
    return [Work(*key, images) for key, images in found.items()]


def work_of(experiment: Experiment, runs: Sequence[str], spots: float) -> Iterator[Work]:
    """Yield the work of some runs of an experiment, see :func:`trainings`."""
    train, valid = (
        spots * sum(len(getattr(fold, part)) for fold in experiment.every_fold) for part in ("train", "valid")
    )
    for run in map(experiment.runs.__getitem__, runs):
        given = run.arm.settings["params"]
        params: Settings = given.get("network") or given
        network = params.get("architecture") or params.get("backbone")
        if not run.arm.needs.get("gpu") or network is None or not params.get("epochs"):
            continue
        patches = experiment.patches_of(run.arm)
        width = params.get("input_px") or (patches.width_px if patches else 224)
        images = passes(params, train, valid) * params["epochs"]
        if run.arm.settings["gives"]["apart"]:  # a network for each gene, and one for the others
            images *= len(given["genes"] or ()) + 1
        yield Work(network, params["precision"], width, params.get("batch_size", 64), images)


def passes(params: Mapping[str, Any], train: float, valid: float) -> float:
    """Return the images of an epoch, those that are looked at after it among them.

    Parameters
    ----------
    params
        Of the method.
    train, valid
        Spots of the training patients, and of the validation patients of the experiment.
    """
    near: float = NEIGHBOURS if params.get("spatial", "none") != "none" else 1.0
    if params.get("selection") == "inner_folds" and params["inner_folds"] > 1:
        # k - 1 times in an inner fold and once in the last training; held out once, in so many views
        return near * train * int(params["inner_folds"]) + FORWARD * train * int(params["selection_views"])
    if params.get("selection") in ("fixed", "inner_folds"):
        return near * train
    if not valid:
        held = train / int(params["valid_folds"])
        again = train if params.get("selection") == "retrained" else 0.0
        return near * (train - held + again) + FORWARD * held
    return near * train + FORWARD * valid * int(params.get("selection_views", 1))


def hours(plan: Plan, spots: Mapping[str, float]) -> float:
    """Return about how many hours one H200 would train, without networks whose rate is not known.

    Parameters
    ----------
    plan, spots
        As for :func:`trainings`.
    """
    known = rates(plan)
    return sum(known[work.network].hours(work) for work in trainings(plan, spots) if work.network in known)
