"""Which methods the figures of an experiment show, from what methods can do and what the experiment is about.

All functions take the complete settings of an experiment or branch (of the
:class:`histobench.config.benchmark.Benchmark`) and return names of its arms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# A figure that compares a few methods shows so many of those that an experiment is about.
MOST_COMPARED = 4
LEARNERS = ("deep", "classical")

Experiment = Mapping[str, Any]


def predicting(experiment: Experiment, families: Sequence[str] = ()) -> list[str]:
    """Return the methods that predict expression, of some families."""
    return [
        arm
        for arm, method in experiment["methods"].items()
        if method["gives"]["expression"] and (not families or method["family"] in families)
    ]


def subjects(experiment: Experiment) -> list[str]:
    """Return the methods that an experiment is about, the leading one first.

    As configured under ``about``; else deep networks, else classical learners, else whatever predicts
    expression or is there, the second of ``scatter`` first. Scores are not known when a run is planned.
    """
    if experiment.get("about"):
        return list(experiment["about"])
    everything = list(experiment["methods"])
    choices = (
        predicting(experiment, ("deep",)),
        predicting(experiment, ("classical",)),
        predicting(experiment),
    )
    chosen = next(filter(None, choices), everything)
    first = [*experiment.get("scatter", ())][1:]
    return [*(arm for arm in first if arm in chosen), *(arm for arm in chosen if arm not in first)]


def leading(experiment: Experiment) -> str:
    """Return the method of figures that show a single one."""
    return subjects(experiment)[0]


def compared(experiment: Experiment) -> list[str]:
    """Return the methods of figures that compare a few."""
    return subjects(experiment)[:MOST_COMPARED]


def mapped(experiment: Experiment) -> list[str]:
    """Return the methods on maps: as configured, else those the experiment is about after a yardstick.

    The yardstick is the first of ``scatter``, else the first classical learner.
    """
    if experiment["maps"].get("methods"):
        return list(experiment["maps"]["methods"])
    about = subjects(experiment)
    known = predicting(experiment)
    yardsticks = [arm for arm in [*experiment.get("scatter", ())][:1] if arm in known]
    yardsticks += predicting(experiment, ("classical",))
    return [*(arm for arm in yardsticks[:1] if arm not in about), *about]


def trained(experiment: Experiment) -> list[str]:
    """Return every trained method that predicts expression."""
    return predicting(experiment, LEARNERS)


def able(experiment: Experiment, ability: str, *, few: bool = True) -> list[str]:
    """Return the methods with an ability of ``gives``, of those that the experiment is about if any has it.

    Parameters
    ----------
    ability
        Key of ``gives`` of a method.
    few
        At most as many as a figure compares.
    """
    having = [arm for arm, method in experiment["methods"].items() if method["gives"][ability]]
    about = [arm for arm in subjects(experiment) if arm in having]
    others = [arm for arm in having if experiment["methods"][arm]["family"] == "deep"][:1]
    found = about or others
    return found[:MOST_COMPARED] if few else found


def baselines(experiment: Experiment) -> list[str]:
    """Return the plain explanations of expression that networks are set against."""
    return [arm for arm, method in experiment["methods"].items() if method["baseline"]]


def by_spot(experiment: Experiment) -> list[str]:
    """Return the methods that predict expression from the image of a spot alone."""
    return [
        arm
        for arm, method in experiment["methods"].items()
        if method["gives"]["expression"]
        and (method["needs"]["patches"] or method["needs"]["features"])
        and not method["needs"]["oracle"]
        and method["sees"] == "spot"
    ]


def variants(experiment: Experiment) -> list[str]:
    """Return the methods that predict expression and share their class with another one that does."""
    entries = {arm: experiment["methods"][arm]["entry"] for arm in predicting(experiment)}
    return [arm for arm, entry in entries.items() if [*entries.values()].count(entry) > 1]
