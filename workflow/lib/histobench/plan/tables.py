"""Tables of an experiment or branch, and what they are computed from.

Functions take the plan and, by name, the wildcards of the rule that asks.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from histobench import paths
from histobench.evaluation.published import HISTORIES, SECTION_GENES, asked, read_ledger
from histobench.plan.data import feature_costs, kept_counts, target
from histobench.plan.encoders import Choice
from histobench.plan.ledger import published_facts
from histobench.plan.model import Arm, Experiment, Files, Plan
from histobench.plan.training import tested_sections
from histobench.results.catalogue import ENCODERS, EXPERIMENT, PAPER, SLIDES, names

if TYPE_CHECKING:
    import pandas as pd

TABLES = names(EXPERIMENT)
SLIDE_TABLES = names(SLIDES)
ENCODER_TABLES = names(ENCODERS)


def compares_encoders(described: Experiment) -> bool:
    """Whether an experiment crosses methods with encoders; its branches have the usual tables."""
    return bool(described.settings.get("encoders")) and described.trained_by == described.name


def encoder_table_settings(plan: Plan, experiment: str) -> dict[str, Any]:
    """Return what the configuration knows of compared arms and encoders."""
    described = plan.experiments[experiment]
    arms = {}
    for name, arm in described.arms.items():
        head, pretrained = arm.settings["head"], bool(arm.settings.get("pretrained"))
        arms[name] = {
            "head": head,
            "encoder": _label(arm) if head else None,
            "start": ("pretrained" if pretrained else "none") if head else None,
            "field_um": arm.settings["field_um"],
        }
    return {
        "experiment": experiment,
        "cohort": described.cohort.name,
        "arms": arms,
        "cost_labels": [label for label, _ in _encoder_costs(plan, described)],
        "encoders": plan.bench.asked_encoders(experiment),
        **described.settings["statistics"],
    }


def _label(arm: Arm) -> str:
    """Return how tables name the encoder of a head."""
    return Choice(arm.needs["features"], bool(arm.settings.get("pretrained"))).label


def _encoder_costs(plan: Plan, described: Experiment) -> list[tuple[str, str]]:
    """Return encoders, and the tables of what describing the experiment's sections by them took."""
    heads = [arm for arm in described.arms.values() if arm.settings["head"]]
    labels = {described.features_of(arm): _label(arm) for arm in heads}
    return [
        (label, file)
        for backbone, label in labels.items()
        for file in feature_costs(plan, described.cohort.name, backbone, described.sections)
    ]


def encoder_table_input(plan: Plan, experiment: str) -> Files:
    """Return what the tables of encoders are computed from."""
    files = table_input(plan, experiment)
    costs = [file for _, file in _encoder_costs(plan, plan.experiments[experiment])]
    return {**{kind: files[kind] for kind in ("metrics", "ceilings")}, "costs": costs}


def table_files(plan: Plan, name: str) -> list[str]:
    """Return the tables of an experiment or branch; a paper's protocol has its numbers beside ours."""
    described = plan.described(name)
    tables = [*TABLES, *(names(PAPER) if described.mode == "paper" else [])]
    tables += ENCODER_TABLES if compares_encoders(described) else []
    return [described.own(paths.TABLE, table=table) for table in tables]


def run_records(described: Experiment) -> list[str]:
    """Return the records of the trainings whose models an experiment or branch tests."""
    return [described.model(run, fold).record for run in described.runs for fold in described.folds]


def predicted_folds(plan: Plan, experiment: str, method: str) -> list[str]:
    """Return the predictions of a method, fold by fold."""
    described = plan.described(experiment)
    return [described.own(paths.PREDICTIONS, method=method, fold=fold) for fold in described.folds]


def score_settings(plan: Plan, experiment: str) -> dict[str, Any]:
    """Return how predictions are scored."""
    settings: dict[str, Any] = plan.described(experiment).settings["statistics"]
    return settings


def ceiling_input(plan: Plan, experiment: str) -> Files:
    """Return the tested sections, and the genes of the models that are tested on them, fold by fold."""
    described = plan.described(experiment)
    tested = kept_counts(plan, described, tested_sections(described))
    genes = [described.trained(paths.PANEL_UNIVERSE, fold=fold) for fold in described.folds]
    return {"lists": tested, "genes": genes}


def ceiling_settings(plan: Plan, experiment: str) -> dict[str, Any]:
    """Return how counts are thinned and scored."""
    described = plan.described(experiment)
    return {
        "folds": {name: list(fold.test) for name, fold in described.folds.items()},
        "seed": described.seed,
        "transform": target(plan, described.transform),
        **described.settings["statistics"],
    }


def table_input(plan: Plan, experiment: str) -> Files:
    """Return what every table of an experiment is computed from."""
    described = plan.described(experiment)
    truth = [paths.at(paths.PLANTED_TRUTH, cohort=described.cohort.name)]
    return {
        "metrics": [described.own(paths.METRICS, method=run) for run in described.runs],
        "spots": [described.own(paths.SPOTS, method=run) for run in described.runs],
        "runs": run_records(described),
        "ceilings": [described.own(paths.CEILING, fold=fold) for fold in described.folds],
        "truth": truth if described.cohort.simulated else [],
        # what predicts genes beside the panel has their scores beside its predictions
        "every_gene": [
            folder
            for name, run in described.runs.items()
            if run.arm.settings["gives"]["auxiliary"]
            for folder in predicted_folds(plan, experiment, name)
        ],
    }


def table_settings(plan: Plan, experiment: str) -> dict[str, Any]:
    """Return what tables take from the configuration."""
    described = plan.described(experiment)
    return {
        "experiment": experiment,
        "families": {name: arm.family for name, arm in described.arms.items()},
        "mean": next(
            (name for name, arm in described.arms.items() if arm.settings["gives"]["training_mean"]), ""
        ),
        "classifiers": [name for name in described.arms if name not in described.able("expression")],
        "folds": list(described.folds),
        "transform": target(plan, described.transform),
        **described.settings["statistics"],
    }


def every_table(plan: Plan) -> list[str]:
    """Return the tables of every experiment."""
    return [file for name in plan.tested for file in table_files(plan, name)]


def ledger_facts(plan: Plan, experiment: str) -> dict[str, Any]:
    """Return what decides whether a published number can be compared with ours."""
    return published_facts(plan.bench, experiment)


@functools.cache
def published_ledger(plan: Plan) -> pd.DataFrame:
    """Return what the papers report."""
    return read_ledger(plan.shipped("resources/published.tsv"))


def published_input(plan: Plan, experiment: str) -> Files:
    """Return scores of sections and histories of the methods of which the ledger asks for them."""
    described = plan.described(experiment)
    wanted = asked(published_ledger(plan), list(described.arms))

    def of(kind: str) -> list[str]:
        return [name for name, run in described.runs.items() if run.arm.name in wanted[kind]]

    return {
        "metrics": [described.own(paths.METRICS, method=run) for run in of(SECTION_GENES)],
        "histories": [
            described.model(run, fold).history for run in of(HISTORIES) for fold in described.folds
        ],
    }
