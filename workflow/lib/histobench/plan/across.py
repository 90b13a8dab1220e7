"""Comparisons across experiments: pairs that differ in one thing, and transfer between cohorts."""

from __future__ import annotations

import functools
from typing import Any

from histobench import paths
from histobench.plan.contrasts import SECTION_WISE, contrast
from histobench.plan.figures import CONTRASTS, figure_values
from histobench.plan.model import Plan


@functools.cache
def contrasts(plan: Plan) -> list[dict[str, Any]]:
    """Return pairs of experiments that differ in what a question asks for, with the methods of both."""
    pairs = []
    for question, placeholder in CONTRASTS.items():
        for base in plan.experiments:
            answers = figure_values(plan, base)[placeholder] if base in plan.tested else []
            pairs += [
                contrast(plan.bench, base, other, question)
                for other in answers
                if other in plan.tested and (question == "folds" or base < other)
            ]
    return pairs


def contrast_metrics(plan: Plan) -> list[str]:
    """Return the metrics of the methods that are compared across experiments."""
    wanted = {
        (pair[side], arm) for pair in contrasts(plan) for side in ("base", "other") for arm in pair["methods"]
    }
    return sorted(
        plan.experiments[name].own(paths.METRICS, method=run.name)
        for name in {name for name, _ in wanted}
        for run in plan.experiments[name].runs.values()
        if (name, run.arm.name) in wanted
    )


@functools.cache
def transfers(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return who was trained on what and tested on what, where a cohort is reached by more than one way."""
    started = {name for name in plan.tested if name in plan.experiments and _start(plan, name)}
    branches = {name: each for name, each in plan.branches.items() if name in plan.tested}
    homes = {branch.home for branch in branches.values()}
    cohorts = {plan.tested[name].cohort.name for name in [*branches, *started]}
    found = {}
    for name, described in plan.tested.items():
        cohort = described.cohort.name
        trained_on, arm = plan.experiments[described.trained_by].cohort.name, "held-out patients"
        if name in branches:
            arm = "other cohort, no training on it"
        elif name in started:
            first = plan.experiments[_start(plan, name)].cohort.name
            trained_on, arm = f"{first}, then {cohort}", "fine-tuned, held-out patients"
        elif described.settings["folds"]["scheme"] == SECTION_WISE:
            arm = "held-out sections, patients are shared"
        if cohort in cohorts or name in homes:
            found[name] = {
                "arm": arm,
                "n_patients": len(set(described.patients().values())),
                "tested_on": cohort,
                "trained_on": trained_on,
            }
    return found


def _start(plan: Plan, name: str) -> str:
    """Return the experiment from whose models another one's networks start, or nothing."""
    return plan.experiments[name].settings["start_from"] or ""


def transfer_boards(plan: Plan) -> dict[str, str]:
    """Return the leader boards behind the table of transfer."""
    return {name: plan.tested[name].own(paths.TABLE, table="leaderboard") for name in transfers(plan)}


def comparison_settings(plan: Plan) -> dict[str, Any]:
    """Return what is compared across experiments."""
    return {"boards": transfer_boards(plan), "pairs": contrasts(plan), "tested": transfers(plan)}
