"""Which experiments of a run a published number can be set against."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from histobench.config.benchmark import Benchmark
from histobench.evaluation.published import ANY_METHOD, differences_in_protocol

if TYPE_CHECKING:
    import pandas as pd


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
    return {
        "cohorts": sorted({cohort, bench.cohorts[cohort]["source"]}),
        "folds": experiment["folds"]["scheme"],
        "methods": list(experiment["methods"]),
        "n_patients": len(tested),
        "photos": {
            arm: method["needs"]["photos"]
            for arm, method in experiment["methods"].items()
            if method["needs"]["photos"]
        },
        "transform": experiment["transform"],
    }


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
            if differences:
                obstacles.append(f"{name}: {' '.join(differences)}")
            else:
                found.append(name)
        nearest = min(obstacles[1:], key=lambda text: (text.count("Other "), len(text)), default=obstacles[0])
        yield row, found, "" if found else nearest
