"""Which experiments of a run a published number can be set against."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from histobench.config.benchmark import Benchmark
from histobench.config.declarations import Declarations
from histobench.config.definitions import definition, split
from histobench.config.files import merge
from histobench.config.methods import find_method
from histobench.evaluation.published import (
    ANY_METHOD,
    EXTERNAL,
    HELD_OUT,
    OTHER_SCHEME,
    differences_in_protocol,
)
from histobench.plan.contrasts import NO_PROTOCOL, in_words

if TYPE_CHECKING:
    import pandas as pd

# What a configuration can change of the definitions that a protocol is made of, and what of them is words.
_WORDS = ("title", "description", "source")
_CHANGEABLE = ("experiments", "methods", "qc_profiles", "transforms")


def published_facts(bench: Benchmark, name: str) -> dict[str, Any]:
    """Return what decides whether a published number can be compared with one of an experiment or branch.

    See :func:`histobench.evaluation.published.differences_in_protocol` for the keys.
    """
    experiment = bench.described(name)
    cohort = experiment["cohort"]
    records = bench.cohorts[cohort]["sections"]
    tested = {
        records[section]["patient"] for fold in experiment["folds"]["made"].values() for section in fold.test
    }
    changed, changed_methods = changes(bench, name)
    return {
        "changed": changed,
        "changed_methods": changed_methods,
        "cohorts": sorted({cohort, bench.cohorts[cohort]["source"]}),
        "folds": _folds(bench, name),
        "methods": list(experiment["methods"]),
        "n_patients": len(tested),
        "photos": {
            arm: method["needs"]["photos"]
            for arm, method in experiment["methods"].items()
            if method["needs"]["photos"]
        },
        "transform": experiment["transform"],
    }


def _folds(bench: Benchmark, name: str) -> str:
    """Return how an experiment divides its patients, in the words of the ledger."""
    if name in bench.branches:
        return EXTERNAL
    folds = bench.experiments[name]["folds"]
    return HELD_OUT if folds["held_out"] else str(folds["scheme"])


def changes(bench: Benchmark, name: str) -> tuple[list[str], list[str]]:
    """Return what a configuration changes of the protocol that an experiment's own file repeats.

    Returns
    -------
    tuple
        Respects of the experiment, in words; arms whose own settings are others.
    """
    if not any(bench.config[kind] for kind in _CHANGEABLE):
        return [], []
    home = bench.described(name).get("trained_by", name)
    ours = bench.declarations
    shipped = _shipped(bench)
    mine = theirs = definition(ours, "experiment", home, "")
    if (bench.project / "config/experiments" / f"{home}.yaml").exists():
        theirs = definition(shipped, "experiment", home, "")
    keys = {key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)}
    for key, kind in (("qc", "qc_profile"), ("transform", "transform")):
        said = bench.config[f"{kind}s"].get(mine[key])
        file = bench.project / f"config/{kind}s" / f"{mine[key]}.yaml"
        if said and file.exists() and _differ(kind, mine[key], ours, shipped):
            keys.add(key)
    both = ((ours, mine), (shipped, theirs))
    arms = [
        arm
        for arm, method in bench.experiments[home]["methods"].items()
        if len({_settings(*each, method["head"] or arm) for each in both}) > 1
    ]
    return in_words(sorted(keys - NO_PROTOCOL - {"seeds"})), arms


@functools.cache
def _shipped(bench: Benchmark) -> Declarations:
    """Return the same run as if the configuration changed no definition."""
    return Declarations({**bench.config, **{kind: {} for kind in _CHANGEABLE}}, bench.project)


def _differ(kind: str, name: str, *declarations: Declarations) -> bool:
    said = [definition(each, kind, name, "") for each in declarations]
    first, second = ({key: value for key, value in each.items() if key not in _WORDS} for each in said)
    return first != second


def _settings(declarations: Declarations, experiment: Mapping[str, Any], arm: str) -> str:
    """Return what a method is in an experiment, as one text; a method that is not declared is nothing."""
    change = experiment["methods"].get(arm) or {}
    name = change.get("method", arm)
    if split(declarations, name) is None:
        return ""
    method = merge(find_method(declarations, name, ""), {"params": change.get("params", {})})
    told = {key: method[key] for key in ("entry", "needs", "params")}
    window = change.get("window", method["window"])
    return json.dumps([told, window, change.get("encoder")], sort_keys=True, default=str)


def paper_experiments(bench: Benchmark) -> list[str]:
    """Return the experiments and branches that repeat a paper's protocol and test somebody."""
    every = bench.experiments | bench.branches
    return [name for name, value in every.items() if value["mode"] == "paper" and value["folds"]["made"]]


def reached(ledger: pd.DataFrame, bench: Benchmark) -> Iterator[tuple[dict[str, Any], list[str], str]]:
    """Say for every row of the ledger where ours stands beside it.

    Yields
    ------
    row, experiments, obstacle
        The experiments whose number is compared with the row's; without any, what stands in the way in the
        experiment that comes nearest.
    """
    facts = {name: published_facts(bench, name) for name in paper_experiments(bench)}
    for entry in ledger.to_dict("records"):
        row = {str(key): value for key, value in entry.items()}
        found, obstacles = [], ["no experiment of this run configures the method"]
        for name, each in facts.items():
            needed = [row["method"]]
            if row["statistic"] in ("genes_better", "pearson_difference"):
                needed.append(row["argument"])  # the method that it is compared with
            if row["method"] != ANY_METHOD and (lost := [m for m in needed if m not in each["methods"]]):
                if len(lost) < len(needed):
                    obstacles.append(f"{name} does not configure {lost[0]}")
                continue
            differences = differences_in_protocol(row, each)
            if row["comparable"] == "no":  # which stands beside ours for its own reason
                differences = [text for text in differences if not text.startswith(OTHER_SCHEME)]
            if differences:
                obstacles.append(f"{name}: {' '.join(differences)}")
            else:
                found.append(name)
        yield row, found, "" if found else min(obstacles[1:], key=_distance, default=obstacles[0])


def _distance(obstacle: str) -> tuple[int, int]:
    """Return how far an experiment is from a row; a changed setting counts as what it changes."""
    return obstacle.count("Other ") - obstacle.count("Other settings"), len(obstacle)
